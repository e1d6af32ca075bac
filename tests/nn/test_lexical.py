from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.nn.lexical import Words, index_words
from tests import tiny


def index(texts: list[list[int]]) -> Words:
    pieces = np.array([piece for text in texts for piece in text], np.int32)
    return index_words(pieces, np.cumsum([0, *map(len, texts)]))


def cosines(texts: list[list[int]]) -> np.ndarray:
    """TF-IDF cosines of all pairs, by the book."""
    width = max((piece for text in texts for piece in text), default=-1) + 1
    table = np.zeros((len(texts), width))
    for row, text in zip(table, texts, strict=True):
        for piece, count in Counter(text).items():
            holders = sum(piece in other for other in texts)
            row[piece] = (1 + np.log(count)) * np.log(len(texts) / holders)
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    table = np.divide(table, lengths, out=np.zeros_like(table), where=lengths > 0)
    return table @ table.T


@given(st.lists(st.lists(st.integers(0, 30), max_size=6), min_size=1, max_size=25))
def test_words_in_common_add_up_to_the_cosine(texts: list[list[int]]) -> None:
    words, expected, everything = index(texts), cosines(texts), np.arange(len(texts), dtype=np.int32)
    assert words.cosines(everything, everything) == pytest.approx(expected, abs=1e-5)
    for alike, of_item in zip(words.alike(np.split(everything, len(everything)), 1.0), expected, strict=True):
        assert alike.look_up(everything) == pytest.approx(of_item, abs=1e-5)


def test_indexing_leaves_the_texts_as_they_are(tmp_path: Path) -> None:
    texts = ["red tea red", "tea old cup tea", "pot book blue"]
    catalogue = tiny.catalogue(tmp_path / "catalogue", texts)
    assert [catalogue.pieces(item).tolist() for item in range(3)] == [
        p.tolist() for p in tiny.tokens().item_pieces(texts)
    ]


def test_older_texts_count_less() -> None:
    words = index([[1, 2], [2, 3], [4, 5], [5, 6], [2], [5], [9], [10], [11], [12]])
    [alike] = words.alike([np.array([4, 5], np.int32)], 0.5)
    scores = alike.look_up(np.arange(4, dtype=np.int32))
    assert scores[0] == scores[1] == pytest.approx(scores[2] / 2)
    assert scores[2] == scores[3] > 0


def test_what_most_items_say_tells_nothing() -> None:
    words = index([[0, 1 + place // 2] for place in range(60)] + [[99]])
    [alike] = words.alike([np.array([0], np.int32)], 1.0)
    assert np.flatnonzero(alike.look_up(np.arange(61, dtype=np.int32))).tolist() == [0, 1]  # hold 1 too; all hold 0


def test_a_new_item_is_found_by_its_words(tmp_path: Path) -> None:
    texts = [
        "red tea",
        "blue tea",
        "red cup",
        "old pot",
        "new book",
        "blue book",
        "old cup",
        "new pot",
        "old tea",
        "pot",
    ]
    catalogue = tiny.catalogue(tmp_path / "catalogue", texts, taken=[1] * 9 + [0])
    [near] = catalogue.words.alike([np.array([3], np.int32)], 1.0)
    assert near.look_up(np.array([9, 7, 0], np.int32))[0] > 0
