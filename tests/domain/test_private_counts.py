"""Noise of counts, against scipy's Laplace distribution and the definition of differential privacy."""

from collections import Counter
from datetime import date, timedelta

import numpy as np
import pytest
from scipy import stats

from llmrec.domain.private_counts import PrivateCounts

DAY = date(2026, 2, 1)
KEY = b"a key of thirty-two bytes or so."
DAYS = 20_000


def over_days(epsilon: float, count: int, key: bytes = KEY) -> list[PrivateCounts]:
    return [PrivateCounts(epsilon, key, DAY + timedelta(days=number)) for number in range(DAYS)]


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 3.0])
def test_noise_is_laplace_with_scale_one_by_epsilon(epsilon: float) -> None:
    noise = [one.noise("new", 7) for one in over_days(epsilon, 7)]
    assert stats.kstest(noise, stats.laplace(scale=1 / epsilon).cdf).pvalue > 0.001
    assert stats.kstest(noise, stats.laplace(scale=1.3 / epsilon).cdf).pvalue < 1e-6


def test_no_outcome_is_much_likelier_with_one_user_more() -> None:
    epsilon, sure = 0.5, 500
    with_user, without = (Counter(one("new", count) for one in over_days(epsilon, count)) for count in (21, 20))
    often = [value for value in with_user if min(with_user[value], without[value]) > sure]
    ratios = np.array([with_user[value] / without[value] for value in often])
    assert len(often) > 5
    assert np.exp(-epsilon) * 0.85 < ratios.min() < ratios.max() < np.exp(epsilon) * 1.15
    assert ratios.max() > np.exp(epsilon) * 0.85  # and no more noise than that takes


def test_a_page_that_is_written_again_has_the_same_noise_and_all_else_has_other() -> None:
    one = PrivateCounts(1.0, KEY, DAY)
    first = one.noise("new", 7)
    assert first == PrivateCounts(1.0, KEY, DAY).noise("new", 7)
    others = [
        one.noise("new", 8), one.noise("old", 7), PrivateCounts(1.0, KEY, DAY + timedelta(days=1)).noise("new", 7),
        PrivateCounts(1.0, b"another", DAY).noise("new", 7),
    ]  # fmt: skip
    assert len({first, *others}) == 5
    of_days = over_days(1.0, 7)[:5000]
    neighbours = np.array([[day.noise("new", count) for count in (7, 8)] for day in of_days])
    assert abs(np.corrcoef(neighbours.T)[0, 1]) < 0.06


def test_a_count_with_noise_is_a_whole_number_from_zero_on() -> None:
    found = [one("none", 0) for one in over_days(0.5, 0)[:300]]
    assert all(isinstance(value, int) for value in found)
    assert min(found) == 0
    assert max(found) > 3
