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
    neighbours = Neighbours(
        np.cumsum([0, *map(len, table)]),
        np.array([item for row in table for item in row], np.int32),
        np.array([weight for row in table for weight in row.values()], np.float32),
    )
    history = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=4))
    expected: dict[int, float] = {}
    for back, place in enumerate(reversed(history)):
        for item, weight in table[place].items():
            expected[item] = expected.get(item, 0) + fade**back * weight
    found = neighbours.sum(np.array(history, np.int32), fade)
    assert dict(zip(found.items.tolist(), found.weights.tolist(), strict=True)) == pytest.approx(expected)
    assert np.all(np.diff(found.items) > 0)
    asked = apart * np.random.default_rng(1).permutation(45).astype(np.int32)  # some are neighbours of nothing
    assert found.look_up(asked).tolist() == pytest.approx([expected.get(item, 0) for item in asked.tolist()])
    between = neighbours.between(np.array(history, np.int32), asked)
    assert between.tolist() == [[table[place].get(item, 0) for item in asked.tolist()] for place in history]
