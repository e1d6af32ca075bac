import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.nn.neighbours import Neighbours

ROWS = st.lists(st.dictionaries(st.integers(0, 40), st.floats(0.125, 1, width=16), max_size=5), min_size=1, max_size=6)


@given(rows=ROWS, apart=st.sampled_from([1, 50_000]), fade=st.sampled_from([1.0, 0.5]), data=st.data())
def test_weights_add_up_and_are_found_however_far_apart_the_items_are(
    rows: list[dict[int, float]], apart: int, fade: float, data: st.DataObject
) -> None:
    table = [{apart * item: weight for item, weight in sorted(row.items())} for row in rows]
    neighbours = made(table)
    history = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=4))
    expected: dict[int, float] = {}
    for back, place in enumerate(reversed(history)):
        for item, weight in table[place].items():
            expected[item] = expected.get(item, 0) + fade**back * weight
    [found, _] = neighbours.sums([np.array(history, np.int32), np.array([0], np.int32)], fade)
    asked = apart * np.random.default_rng(1).permutation(45).astype(np.int32)  # some are neighbours of nothing
    assert found.look_up(asked).tolist() == pytest.approx([expected.get(item, 0) for item in asked.tolist()])
    between = neighbours.between(np.array(history, np.int32), asked)
    assert between.tolist() == [[table[place].get(item, 0) for item in asked.tolist()] for place in history]


@given(rows=ROWS, apart=st.sampled_from([1, 50_000]), count=st.integers(0, 12), data=st.data())
def test_the_best_are_the_heaviest_that_may_be_recommended(
    rows: list[dict[int, float]], apart: int, count: int, data: st.DataObject
) -> None:
    neighbours = made([{apart * item: weight for item, weight in sorted(row.items())} for row in rows])
    everything = range(0, 45 * apart, apart)
    shut, excluded = (data.draw(st.lists(st.sampled_from(everything), unique=True)) for _ in range(2))
    available = np.ones(45 * apart, np.bool_)
    available[shut] = False
    [found] = neighbours.sums([np.arange(len(rows), dtype=np.int32)])
    weights = dict(zip(everything, found.look_up(np.array(everything, np.int32)).tolist(), strict=True))
    open_ = [item for item in everything if weights[item] > 0 and item not in {*shut, *excluded}]
    best = found.best(count, available, np.array(excluded, np.int32))
    assert best.tolist() == sorted(open_, key=lambda item: (-weights[item], item))[:count]


def made(table: list[dict[int, float]]) -> Neighbours:
    return Neighbours(
        np.cumsum([0, *map(len, table)]),
        np.array([item for row in table for item in row], np.int32),
        np.array([weight for row in table for weight in row.values()], np.float32),
    )


@pytest.mark.parametrize("apart", [1, 50_000])
def test_a_history_gives_the_same_weights_among_many_as_alone(apart: int) -> None:
    rng = np.random.default_rng(1)
    neighbours = made([
        {apart * int(item): float(rng.random()) for item in rng.permutation(45)[:5]} for _ in range(30)
    ])  # fmt: skip
    histories = [rng.permutation(30)[: number % 7].astype(np.int32) for number in range(150)]
    asked = apart * np.arange(45, dtype=np.int32)
    for history, among_many in zip(histories, neighbours.sums(histories, 0.7), strict=True):
        [alone] = neighbours.sums([history], 0.7)
        np.testing.assert_array_equal(among_many.look_up(asked), alone.look_up(asked))
