"""Words replaced by what an encoder's own masked-language head expects in their place.

The augmentation of Kobayashi (2018), with a bidirectional transformer as in Wu et al. (2019), but without labels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from llmrec.errors import ArtifactError
from llmrec.nn.pretrained import quiet, require_no_code

_TEXTS_AT_ONCE = 32
_LIKELIEST = 10
"""So many words are drawn among, by the chances that the head gives them."""
_INITIAL = "\u0120\u2581"
"""How vocabularies other than BERT's mark a piece that begins a word."""


class MaskedLanguage:
    """An encoder with its masked-language head, and their tokenizer."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model, self._tokenizer = model.eval(), tokenizer
        self._words = _whole_words(tokenizer, model.config.vocab_size)

    @classmethod
    def load(cls, path: str, allow_download: bool = False) -> "MaskedLanguage":
        """Load a folder (or, if allowed, a name on the hub); safetensors only, no remote code.

        Raises ArtifactError if it cannot be loaded, or holds an encoder without that head or a mask token.
        """
        where: dict[str, Any] = {"local_files_only": not allow_download, "trust_remote_code": False}
        try:
            with quiet():
                require_no_code(path, allow_download)
                tokenizer = AutoTokenizer.from_pretrained(path, use_fast=True, **where)
                model, info = AutoModelForMaskedLM.from_pretrained(
                    path, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **where
                )
        except (OSError, ValueError, RuntimeError, ImportError) as error:
            raise ArtifactError(
                f"train.augment.masked_language: {path}: cannot be loaded ({' '.join(str(error).split())[:300]})"
            ) from error
        if info["missing_keys"] or tokenizer.mask_token_id is None:
            raise ArtifactError(
                f"train.augment.masked_language: {path}: holds no masked-language head (missing: "
                f"{', '.join(sorted(info['missing_keys'])) or 'the mask token'}), expected an encoder with one"
            )
        return cls(model, tokenizer)

    def save(self, folder: Path) -> None:
        """Write what `load` reads."""
        with quiet():
            self._model.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)

    def to(self, device: torch.device) -> "MaskedLanguage":
        """Move to ``device``."""
        self._model.to(device)
        return self

    def __call__(
        self, texts: Sequence[str], share: float, rngs: Sequence[np.random.Generator], at_most: int
    ) -> list[str]:
        """Replace each word by chance, of those that are one piece among the first ``at_most`` of their text.

        Args:
            texts: any number of them.
            share: of these words.
            rngs: what is drawn from, for each text its own.
            at_most: pieces of a text that are read.
        """
        return [
            text
            for start in range(0, len(texts), _TEXTS_AT_ONCE)
            for text in self._replace(
                texts[start : start + _TEXTS_AT_ONCE], share, rngs[start : start + _TEXTS_AT_ONCE], at_most
            )
        ]

    @torch.inference_mode()
    def _replace(
        self, texts: Sequence[str], share: float, rngs: Sequence[np.random.Generator], at_most: int
    ) -> list[str]:
        tokenizer = self._tokenizer
        batch = tokenizer(
            list(texts), padding=True, truncation=True, max_length=at_most + 2, return_offsets_mapping=True,
            return_tensors="pt",
        )  # fmt: skip
        offsets, ids = batch.pop("offset_mapping"), batch["input_ids"].numpy().copy()
        places = [
            [place for place in self._single_pieces(batch.word_ids(row), ids[row]) if rng.random() < share]
            for row, rng in enumerate(rngs)
        ]
        for row, masked in enumerate(places):
            batch["input_ids"][row, masked] = tokenizer.mask_token_id
        if not any(places):
            return list(texts)
        logits = self._model(**batch.to(self._model.device)).logits.float().cpu().numpy()
        found = []
        for row, (text, masked, rng) in enumerate(zip(texts, places, rngs, strict=True)):
            changed = text
            for place in reversed(masked):  # from the end, so that the offsets before it stay right
                start, end = offsets[row, place].tolist()
                start += len(text[start:end]) - len(text[start:end].lstrip())  # some count the space before a word
                word = self._draw(logits[row, place], ids[row, place], rng)
                changed = changed[:start] + word + changed[end:]
            found.append(changed)
        return found

    def _single_pieces(self, words: Sequence[int | None], ids: npt.NDArray[np.int64]) -> list[int]:
        """Return the places of words that are one piece."""
        alone = [word is not None and words.count(word) == 1 for word in words]
        return [place for place, one in enumerate(alone) if one and self._words[ids[place]]]

    def _draw(self, logits: npt.NDArray[np.float32], was: int, rng: np.random.Generator) -> str:
        """Draw another word than ``was`` by the head's ``logits`` (vocabulary,)."""
        allowed = np.where(self._words, logits.astype(np.float64), -np.inf)
        allowed[was] = -np.inf
        likeliest = np.argsort(-allowed, kind="stable")[:_LIKELIEST]
        chances = np.exp(allowed[likeliest] - allowed[likeliest[0]])
        return str(self._tokenizer.decode([rng.choice(likeliest, p=chances / chances.sum())])).strip()


def _whole_words(tokenizer: Any, size: int) -> npt.NDArray[np.bool_]:
    """Say of each piece of the vocabulary whether it is a word of letters and digits, (size,)."""
    pieces, special = tokenizer.convert_ids_to_tokens(list(range(min(size, len(tokenizer))))), tokenizer.all_special_ids
    marked = any(piece[0] in _INITIAL for piece in pieces if piece)
    whole = np.zeros(size, np.bool_)
    for place, piece in enumerate(pieces):
        word = piece.lstrip(_INITIAL) if piece else ""
        whole[place] = word.isalnum() and place not in special and (not marked or piece != word)
    return whole
