from pathlib import Path

import numpy as np

from llmrec.domain.noise import MASKED, Noise
from llmrec.nn.rewriter import Rewriter, Rewriting
from tests import tiny

MASK = tiny.tokenizer().mask_token_id


def words(pieces: np.ndarray) -> str:
    return str(tiny.tokenizer().decode(pieces))


def test_masked_words_become_the_mask_token_or_nothing_where_there_is_none() -> None:
    texts = [f"red {MASKED} cup", MASKED, "tea", f"{MASKED} {MASKED} tea", ""]
    masked = [words(one) for one in tiny.tokens().masked_pieces(texts, 10, MASK)]
    assert masked == ["red [MASK] cup", "[MASK]", "tea", "[MASK] [MASK] tea", ""]
    left_out = [words(one) for one in tiny.tokens().masked_pieces(texts, 10, None)]
    assert left_out == ["red cup", "", "tea", "tea", ""]
    assert [len(one) for one in tiny.tokens().masked_pieces(texts, 2, MASK)] == [2, 1, 1, 2, 0]


def test_a_text_of_which_nothing_is_left_is_read_as_it_is() -> None:
    rewriter = Rewriter(Rewriting(seed=1, copies=3, noise=Noise(mask=0.999)), tiny.tokens(), mask=None)
    assert [words(one) for one in rewriter.copies(["i"], ["red tea"], 10)[0]] == ["red tea"] * 3
    assert [len(one) for one in rewriter.copies(["i"], [""], 10)[0]] == [0] * 3


def test_copies_differ_by_number_and_key_and_are_the_same_whatever_is_beside_them() -> None:
    rewriter = Rewriter(Rewriting(seed=1, copies=4, noise=Noise(delete=0.5)), tiny.tokens(), MASK)
    text = "red tea old cup new pot film song"
    [first], [again, other] = rewriter.copies(["a"], [text], 10), rewriter.copies(["a", "b"], [text, text], 10)
    assert [words(one) for one in first] == [words(one) for one in again]
    assert len({words(one) for one in [*first, *other]}) > 4


def test_what_is_saved_rewrites_as_before_and_has_a_version_of_its_own(tmp_path: Path) -> None:
    plans = [
        Rewriting(seed=1, copies=2, synonyms={"red": [other]}, synonym_share=0.5, noise=Noise(delete=0.3, mask=0.3))
        for other in ("crimson", "crimson", "azure")
    ]
    rewriters = [Rewriter(plan, tiny.tokens(), MASK) for plan in plans]
    versions = [rewriter.save(tmp_path / f"{place}") for place, rewriter in enumerate(rewriters)]
    assert versions[0] == versions[1] != versions[2]
    keys, texts = [f"{n}" for n in range(20)], ["red tea red cup"] * 20
    for rewriter, name in ((rewriters[0], "0"), (rewriters[2], "2")):
        before, after = rewriter.copies(keys, texts, 10), Rewriter.load(tmp_path / name).copies(keys, texts, 10)
        assert [[one.tolist() for one in row] for row in before] == [[one.tolist() for one in row] for row in after]
