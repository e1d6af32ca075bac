from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.nn.catalogue import Catalogue
from llmrec.nn.encoding import encode_pieces
from llmrec.nn.examples import Example
from llmrec.nn.negatives import Negatives
from llmrec.nn.plan import Tuning
from llmrec.nn.scorer import Scorer
from llmrec.nn.scorers import make_scorer
from llmrec.nn.training import _Drawing
from llmrec.nn.tuning import Tuned
from tests import tiny
from tests.nn.planted_shop import cuts, likers, plan, quality, tune

HALVES = {"covisitation": 1.0, "popularity": 1.0}
NOTHING = np.zeros(0, np.int32)


@settings(max_examples=30, deadline=None)
@given(seen=st.lists(st.integers(0, 26), min_size=2, max_size=27, unique=True), seed=st.integers(0, 99))
def test_negatives_are_distinct_and_never_seen(shop: Catalogue, seen: list[int], seed: int) -> None:
    items = np.array(seen, np.int32)
    example = Example("", items[:1], items[1:], items)
    drawn = Negatives(shop, 6, HALVES)(example, np.random.default_rng(seed)).tolist()
    assert len(set(drawn)) == len(drawn) <= 6
    assert len(drawn) == 6 or len(seen) > 9
    assert not set(drawn) & set(seen)


def test_half_of_the_negatives_are_covisited_with_the_history(shop: Catalogue) -> None:
    draw, rng = Negatives(shop, 8, HALVES), np.random.default_rng(0)
    items = np.array([4, 8, 12, 16, 20], np.int32)
    example = Example("", items, items[:1], items)
    near = {item + step for item in items.tolist() for step in (-1, 1)}
    assert set(draw(example, rng)[:4].tolist()) < near


def test_popular_items_are_drawn_more_often_as_negatives(tmp_path: Path) -> None:
    taken = [1] * 10 + [100] * 10
    shop = tiny.catalogue(tmp_path / "catalogue", ["red tea"] * 20, taken=taken)
    draw, items, rng = Negatives(shop, 4, HALVES), np.array([0, 10], np.int32), np.random.default_rng(0)
    example = Example("", items[:1], items[1:], items)
    drawn = np.concatenate([draw(example, rng) for _ in range(300)])
    share = (drawn > 10).mean()
    assert 0.9 < share < 1


def test_where_one_item_takes_all_events_there_are_still_enough_negatives(tmp_path: Path) -> None:
    shop = tiny.catalogue(tmp_path / "catalogue", ["red tea"] * 20, taken=[10**6] + [0] * 19)
    items = np.array([0, 5], np.int32)
    example = Example("", items[:1], items[1:], items)
    assert len(Negatives(shop, 12, HALVES)(example, np.random.default_rng(0))) == 12


def example(liked: list[int]) -> Example:
    items = np.array(liked, np.int32)
    return Example("", items, items[:1], items)


def colours(shop: Catalogue) -> np.ndarray:
    """Vectors by which things of a colour are near to each other."""
    vectors = np.zeros((len(shop), 32), np.float32)
    vectors[np.arange(len(shop)), np.arange(len(shop)) // 9] = 1
    return vectors


def test_hard_negatives_come_from_the_fifty_nearest_of_many(tmp_path: Path) -> None:
    many = tiny.catalogue(tmp_path / "catalogue", ["red tea"] * 200)
    angles = np.linspace(0, 1, 200)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    draw = Negatives(many, 8, {"hard": 1.0}, vectors)
    drawn = np.concatenate([draw(example([100, 101]), np.random.default_rng(seed)) for seed in range(50)])
    assert set(drawn.tolist()) <= set(range(75, 127)) - {100, 101}
    assert len(set(drawn.tolist())) > 40


def test_random_negatives_do_not_go_by_popularity_and_shares_mix(tmp_path: Path) -> None:
    taken = [1] * 100 + [10_000] * 100
    shop = tiny.catalogue(tmp_path / "catalogue", ["red tea"] * 200, taken=taken)

    def popular(shares: dict[str, float]) -> float:
        draw, rng = Negatives(shop, 10, shares), np.random.default_rng(0)
        return float(np.mean([draw(example([0]), rng) >= 100 for _ in range(200)]))

    assert popular({"random": 1.0}) == pytest.approx(0.5, abs=0.05)
    assert popular({"popularity": 1.0}) > 0.98
    assert popular({"popularity": 1.0, "random": 1.0}) == pytest.approx(0.75, abs=0.05)


def test_hard_negatives_without_vectors_are_an_error(shop: Catalogue) -> None:
    with pytest.raises(ValueError, match="expected vectors of the items"):
        Negatives(shop, 4, {"hard": 1.0})(example([1]), np.random.default_rng(0))


def test_who_has_no_history_gets_negatives_too(shop: Catalogue) -> None:
    new = Example("red", NOTHING, np.array([3]), np.array([3]))
    for shares in (HALVES, {"hard": 1.0}):
        drawn = Negatives(shop, 5, shares, colours(shop))(new, np.random.default_rng(0))
        assert len(set(drawn.tolist()) - {3}) == 5


def test_hard_ones_are_found_anew_in_each_epoch_and_again_in_a_resumed_one(shop: Catalogue, tmp_path: Path) -> None:
    scorer = make_scorer("prefix", tiny.backbone(), cached_layers=1, seed=0)
    training = plan(negatives_from={"hard": 1.0})
    drawing = _Drawing(training, Tuned(scorer, Tuning("full", 1, 0, False), 9), tiny.tokens(), shop, tmp_path)
    pieces = [shop.pieces(item) for item in range(len(shop))]

    def drawn(epoch: int) -> list[int]:
        return drawing(epoch)(example([1, 2]), np.random.default_rng(0)).tolist()

    first = drawn(0)
    np.testing.assert_allclose(np.load(tmp_path / "vectors-0-0.npy"), encode_pieces(scorer, tiny.tokens(), pieces))
    for weights in scorer.parameters():
        weights.data += 0.1
    assert drawn(0) == first
    drawn(1)
    assert not np.allclose(np.load(tmp_path / "vectors-0-0.npy"), np.load(tmp_path / "vectors-1-0.npy"))


@pytest.mark.parametrize(
    "shares", [{"random": 1.0}, {"hard": 1.0}, {"covisitation": 1.0}, {"popularity": 1.0}], ids=str
)
def test_every_kind_of_negatives_teaches_the_planted_pattern(
    shop: Catalogue, tmp_path: Path, shares: dict[str, float]
) -> None:
    scorer: Scorer = make_scorer("prefix", tiny.backbone(layers=2), cached_layers=1, seed=0)
    training = plan(negatives_from=shares, objectives={"listwise": 1.0}, max_epochs=3)
    outcome = tune(scorer, shop, cuts(likers(60, seed=1)), training, tmp_path, lambda one: quality(one, shop))
    assert outcome.ndcg > 0.8 > 0.6 > outcome.ndcg_before


def test_real_non_clicks_teach_it_without_any_that_are_drawn(shop: Catalogue, tmp_path: Path) -> None:
    scorer = make_scorer("prefix", tiny.backbone(layers=2), cached_layers=1, seed=0)
    draw, rng = Negatives(shop, 3, {"random": 1.0}), np.random.default_rng(0)
    shown = [replace(one, others=draw(one, rng)) for one in cuts(likers(60, seed=1))]
    training = plan(negatives=0, objectives={"listwise": 1.0}, max_epochs=3)
    assert tune(scorer, shop, shown, training, tmp_path, lambda one: quality(one, shop)).ndcg > 0.8
