"""Texts of chosen lengths, made of words of the demo's films, and the encoder they are read by."""

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

ENCODER = Path("demo/encoder")
_FILMS = Path("demo/data/ml-100k/ml-100k.item")


def require_demo_data() -> None:
    """End with one sentence unless the demo's data is there."""
    for path in (ENCODER / "config.json", _FILMS):
        if not path.is_file():
            raise SystemExit(f"{path}: is missing; run `make demo/data` first, from the project's folder")


def texts_of_tokens(counts: list[int], seed: int) -> list[str]:
    """Return one text per count, of exactly that many word pieces (special tokens not counted)."""
    tokenizer = Tokenizer.from_file(str(ENCODER / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    words = _words()
    pieces = [len(one.ids) for one in tokenizer.encode_batch(words, add_special_tokens=False)]
    short = [word for word, count in zip(words, pieces, strict=True) if count == 1]
    usable = [(word, count) for word, count in zip(words, pieces, strict=True) if 1 <= count <= 4]
    rng = np.random.default_rng(seed)
    texts = []
    for count in counts:
        chosen: list[str] = []
        while count > 0:
            word, length = usable[rng.integers(len(usable))]
            if length > count:
                word, length = short[rng.integers(len(short))], 1
            chosen.append(word)
            count -= length
        texts.append(" ".join(chosen))
    return texts


def texts_of_words(counts: list[int], seed: int) -> list[str]:
    """Return one text per count, of exactly that many words."""
    words, rng = _words(), np.random.default_rng(seed)
    return [" ".join(words[place] for place in rng.integers(len(words), size=count)) for count in counts]


def _words() -> list[str]:
    lines = _FILMS.read_text(encoding="utf-8").splitlines()[1:]
    return sorted({word for line in lines for word in line.split()[1:] if word.isalpha()})
