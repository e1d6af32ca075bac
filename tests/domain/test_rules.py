import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.domain.ranking import best_first
from llmrec.domain.rules import ListRules, choose, keeps

SCORES = np.array([0.5, 0.4, 0.3, 0.2, 0.1])
BRANDS = ["ac", "ac", "ac", "bo", None]
VECTORS = np.array([[1, 0], [1, 0], [0.6, 0.8], [0, 1], [-0.1, 0.99]], float)


def chosen(rules: ListRules, count: int = 3, scores: np.ndarray = SCORES) -> list[int]:
    names = sorted({brand for brand in BRANDS if brand})
    return choose(
        scores,
        np.arange(len(scores), dtype=np.int32),
        rules,
        count,
        groups=lambda place: [("brand", names.index(BRANDS[place]))] if BRANDS[place] else [],
        cosines=lambda place: VECTORS @ VECTORS[place],
    ).tolist()


def test_without_rules_the_best_scores_are_taken_and_ties_go_by_item() -> None:
    assert chosen(ListRules()) == [0, 1, 2]
    assert chosen(ListRules(), scores=np.array([0.1, 0.4, 0.4, 0.4, 0.1])) == [1, 2, 3]


def test_no_item_with_a_lower_score_than_the_least_allowed() -> None:
    assert chosen(ListRules(min_score=0.4)) == [0, 1]
    assert chosen(ListRules(min_score=0.9)) == []


def test_a_full_group_is_passed_over_and_the_list_filled_with_others() -> None:
    assert chosen(ListRules(at_most=(("brand", 1),))) == [0, 3, 4]
    assert chosen(ListRules(at_most=(("brand", 2),))) == [0, 1, 3]
    assert chosen(ListRules(at_most=(("brand", 1),)), count=5) == [0, 3, 4]  # too few are left: a shorter list
    assert chosen(ListRules(at_most=(("colour", 1),))) == [0, 1, 2]


def test_the_more_diversity_counts_the_less_alike_the_list() -> None:
    assert chosen(ListRules(diversity=0.1)) == [0, 1, 2]
    assert chosen(ListRules(diversity=0.5), count=2) == [0, 3]
    assert chosen(ListRules(diversity=1.0), count=2) == [0, 4]


def test_rules_hold_together() -> None:
    assert chosen(ListRules(diversity=1.0, min_score=0.15, at_most=(("brand", 1),)), count=5) == [0, 3]


@given(
    scores=st.lists(st.floats(0, 1), min_size=1, max_size=5),
    diversity=st.sampled_from([0.0, 0.3, 1.0]),
    most=st.integers(1, 3),
    least=st.sampled_from([0.0, 0.5]),
    count=st.integers(1, 6),
)
def test_lists_keep_every_rule_and_are_ordered_by_score(
    scores: list[float], diversity: float, most: int, least: float, count: int
) -> None:
    values = np.array(scores)
    rules = ListRules(min_score=least, at_most=(("brand", most),), diversity=diversity)
    places = chosen(rules, count, values)
    assert len(set(places)) == len(places) <= count
    assert places == [p for p in best_first(values, np.arange(len(values), dtype=np.int32)).tolist() if p in places]
    assert all(values[place] >= least for place in places)
    brands = [BRANDS[place] for place in places if BRANDS[place]]
    assert max((brands.count(brand) for brand in brands), default=0) <= most
    if len(places) < count:  # then every candidate left out breaks a rule
        for place in set(range(len(values))) - set(places):
            assert values[place] < least or brands.count(BRANDS[place]) == most


def test_a_list_is_known_to_keep_the_rules_or_not() -> None:
    def kept(places: list[int], **rules: object) -> bool:
        groups = lambda place: [("brand", 0)] if place < 3 else []  # noqa: E731
        return keeps(np.array(places, np.int64), SCORES, ListRules(**rules), groups)

    assert kept([0, 1, 4])
    assert kept([0, 3, 4], at_most=(("brand", 1),))
    assert not kept([0, 1, 4], at_most=(("brand", 1),))
    assert not kept([0, 4], min_score=0.2)
    assert kept([], min_score=0.2)


def test_the_first_item_is_the_best_whatever_the_diversity() -> None:
    assert chosen(ListRules(diversity=0.9), count=1) == [0]


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_comes_of_no_candidates(count: int) -> None:
    assert chosen(ListRules(diversity=0.5), count, np.zeros(0)) == []
