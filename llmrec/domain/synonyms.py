"""Words replaced by their synonyms, from a list of the user's."""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from llmrec.errors import InputTableError

Synonyms = Mapping[str, Sequence[str]]
"""By word, in lower case."""
_COLUMNS = ("word", "synonym")
_WORD = re.compile(r"\w+(?:['-]\w+)*")


def read_synonyms(path: str) -> dict[str, list[str]]:
    """Read a CSV file with the columns word and synonym, one pair a line.

    Raises InputTableError if it cannot be read, lacks a column or a value, holds no pair, or something that is not one
    word in the column word: it would never be found.
    """
    where, found = f"train.augment.synonyms: {path}", dict[str, list[str]]()
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if not set(_COLUMNS) <= set(rows.fieldnames or ()):
                raise InputTableError(f"{where}: has the columns {rows.fieldnames}, expected {' and '.join(_COLUMNS)}")
            for row in rows:
                word, synonym = ((row[name] or "").strip() for name in _COLUMNS)
                if not _WORD.fullmatch(word) or not synonym:
                    raise InputTableError(
                        f"{where}: line {rows.line_num} has the word {word!r} and the synonym {synonym!r}, expected "
                        "one word and what stands for it"
                    )
                found.setdefault(word.lower(), []).append(synonym)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputTableError(f"{where}: cannot be read ({error}); expected a CSV file") from error
    if not found:
        raise InputTableError(f"{where}: holds no synonym, expected at least one")
    return found


def replace_words(text: str, synonyms: Synonyms, share: float, rng: np.random.Generator) -> str:
    """Put one of its synonyms in the place of each word by chance; words without one stay."""

    def choose(found: re.Match[str]) -> str:
        known = synonyms.get(found.group().lower())
        return found.group() if known is None or rng.random() >= share else known[int(rng.integers(len(known)))]

    return _WORD.sub(choose, text)
