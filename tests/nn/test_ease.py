import numpy as np
import pytest

from llmrec.nn.ease import ease


def taken(users: int, items: int, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random((users, items)) < 0.3).astype(float)


def test_weights_are_those_of_one_ridge_regression_for_each_item() -> None:
    """The closed form of the paper against its definition, item by item."""
    seen = taken(60, 9, seed=0)
    ridge = 10 * seen.sum(0).mean()
    expected = np.zeros((9, 9))
    for item in range(9):
        rest = np.delete(np.arange(9), item)
        own = seen[:, rest]
        expected[rest, item] = np.linalg.solve(own.T @ own + ridge * np.eye(8), own.T @ seen[:, item])
    found = np.zeros((9, 9))
    for row in ease(seen.T @ seen, 9).to_pylist():
        found[row["item"], row["neighbour"]] = row["weight"]
    np.testing.assert_allclose(found, np.maximum(expected, 0), atol=1e-6)


def test_only_the_largest_are_kept() -> None:
    seen = taken(60, 9, seed=1)
    everything = ease(seen.T @ seen, 9).to_pandas()
    kept = ease(seen.T @ seen, 2).to_pandas()
    best = everything.sort_values("weight", ascending=False).groupby("item").head(2)
    assert set(zip(kept["item"], kept["neighbour"], strict=True)) == set(
        zip(best["item"], best["neighbour"], strict=True)
    )


@pytest.mark.parametrize("size", [0, 1])
def test_a_catalogue_without_pairs_has_no_weights(size: int) -> None:
    assert ease(np.full((size, size), 3.0), 5).num_rows == 0


def test_an_item_nobody_took_says_nothing() -> None:
    seen = taken(30, 5, seed=2)
    seen[:, 3] = 0
    rows = ease(seen.T @ seen, 5).to_pandas()
    assert len(rows)
    assert not ((rows["item"] == 3) | (rows["neighbour"] == 3)).any()
