"""Opens pretrained encoders of transformers: weights into our backbone, the tokenizer into one without them.

All families here have layer norms after their sublayers and absolute positions.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PretrainedConfig, PreTrainedModel
from transformers.utils import logging

from llmrec.errors import ArtifactError
from llmrec.nn.backbone import ACTIVATIONS, Backbone, BackboneShape
from llmrec.nn.tokens import TextLimits, Tokens

SUPPORTED = ("bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta")

_BERT_BLOCK = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "output_norm": "output.LayerNorm",
}
_DISTILBERT_BLOCK = {
    "query": "attention.q_lin",
    "key": "attention.k_lin",
    "value": "attention.v_lin",
    "output": "attention.out_lin",
    "attention_norm": "sa_layer_norm",
    "up": "ffn.lin1",
    "down": "ffn.lin2",
    "output_norm": "output_layer_norm",
}
_EMBEDDINGS = {
    "words": "embeddings.word_embeddings",
    "positions": "embeddings.position_embeddings",
    "types": "embeddings.token_type_embeddings",
    "norm": "embeddings.LayerNorm",
    "widen": "embeddings_project",
}


def load_backbone(path: str, allow_download: bool = False) -> Backbone:
    """Load a pretrained encoder from a folder (or, if allowed, the hub); safetensors only, no remote code.

    Raises ArtifactError if there is no encoder there or its family is not supported.
    """
    if not allow_download and not Path(path, "config.json").is_file():
        raise ArtifactError(
            f"encoder.path: {path} holds no config.json; expected a folder with a BERT-like encoder "
            "(or set encoder.allow_download=true for a hub name)"
        )
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=not allow_download, trust_remote_code=False)
        require_supported(config, path)
        with quiet():
            model = AutoModel.from_pretrained(
                path,
                config=config,
                local_files_only=not allow_download,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise ArtifactError(f"{path}: cannot be loaded as an encoder ({' '.join(str(error).split())[:300]})") from error
    return open_model(model)


def load_tokens(path: str, limits: TextLimits, allow_download: bool = False) -> Tokens:
    """Load the tokenizer of a pretrained folder (or, if allowed, of the hub).

    Raises ArtifactError if there is none, or one without the special tokens that the templates need.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, use_fast=True, local_files_only=not allow_download, trust_remote_code=False
        )
        fast = tokenizer.backend_tokenizer
    except (OSError, ValueError, AttributeError) as error:
        raise ArtifactError(f"{path}: holds no tokenizer ({' '.join(str(error).split())[:300]})") from error
    if fast.get_vocab_size() <= len(set(tokenizer.all_special_ids)):  # what transformers makes up without a vocabulary
        raise ArtifactError(f"{path}: holds no tokenizer, expected one with a vocabulary beside the encoder")
    first, between = tokenizer.cls_token_id, tokenizer.sep_token_id
    if first is None or between is None:
        raise ArtifactError(f"{path}: its tokenizer has no CLS or SEP token, expected both")
    return Tokens(fast, first=int(first), between=int(between), limits=limits)


def require_supported(config: PretrainedConfig, where: str) -> None:
    """Raise ArtifactError, naming what is supported, if the encoder's family or activation is not."""
    if config.model_type not in SUPPORTED:
        raise ArtifactError(f"{where}: model_type is {config.model_type!r}, supported are {', '.join(SUPPORTED)}")
    if _activation(config) not in ACTIVATIONS:
        raise ArtifactError(f"{where}: activation is {_activation(config)!r}, supported are {', '.join(ACTIVATIONS)}")


def open_model(model: PreTrainedModel) -> Backbone:
    """Copy the weights of a supported model into a backbone of ours."""
    config: Any = model.config
    require_supported(config, "encoder")
    distil = config.model_type == "distilbert"
    shape = BackboneShape(
        vocabulary=config.vocab_size,
        width=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        inner_width=config.hidden_dim if distil else config.intermediate_size,
        positions=config.max_position_embeddings,
        types=0 if distil else config.type_vocab_size,
        embedding_width=getattr(config, "embedding_size", None) or config.hidden_size,
        first_position=config.pad_token_id + 1 if "roberta" in config.model_type or "camem" in config.model_type else 0,
        activation=_activation(config),
        norm_epsilon=getattr(config, "layer_norm_eps", 1e-12),
    )
    backbone = Backbone(shape)
    theirs = dict(model.named_modules())
    for ours, name in _EMBEDDINGS.items():
        _copy(theirs, name, getattr(backbone.embeddings, ours))
    parts, prefix = (_DISTILBERT_BLOCK, "transformer.layer") if distil else (_BERT_BLOCK, "encoder.layer")
    for place, block in enumerate(backbone.stack):
        for ours, name in parts.items():
            _copy(theirs, f"{prefix}.{place}.{name}", getattr(block, ours))
    return backbone


def _copy(theirs: Mapping[str, nn.Module], name: str, ours: nn.Module | None) -> None:
    if ours is not None:
        weights: dict[str, Tensor] = theirs[name].state_dict()
        ours.load_state_dict(weights)


def _activation(config: Any) -> str:
    return str(config.activation if config.model_type == "distilbert" else config.hidden_act)


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
