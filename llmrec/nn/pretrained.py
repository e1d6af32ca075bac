"""Loads pretrained encoders of transformers: weights into our backbone, the tokenizer into one without them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer, PretrainedConfig
from transformers.utils import logging
from transformers.utils.hub import cached_file

from llmrec.errors import ArtifactError
from llmrec.nn.backbone import Backbone
from llmrec.nn.families import open_model, require_family, require_supported
from llmrec.nn.tokens import TextLimits, Tokens


def load_backbone(path: str, allow_download: bool = False) -> Backbone:
    """Load a pretrained encoder from a folder (or, if allowed, the hub); safetensors only, no remote code.

    Raises ArtifactError if there is no encoder there, it asks for code of its own, or its family is not supported.
    """
    if not allow_download and not Path(path, "config.json").is_file():
        raise ArtifactError(
            f"encoder.path: {path} holds no config.json; expected a folder with a BERT-like encoder "
            "(or set encoder.allow_download=true for a hub name)"
        )
    try:
        require_no_code(path, allow_download)
        found, _ = PretrainedConfig.get_config_dict(path, local_files_only=not allow_download)
        require_family(found.get("model_type"), f"encoder.path: {path}")  # before transformers, which may not know it
        config = AutoConfig.from_pretrained(path, local_files_only=not allow_download, trust_remote_code=False)
        require_supported(config, f"encoder.path: {path}")
        with quiet():
            model, loading = AutoModel.from_pretrained(
                path,
                config=config,
                local_files_only=not allow_download,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise ArtifactError(f"{path}: cannot be loaded as an encoder ({' '.join(str(error).split())[:300]})") from error
    lacking = sorted(name for name in loading["missing_keys"] if "pooler" not in name)  # nothing here reads the pooler
    if lacking:
        raise ArtifactError(
            f"encoder.path: {path}: its weights lack {', '.join(lacking[:3])}, expected all of config.json"
        )
    return open_model(model)


def require_no_code(path: str, allow_download: bool = False) -> None:
    """Raise ArtifactError if a pretrained folder (or, if allowed, a hub name) asks for code of its own (auto_map).

    transformers would leave that code alone and load the rest, which then is not what its makers meant.
    """
    for name in ("config.json", "tokenizer_config.json"):
        found = cached_file(
            path,
            name,
            local_files_only=not allow_download,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        if found and "auto_map" in json.loads(Path(found).read_text(encoding="utf-8")):
            raise ArtifactError(f"{path}: {name} has an auto_map, code of its own; expected a model without")


def load_tokens(path: str, limits: TextLimits, allow_download: bool = False) -> Tokens:
    """Load the tokenizer of a pretrained folder (or, if allowed, of the hub).

    Raises ArtifactError if there is none, or one without the special tokens that the templates need.
    """
    tokenizer = _open_tokenizer(path, allow_download)
    first, between = tokenizer.cls_token_id, tokenizer.sep_token_id
    if first is None or between is None:
        raise ArtifactError(f"{path}: its tokenizer has no CLS or SEP token, expected both")
    return Tokens(tokenizer.backend_tokenizer, first=int(first), between=int(between), limits=limits)


def find_mask(path: str, allow_download: bool = False) -> str | None:
    """Return the mask token of a pretrained folder's tokenizer; None where it has none.

    Raises ArtifactError if there is no tokenizer.
    """
    found = _open_tokenizer(path, allow_download).mask_token
    return None if found is None else str(found)


def _open_tokenizer(path: str, allow_download: bool) -> Any:
    try:
        require_no_code(path, allow_download)
        tokenizer = AutoTokenizer.from_pretrained(
            path, use_fast=True, local_files_only=not allow_download, trust_remote_code=False
        )
        fast = tokenizer.backend_tokenizer
    except (OSError, ValueError, AttributeError) as error:
        raise ArtifactError(f"{path}: holds no tokenizer ({' '.join(str(error).split())[:300]})") from error
    if fast.get_vocab_size() <= len(set(tokenizer.all_special_ids)):  # what transformers makes up without a vocabulary
        raise ArtifactError(f"{path}: holds no tokenizer, expected one with a vocabulary beside the encoder")
    return tokenizer


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the bars and reports of transformers out of a job's output."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        logging.enable_progress_bar()
