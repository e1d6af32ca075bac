import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.nn.ratings import RatingScale

STARS = RatingScale(mean=3.5, spread=1.2, lowest=1, highest=5)


@given(st.lists(st.floats(1, 5, width=32), min_size=1))
def test_what_was_learned_is_told_as_it_was_given(ratings: list[float]) -> None:
    given_ = np.array(ratings, np.float32)
    assert STARS.told(STARS.outputs(given_)) == pytest.approx(given_, abs=1e-5)


def test_no_rating_is_told_beyond_those_there_were() -> None:
    assert STARS.told(np.array([-9, 0, 9], np.float32)).tolist() == [1, 3.5, 5]


def test_a_scale_that_is_gone_on_with_reaches_further_and_says_the_same() -> None:
    wider = STARS.over(RatingScale(mean=60, spread=20, lowest=2, highest=10))
    outputs = np.array([-1, 0, 1], np.float32)
    assert wider.told(outputs).tolist() == STARS.told(outputs).tolist()
    assert wider.told(np.array([-9, 9], np.float32)).tolist() == [1, 10]
