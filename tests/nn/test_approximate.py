from importlib import util
from pathlib import Path

import numpy as np
import pytest
import torch

from llmrec.errors import ConfigError
from llmrec.nn import approximate
from llmrec.nn.approximate import open_index, require_faiss, write_index
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.recommender import Recommender
from llmrec.nn.retrieval import ExactIndex
from tests import tiny

SIZE = 3000


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Catalogue, Path]:
    """Items in 60 groups of vectors near one another; every third is not available."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((60, 32))[rng.integers(60, size=SIZE)] + 0.4 * rng.standard_normal((SIZE, 32))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    folder = tmp_path_factory.mktemp("shop") / "catalogue"
    available = [place % 3 > 0 for place in range(SIZE)]
    catalogue = tiny.catalogue(folder, ["red tea"] * SIZE, vectors=vectors, available=available)
    write_index(folder, catalogue.vectors, catalogue.available)
    return catalogue, folder


def test_nearly_all_of_the_nearest_are_found_and_only_what_may_be(shop: tuple[Catalogue, Path]) -> None:
    catalogue, folder = shop
    queries = torch.from_numpy(np.asarray(catalogue.vectors[:50]))
    seen = [np.array([row, row + 1, row + 2], np.int32) for row in range(50)]
    exact = ExactIndex(catalogue.vectors, allowed=catalogue.available).top_k(queries, 20, excluded=seen)
    index = open_index(folder)
    assert index is not None
    found = index.top_k(queries, 20, excluded=seen)
    assert found.items.shape == (50, 20)
    share = np.mean([np.isin(one, other).mean() for one, other in zip(exact.items, found.items, strict=True)])
    assert share > 0.9
    for row, own, scores in zip(found.items.tolist(), seen, found.scores, strict=True):
        assert len(set(row)) == 20
        assert not set(row) & set(own.tolist())
        assert all(item % 3 for item in row)
        assert scores.tolist() == sorted(scores.tolist(), reverse=True)
    expected = (queries[:, None] * torch.from_numpy(np.asarray(catalogue.vectors))[found.items]).sum(-1)
    torch.testing.assert_close(found.scores, expected)


def test_where_a_query_visits_every_cluster_the_answer_is_the_exact_one(
    shop: tuple[Catalogue, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue, folder = shop
    monkeypatch.setattr(approximate, "_PROBES", SIZE)
    index, queries = open_index(folder), torch.from_numpy(np.asarray(catalogue.vectors[:9]))
    assert index is not None
    seen = [np.arange(row) for row in range(9)]
    exact = ExactIndex(catalogue.vectors, allowed=catalogue.available).top_k(queries, 30, excluded=seen)
    assert torch.equal(index.top_k(queries, 30, excluded=seen).items, exact.items)


@pytest.mark.parametrize("available", [[], [1], [0, 2, 3]])
def test_a_catalogue_of_a_few_items_gives_those_that_are_left(tmp_path: Path, available: list[int]) -> None:
    texts = ["red tea", "blue cup", "green pot", "old book"]
    there = [place in available for place in range(4)]
    catalogue = tiny.catalogue(tmp_path / "few", texts, available=there)
    write_index(tmp_path / "few", catalogue.vectors, catalogue.available)
    index = open_index(tmp_path / "few")
    assert index is not None
    found = index.top_k(torch.ones(2, 32), 3, excluded=[np.array([0]), np.zeros(0, np.int64)])
    for row, left in zip(found.items.tolist(), ([i for i in available if i], available), strict=True):
        assert sorted(item for item in row if item >= 0) == left


def test_the_recommender_takes_its_candidates_from_it(shop: tuple[Catalogue, Path]) -> None:
    catalogue, folder = shop
    sizes = tiny.sizes(dense=10)
    users = [tiny.user("u", [1, 2]), tiny.user("v", [5])]
    parts = {"scorer": tiny.scorer(), "tokens": tiny.tokens(), "sizes": sizes, "fusion": None}
    exact = Recommender(catalogue=catalogue, **parts).score(users)
    near = Recommender(catalogue=catalogue, **parts, index=open_index(folder)).score(users)
    for one, other in zip(exact, near, strict=True):
        assert len(other.proposals.items) == 10
        assert np.isin(other.proposals.items, one.proposals.items).mean() > 0.7


def test_a_catalogue_without_an_index_is_searched_exactly(tmp_path: Path) -> None:
    tiny.catalogue(tmp_path / "plain", ["red tea"])
    assert open_index(tmp_path / "plain") is None


def test_without_faiss_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    require_faiss()
    monkeypatch.setattr(util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"needs faiss.*pip install \"llmrec\[approximate\]\""):
        require_faiss()
