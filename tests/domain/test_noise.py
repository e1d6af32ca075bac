from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.domain.noise import MASKED, Noise, cut, delete, draws, mask, swap

words = st.lists(st.text("abc", min_size=1, max_size=3), max_size=12)
shares = st.floats(0, 0.99)
seeds = st.integers(0, 1 << 30)


def is_subsequence(part: list[str], whole: list[str]) -> bool:
    rest = iter(whole)
    return all(word in rest for word in part)


@settings(deadline=None)
@given(words, shares, seeds)
def test_swapping_keeps_every_word(text: list[str], share: float, seed: int) -> None:
    assert Counter(swap(text, share, draws(seed))) == Counter(text)


@settings(deadline=None)
@given(words, shares, seeds)
def test_deleting_keeps_the_order_and_at_least_one_word(text: list[str], share: float, seed: int) -> None:
    left = delete(text, share, draws(seed))
    assert is_subsequence(left, text)
    assert len(left) >= min(len(text), 1)


@settings(deadline=None)
@given(words, shares, seeds)
def test_masking_keeps_the_places_of_all_other_words(text: list[str], share: float, seed: int) -> None:
    masked = mask(text, share, draws(seed))
    assert len(masked) == len(text)
    assert all(after in (before, MASKED) for before, after in zip(text, masked, strict=True))


@settings(deadline=None)
@given(words, shares, seeds)
def test_cutting_leaves_one_run_of_the_length_that_is_set(text: list[str], share: float, seed: int) -> None:
    left = cut(text, share, draws(seed))
    assert len(left) == max(len(text) - round(share * len(text)), min(len(text), 1))
    assert left in [text[start : start + len(left)] for start in range(len(text) + 1)]


def test_each_noise_reaches_the_share_of_words_that_is_set() -> None:
    text = [f"{number}" for number in range(10_000)]
    assert abs(len(delete(text, 0.3, draws(1))) - 7_000) < 200
    assert abs(mask(text, 0.3, draws(1)).count(MASKED) - 3_000) < 200
    assert len(cut(text, 0.3, draws(1))) == 7_000
    moved = np.array(swap(text, 0.1, draws(1))) != np.array(text)
    assert abs(moved.sum() - 2_000) < 200  # two words for each swap, hardly fewer


def test_all_noise_together_and_none() -> None:
    text = "red tea of the old cup"
    noise = Noise(delete=0.2, swap=0.2, mask=0.2, cut=0.4)
    found = {noise(text, draws(seed)) for seed in range(50)}
    assert len(found) > 30
    assert {word for one in found for word in one.split()} == {*text.split(), MASKED}
    assert max(len(one.split()) for one in found) == 4
    assert Noise()(text, draws(1)) == text
    assert noise("", draws(1)) == ""


def test_what_is_drawn_follows_from_seed_and_names_alone() -> None:
    drawn = [draws(*names).random() for names in ((1, "a", 1), (1, "a", 1), (2, "a", 1), (1, "b", 1), (1, "a", 2))]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 4
