"""Texts with words deleted, swapped, masked or cut off, so that a model does not lean on single words.

Deletion and swapping are those of EDA (Wei and Zou, 2019); a text is cut as CL4SRec crops a history (Xie et al., 2022).
"""

import hashlib
from dataclasses import dataclass

import numpy as np

MASKED = "\ue000"
"""Stands for a masked word until the text becomes word pieces; of Unicode's private use."""


@dataclass(frozen=True)
class Noise:
    """What happens to the words of a text; each field is a share of them, from 0 to below 1."""

    delete: float = 0.0
    swap: float = 0.0
    """With the word after it."""
    mask: float = 0.0
    cut: float = 0.0
    """Off the ends; one run of words stays."""

    def __call__(self, text: str, rng: np.random.Generator) -> str:
        """Return ``text`` with noise: at least one of its words stays, masked perhaps."""
        words = text.split()
        if self.cut:
            words = cut(words, self.cut, rng)
        if self.swap:
            words = swap(words, self.swap, rng)
        if self.delete:
            words = delete(words, self.delete, rng)
        if self.mask:
            words = mask(words, self.mask, rng)
        return " ".join(words)


def draws(seed: int, *names: str | int) -> np.random.Generator:
    """Return what is drawn from for the text of these names: the same wherever and whenever it is made."""
    digest = hashlib.sha256("\0".join(map(str, (seed, *names))).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def delete(words: list[str], share: float, rng: np.random.Generator) -> list[str]:
    """Leave out each word by chance, but not all of them."""
    kept = rng.random(len(words)) >= share
    if len(words) and not kept.any():
        kept[rng.integers(len(words))] = True
    return [word for word, stays in zip(words, kept, strict=True) if stays]


def swap(words: list[str], share: float, rng: np.random.Generator) -> list[str]:
    """Let each word by chance change places with the one after it."""
    swapped = list(words)
    for place in np.flatnonzero(rng.random(max(len(words) - 1, 0)) < share):
        swapped[place], swapped[place + 1] = swapped[place + 1], swapped[place]
    return swapped


def mask(words: list[str], share: float, rng: np.random.Generator) -> list[str]:
    """Put MASKED in the place of each word by chance."""
    return [MASKED if chance < share else word for word, chance in zip(words, rng.random(len(words)), strict=True)]


def cut(words: list[str], share: float, rng: np.random.Generator) -> list[str]:
    """Keep one run of all words but ``share`` of them, rounded; at least one."""
    size = max(len(words) - round(share * len(words)), min(len(words), 1))
    start = rng.integers(len(words) - size + 1)
    return words[start : start + size]
