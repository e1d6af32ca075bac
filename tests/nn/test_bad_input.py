"""What no catalogue and no user should look like, and some do."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmrec import columns as C
from llmrec.domain.features import COLUMN, NAMES
from llmrec.domain.rules import ListRules
from llmrec.errors import InputTableError
from llmrec.nn.candidates import CandidateSizes
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.encoding import encode_texts
from llmrec.nn.fusion import Fusion
from llmrec.nn.inference import for_inference
from llmrec.nn.linear import Precision
from llmrec.nn.pairs import score_pairs
from llmrec.nn.ragged import Ragged
from llmrec.nn.recommender import Recommender
from llmrec.nn.sources import SOURCES
from tests import tiny

TEXTS = [
    "",
    " \t\n\u00a0\u3000",
    "red tea " * 50_000,
    "🫖🫖 чай 茶 café 👩‍👩‍👧",
    "\x00\x07red\x1b[31m\u202etea\ufeff",
    "[SEP] [CLS] [PAD]",
    "red tea",
    "red tea",
]
ALL = tiny.sizes(50)
ONE_SUPPLIED = tiny.sizes(supplied=1)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    _, vectors = encode_texts(for_inference(tiny.scorer()), tiny.tokens(), TEXTS)
    assert np.isfinite(vectors).all()
    return tiny.catalogue(tmp_path_factory.mktemp("bad") / "catalogue", TEXTS, vectors=vectors)


def recommender(catalogue: Catalogue, sizes: CandidateSizes = ALL, **more: Any) -> Recommender:
    parts = {"scorer": tiny.scorer(), "tokens": tiny.tokens(), "sizes": sizes, "fusion": tiny.fusion(), **more}
    return Recommender(catalogue=catalogue, **parts)


@pytest.mark.parametrize("text", TEXTS[:6])
def test_any_profile_and_any_history_get_a_whole_list(shop: Catalogue, text: str) -> None:
    odd = [0, 1, 2, 3, 4, 5]
    users = [tiny.user("no history", text=text), tiny.user("odd history", odd, text=text)]
    lists = list(recommender(shop).recommend(users, top_n=8))
    assert [len(rows) for rows in lists] == [8, 2]
    assert all(0 <= row.score <= 1 for rows in lists for row in rows)


def test_texts_without_words_have_the_same_vector(shop: Catalogue) -> None:
    np.testing.assert_allclose(shop.vectors[0], shop.vectors[1], atol=1e-6)
    np.testing.assert_allclose(shop.vectors[6], shop.vectors[7], atol=1e-6)


class BrokenIndex:
    """Nearest items that cannot be found."""

    def top_k(self, *_: object, **__: object) -> object:
        raise RuntimeError("a disk is gone")


def test_a_source_that_fails_is_left_out_where_that_is_asked_for_and_named(shop: Catalogue) -> None:
    users = [tiny.user("u", [1, 2]), tiny.user("v", [3])]
    with pytest.raises(RuntimeError, match="a disk is gone"):
        list(recommender(shop, index=BrokenIndex()).score(users))
    whole, some = recommender(shop), recommender(shop, index=BrokenIndex(), without_failed=True)
    failed = (C.DENSE, C.SIMILAR)  # no model here says what comes next in the order of a history
    for every, left in zip(whole.score(users), some.score(users), strict=True):
        assert (every.failed, left.failed) == ((), failed)
        assert len(some.top(left, 3)) == 3
        there = {source for source, any_ in zip(SOURCES, left.proposals.sources.any(axis=0), strict=True) if any_}
        assert not there & set(failed)
        assert {C.LEXICAL, C.POPULARITY} <= there


def test_a_catalogue_of_one_item_is_given_to_who_has_not_had_it(tmp_path: Path) -> None:
    lone = tiny.catalogue(
        tmp_path / "catalogue",
        ["red tea"],
        ages=[1],
        segments={"cooks": {0: 1.0}},
        factors=np.ones((1, 64), np.float32),
    )
    users = [tiny.user("new", text="tea"), replace(tiny.user("cook"), segment="cooks"), tiny.user("had it", [0])]
    lists = list(recommender(lone).recommend(users, top_n=3))
    assert [[row.item_id for row in rows] for rows in lists] == [["0"], ["0"], []]


@pytest.mark.parametrize("rules", [ListRules(min_score=1.0), ListRules(at_most=(("category", 1),), min_score=1.0)])
def test_where_the_rules_leave_nothing_the_list_is_empty(shop: Catalogue, rules: ListRules) -> None:
    assert list(recommender(shop, rules=rules).recommend([tiny.user("u", [6])], top_n=5)) == [[]]


def test_features_that_are_constant_or_missing_do_no_harm() -> None:
    rng = np.random.default_rng(0)
    features = np.zeros((4000, len(NAMES)), np.float32)
    features[:, COLUMN["next"]] = rng.uniform(0, 3, 4000)
    features[:, COLUMN["pair_logit"]] = np.nan
    liked = rng.random(4000) < features[:, COLUMN["next"]] / 3
    ranker = Fusion.train(features, liked, np.full(80, 50), np.arange(80), seed=1)
    best, worst = features[:2].copy(), features[:2].copy()
    best[:, COLUMN["next"]], worst[:, COLUMN["next"]] = 3, 0
    assert (ranker.probabilities(best) > ranker.probabilities(worst)).all()
    told = features[:2].copy()  # what was constant at training may not be later
    told[:, COLUMN["als"]] = 9
    assert np.isfinite(ranker.probabilities(told)).all()


def test_one_candidate_is_a_list_of_one(shop: Catalogue) -> None:
    [rows] = recommender(shop, ONE_SUPPLIED).recommend([tiny.user("u", [6], supplied={3: 0.5})], top_n=5)
    assert [(row.rank, row.item_id) for row in rows] == [(1, "3")]


@torch.inference_mode()
@pytest.mark.parametrize("precision", list(Precision))
def test_the_same_candidate_twice_scores_the_same(precision: Precision) -> None:
    scorer, texts = for_inference(tiny.scorer(), precision), [np.array([2, 5, 6, 3], np.int32)] * 2
    users = scorer.encode_users(Ragged.of([np.array([2, 4, 7, 3], np.int32)]))
    user, item = np.zeros(4, np.int64), np.array([0, 1, 0, 0])
    logits = score_pairs(scorer, users, scorer.encode_items(Ragged.of(texts)), user, item)
    assert len(set(logits.tolist())) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_vector_that_is_not_a_number_names_its_item(tmp_path: Path, value: float) -> None:
    vectors = np.eye(3, 32, dtype=np.float32)
    vectors[1, 4] = value
    with pytest.raises(InputTableError, match="item_vectors: the vectors of 1 items, the first is '1'"):
        tiny.catalogue(tmp_path / "catalogue", ["red", "blue", "green"], vectors=vectors)
    assert not (tmp_path / "catalogue").exists()


def test_a_logit_that_is_not_a_number_names_user_and_item(shop: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = recommender(shop, ONE_SUPPLIED, fusion=tiny.fusion("pair_logit"))
    monkeypatch.setattr(broken, "_pair_outputs", lambda *_: np.full((1, 1), np.nan, np.float32))
    with pytest.raises(FloatingPointError, match="user 'u', item '3': the pair's logit is nan"):
        list(broken.recommend([tiny.user("u", [6], supplied={3: 0.5})], top_n=1))
