"""Texts said otherwise: translated to another language and back (Sennrich et al., 2016), by any two models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from llmrec.errors import ArtifactError
from llmrec.nn.pretrained import quiet, require_no_code

_TEXTS_AT_ONCE = 16
_FOLDERS = "there", "back"


class Translation:
    """Two sequence-to-sequence models of transformers and their tokenizers: to another language, and from it."""

    def __init__(self, there: tuple[Any, Any], back: tuple[Any, Any]) -> None:
        self._ways = there, back

    @classmethod
    def load(cls, there: str, back: str, allow_download: bool = False) -> "Translation":
        """Load two folders (or, if allowed, names on the hub); safetensors only, no remote code.

        Raises ArtifactError if one of them cannot be loaded, or lacks some of its weights.
        """
        return cls(_load(there, allow_download), _load(back, allow_download))

    @classmethod
    def open(cls, folder: Path) -> "Translation":
        """Load what `save` wrote."""
        there, back = (str(folder / name) for name in _FOLDERS)
        return cls.load(there, back)

    def save(self, folder: Path) -> None:
        """Write both models and tokenizers to ``folder``."""
        for name, way in zip(_FOLDERS, self._ways, strict=True):
            for part in way:
                with quiet():
                    part.save_pretrained(folder / name)

    def to(self, device: torch.device) -> "Translation":
        """Move to ``device``."""
        for model, _ in self._ways:
            model.to(device)
        return self

    def __call__(self, texts: Sequence[str], copies: int, at_most: int) -> list[list[str]]:
        """Return for each text so many copies, of at most ``at_most`` pieces.

        There beam search finds the ``copies`` likeliest translations, and each comes back by its likeliest one: nothing
        is drawn.
        """
        there, back = self._ways
        foreign = _translate(there, texts, copies, at_most)
        ours = _translate(back, foreign, 1, at_most)
        return [ours[start : start + copies] for start in range(0, len(ours), copies)]


def _load(path: str, allow_download: bool) -> tuple[Any, Any]:
    where: dict[str, Any] = {"local_files_only": not allow_download, "trust_remote_code": False}
    try:
        with quiet():
            require_no_code(path, allow_download)
            tokenizer = AutoTokenizer.from_pretrained(path, **where)
            model, info = AutoModelForSeq2SeqLM.from_pretrained(
                path, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **where
            )
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise ArtifactError(
            f"train.augment.back_translation: {path}: cannot be loaded as a model that translates "
            f"({' '.join(str(error).split())[:300]})"
        ) from error
    if info["missing_keys"]:
        raise ArtifactError(
            f"train.augment.back_translation: {path}: lacks the weights {', '.join(sorted(info['missing_keys'])[:5])}; "
            "expected a whole model that translates"
        )
    return model.eval(), tokenizer


@torch.inference_mode()
def _translate(way: tuple[Any, Any], texts: Sequence[str], count: int, at_most: int) -> list[str]:
    """Return ``count`` translations of each text, the likeliest first, end to end."""
    model, tokenizer = way
    found = list[str]()
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        some = list(texts[start : start + _TEXTS_AT_ONCE])
        batch = tokenizer(some, padding=True, truncation=True, max_length=at_most, return_tensors="pt")
        batch.pop("token_type_ids", None)  # some tokenizers give them, no such model takes them
        made = model.generate(
            **batch.to(model.device), num_beams=count, num_return_sequences=count, do_sample=False,
            max_new_tokens=at_most,
        )  # fmt: skip
        found += tokenizer.batch_decode(made, skip_special_tokens=True)
    return found
