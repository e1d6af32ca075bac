import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llmrec.domain.ranking import best_first, places

scores = st.lists(st.sampled_from([-1.0, 0.0, 0.25, 0.5, 3.0]), max_size=12)


def test_best_first_puts_the_highest_score_first_and_equal_scores_by_item() -> None:
    order = best_first(np.array([0.5, 0.9, 0.5, 0.1]), np.array([30, 40, 20, 10], np.int32))
    assert order.tolist() == [1, 2, 0, 3]


def test_best_first_tells_apart_scores_that_float32_would_round_together() -> None:
    order = best_first(np.array([0.5, 0.5 + 1e-12]), np.array([1, 2], np.int32))
    assert order.tolist() == [1, 0]


@given(values=scores, data=st.data())
def test_best_first_does_not_depend_on_the_order_of_its_input(values: list[float], data: st.DataObject) -> None:
    items = np.arange(len(values), dtype=np.int32)
    shuffled = np.array(data.draw(st.permutations(range(len(values)))), int)
    one = items[best_first(np.array(values), items)]
    other = items[shuffled][best_first(np.array(values)[shuffled], items[shuffled])]
    assert one.tolist() == other.tolist() == sorted(items, key=lambda item: (-values[item], item))


@given(values=scores, count=st.integers(0, 13))
def test_the_best_few_are_the_first_of_all(values: list[float], count: int) -> None:
    ties = np.arange(len(values))[::-1]
    assert best_first(np.array(values), ties, count).tolist() == best_first(np.array(values), ties).tolist()[:count]


@given(rows=st.lists(st.tuples(*[st.sampled_from([-1.0, 0.0, 0.5])] * 5), min_size=1, max_size=4))
def test_places_are_counted_in_each_row(rows: list[tuple[float, ...]]) -> None:
    table = np.array(rows, np.float32)
    assert places(table).tolist() == [places(row).tolist() for row in table]


@given(values=scores)
def test_places_count_the_higher_scores(values: list[float]) -> None:
    expected = [sum(other > value for other in values) for value in values]
    assert places(np.array(values)).tolist() == expected


def test_equal_scores_share_the_best_place() -> None:
    assert places(np.array([1.0, 7.0, 7.0, 0.0])).tolist() == [2, 0, 0, 3]
