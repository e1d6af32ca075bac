import numpy as np
import pytest

from llmrec.nn import encoding
from llmrec.nn.encoding import encode_texts
from tests import tiny

TEXTS = ["red tea", "", "blue cup , old pot . new book", "cat", "red tea", "dog " * 30, "green song film"]


def test_vectors_stand_in_the_order_of_their_texts() -> None:
    scorer, tokens = tiny.scorer(), tiny.tokens()
    pieces, vectors = encode_texts(scorer, tokens, TEXTS)
    assert [p.tolist() for p in pieces] == [p.tolist() for p in tokens.item_pieces(TEXTS)]
    alone = np.concatenate([encode_texts(scorer, tokens, [text])[1] for text in TEXTS])
    np.testing.assert_allclose(vectors, alone, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.abs(vectors[0] - vectors[2]).max() > 1e-3


@pytest.mark.parametrize("budget", [1, 10, 20])
def test_vectors_do_not_depend_on_how_texts_are_batched(monkeypatch: pytest.MonkeyPatch, budget: int) -> None:
    scorer, tokens = tiny.scorer(), tiny.tokens()
    _, whole = encode_texts(scorer, tokens, TEXTS)
    monkeypatch.setattr(encoding, "_TOKENS_AT_ONCE", {"cpu": budget})
    _, cut = encode_texts(scorer, tokens, TEXTS)
    np.testing.assert_allclose(cut, whole, atol=1e-6)
    _, reversed_order = encode_texts(scorer, tokens, TEXTS[::-1])
    np.testing.assert_allclose(reversed_order[::-1], whole, atol=1e-6)


def test_no_texts_give_no_vectors() -> None:
    pieces, vectors = encode_texts(tiny.scorer(), tiny.tokens(), [])
    assert pieces == []
    assert vectors.shape == (0, 32)
