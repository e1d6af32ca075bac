"""Retrieval against sorting all scores. Vectors of small integers make all products exact, and ties frequent."""

from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.nn import retrieval
from llmrec.nn.retrieval import ExactIndex, Top


def vectors(rows: int, width: int = 4, seed: int = 0, most: int = 2) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(-most, most + 1, (rows, width)).astype(np.float32))


def by_sorting(
    queries: torch.Tensor, items: torch.Tensor, k: int, allowed: np.ndarray, excluded: list[np.ndarray]
) -> Top:
    scores = queries.numpy() @ items.numpy().T
    scores[:, ~allowed] = -np.inf
    for row, own in enumerate(excluded):
        scores[row, own] = -np.inf
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    scores = np.take_along_axis(scores, best, axis=1)
    return Top(torch.from_numpy(scores), torch.from_numpy(np.where(np.isinf(scores), -1, best)))


def assert_equal(found: Top, wanted: Top) -> None:
    assert torch.equal(found.items, wanted.items)
    assert torch.equal(found.scores, wanted.scores)


@settings(deadline=None, max_examples=150)
@given(
    sizes=st.tuples(st.integers(0, 9), st.integers(0, 60), st.integers(1, 5)),
    k=st.integers(0, 70),
    most=st.integers(0, 3),
    bars=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    block=st.integers(1, 2000),
    shard=st.integers(1, 2000),
    at_once=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_sorting_all_scores_whatever_the_blocks(
    sizes: tuple[int, int, int],
    k: int,
    most: int,
    bars: tuple[float, float],
    block: int,
    shard: int,
    at_once: int,
    seed: int,
) -> None:
    count, catalogue, width = sizes
    queries, items = vectors(count, width, seed, most), vectors(catalogue, width, seed + 1, most)
    rng = np.random.default_rng(seed)
    allowed = rng.random(catalogue) >= bars[0]
    excluded = [np.flatnonzero(rng.random(catalogue) < bars[1]).astype(np.int32) for _ in range(count)]
    index = ExactIndex(items, allowed=allowed, block_bytes=block, shard_bytes=shard)
    with mock.patch.dict(retrieval._QUERIES_AT_ONCE, cpu=at_once):
        found = index.top_k(queries, k, excluded=excluded)
    assert found.items.shape == (count, min(k, catalogue))
    assert_equal(found, by_sorting(queries, items, k, allowed, excluded))


def test_of_equal_scores_the_lower_item_comes_first_and_gets_the_last_place() -> None:
    items = torch.tensor([[1.0], [2.0], [1.0], [2.0], [1.0], [-0.0], [0.0]])
    found = ExactIndex(items, block_bytes=8).top_k(torch.ones(1, 1), 4)
    assert found.items.tolist() == [[1, 3, 0, 2]]
    assert ExactIndex(items).top_k(torch.ones(1, 1), 7).items.tolist() == [[1, 3, 0, 2, 4, 5, 6]]
    assert ExactIndex(items).top_k(-torch.ones(1, 1), 3).items.tolist() == [[5, 6, 0]]


def test_ascending_scores_fill_every_block_with_candidates() -> None:
    items = torch.arange(5000.0)[:, None]
    found = ExactIndex(items, block_bytes=4 * 3 * 64).top_k(torch.tensor([[1.0], [-1.0], [0.0]]), 10)
    assert found.items[0].tolist() == list(range(4999, 4989, -1))
    assert found.items[1].tolist() == found.items[2].tolist() == list(range(10))


def test_many_queries_are_divided_among_threads_which_then_have_their_number_back() -> None:
    queries, items = vectors(700, 8, most=9), vectors(900, 8, 1, most=9)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        found = ExactIndex(items, block_bytes=1 << 16).top_k(queries, 20)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert_equal(found, by_sorting(queries, items, 20, np.ones(900, np.bool_), []))


def test_vectors_of_any_size_agree_with_torch_up_to_rounding() -> None:
    queries, items = torch.randn(50, 48), torch.randn(3000, 48)
    found = ExactIndex(items, block_bytes=4 * 50 * 256).top_k(queries, 25)
    wanted = (queries @ items.T).topk(25)
    torch.testing.assert_close(found.scores, wanted.values)
    torch.testing.assert_close((queries @ items.T).gather(1, found.items), wanted.values)


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize("shard_bytes", [1 << 20, 4 * 4 * 100])
def test_items_in_a_mapped_file_are_read_where_they_are(tmp_path: Path, kind: type, shard_bytes: int) -> None:
    queries, items = vectors(5), vectors(1000, seed=1)
    np.save(tmp_path / "items.npy", items.numpy().astype(kind))
    mapped = np.load(tmp_path / "items.npy", mmap_mode="r")
    index = ExactIndex(mapped, shard_bytes=shard_bytes)
    shards = [shard for _, shard in index._shards()]
    assert [len(shard) for shard in shards] == [1000] if shard_bytes == 1 << 20 else [100] * 10
    if kind is np.float32:
        assert shards[0].data_ptr() == mapped.ctypes.data
    assert_equal(index.top_k(queries, 30), by_sorting(queries, items, 30, np.ones(1000, np.bool_), []))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_named(bad: float) -> None:
    good, rows = vectors(7), vectors(9)
    rows[6, 1] = bad
    with pytest.raises(ValueError, match=r"^items: row 6 holds NaN or an infinity, expected finite numbers$"):
        ExactIndex(rows, shard_bytes=4 * 4 * 4)
    with pytest.raises(ValueError, match=r"^queries: row 6 holds NaN or an infinity"):
        ExactIndex(good).top_k(rows, 2)


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(Q, D\) and \(S, D\), got \(2, 3\) and \(5, 4\)"):
        ExactIndex(vectors(5)).top_k(vectors(2, 3), 1)
    with pytest.raises(ValueError, match=r"\(S, D\) and \(S,\), got \(5, 4\) and \(4,\)"):
        ExactIndex(vectors(5), allowed=np.ones(4, np.bool_))
    with pytest.raises(ValueError, match=r"name 2 queries, got 1 and 3"):
        ExactIndex(vectors(5)).top_k(vectors(2), 1, excluded=[np.zeros(0, np.int64)] * 3)
    with pytest.raises(ValueError, match=r"k must not be negative.*got -1"):
        ExactIndex(vectors(5)).top_k(vectors(2), -1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("shard_bytes", [1 << 20, 4 * 4 * 100])
def test_a_gpu_finds_the_same(shard_bytes: int) -> None:
    queries, items = vectors(300), vectors(1000, seed=1)
    allowed = np.arange(1000) % 3 > 0
    excluded = [np.array([row, 3 * row + 1]) for row in range(300)]
    index = ExactIndex(
        items, allowed=allowed, device=torch.device("cuda"), shard_bytes=shard_bytes, block_bytes=1 << 16
    )
    found = index.top_k(queries, 40, excluded=excluded)
    assert found.items.device.type == "cuda"
    assert_equal(Top(*(part.cpu() for part in found)), by_sorting(queries, items, 40, allowed, excluded))
