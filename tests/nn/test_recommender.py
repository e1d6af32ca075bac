"""Lists with answers known by construction: trees that follow one feature, on a catalogue that plants it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec import columns as C
from llmrec.domain.exploration import Exploration
from llmrec.domain.features import COLUMN
from llmrec.domain.rules import ListRules
from llmrec.domain.users import User
from llmrec.nn import pairs
from llmrec.nn import recommender as module
from llmrec.nn.candidates import CandidateSizes
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.fusion import Fusion
from llmrec.nn.linear import Precision
from llmrec.nn.prefix import PrefixScorer
from llmrec.nn.ragged import Ragged
from llmrec.nn.ratings import RatingScale
from llmrec.nn.reasons import reasons
from llmrec.nn.recommender import Recommender
from tests import tiny

SIZE = 12
UNAVAILABLE = 9
ALL = tiny.sizes(50)
TEXTS = [
    f"{colour} {thing}{more}"
    for colour, more in (("red", ""), ("blue", " , old"), ("green", " and a new film ."))
    for thing in ("tea", "cup", "pot", "book")
]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """Item 0 goes with 5 most of all, item 1 with 6; 9 is not available."""
    return tiny.catalogue(
        tmp_path_factory.mktemp("planted") / "catalogue",
        TEXTS,
        together={(0, 5): 2.5, (0, 6): 1.0, (1, 6): 2.9, (1, 9): 3.0, (2, 7): 0.5},
        taken=[12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 0],
        available=[place != UNAVAILABLE for place in range(SIZE)],
    )


@pytest.fixture(scope="module")
def by_covisitation() -> Fusion:
    return tiny.fusion("covisitation")


def recommender(catalogue: Catalogue, fusion: Fusion | None, sizes: CandidateSizes = ALL) -> Recommender:
    return Recommender(catalogue=catalogue, scorer=tiny.scorer(), tokens=tiny.tokens(), sizes=sizes, fusion=fusion)


def someone(name: str, liked: Sequence[int], recent: Sequence[int] = (), text: str = "") -> User:
    events = [*recent, *liked]
    arrays = [np.array(items, np.int32) for items in (liked, events, sorted(set(events)), sorted(set(events)))]
    return User(name, *arrays, text=text)


def test_what_the_pair_scorer_does_not_read_lacks_its_features_and_nothing_else(planted: Catalogue) -> None:
    whole, some = (
        list(recommender(planted, None, tiny.sizes(50, pair_scored=count)).score(crowd())) for count in (50, 2)
    )
    pair = [COLUMN["pair_logit"], COLUMN["pair_rank"]]
    for every, few in zip(whole, some, strict=True):
        read = np.isfinite(few.features[:, pair[0]])
        assert read.sum() == min(2, len(read))
        assert few.features[read][:, pair[0]] == pytest.approx(every.features[read][:, pair[0]], abs=1e-4)
        assert set(few.features[read][:, pair[1]]) <= {0, 1}
        assert np.array_equal(
            np.delete(few.features, pair, axis=1), np.delete(every.features, pair, axis=1), equal_nan=True
        )


def test_a_feature_that_is_declared_and_not_computed_is_named(
    planted: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmrec.nn.features.COLUMN", {**COLUMN, "moon": len(COLUMN)})
    with pytest.raises(RuntimeError, match=r"\['moon'\] are declared in domain.features, but not computed"):
        list(recommender(planted, None).score([someone("one", [0])]))


def test_what_recent_items_have_in_common_with_a_candidate_counts_by_how_late_they_are(tmp_path: Path) -> None:
    brands = [["acme"], ["bolt"], ["acme", "old"], ["bolt"], ["core"], []]
    catalogue = tiny.catalogue(tmp_path / "catalogue", TEXTS[:6], brands=brands, taken=[9, 9, 9, 0, 9, 9])
    user = replace(someone("u", [0, 1]), idle_days=3.0)
    [scored] = recommender(catalogue, None, tiny.sizes(50)).score([user])
    found = {
        name: scored.features[:, COLUMN[name]].tolist() for name in ("attribute_match", "recency", "trend", "idle")
    }
    assert scored.proposals.items.tolist() == [2, 3, 4, 5]
    assert found["attribute_match"] == pytest.approx([0.8 / 1.8, 1 / 1.8, 0, 0])
    assert found["recency"] == pytest.approx([np.log(2), np.nan, np.log(2), np.log(2)], nan_ok=True)
    assert found["trend"] == [0, 0, 0, 0]
    assert found["idle"] == pytest.approx([np.log(4)] * 4)


def test_ratings_stand_beside_what_the_pair_scorer_read_if_it_learned_any(
    planted: Catalogue, by_covisitation: Fusion
) -> None:
    scorer, users = PrefixScorer(tiny.backbone(), cached_layers=1, outputs=2).eval(), [someone("one", [0, 1])]
    parts = {"catalogue": planted, "tokens": tiny.tokens(), "fusion": by_covisitation, "precision": Precision.FLOAT32}
    without = Recommender(scorer=scorer, sizes=ALL, **parts)
    assert {row.rating for rows in without.recommend(users, top_n=4) for row in rows} == {None}
    scorer.ratings = RatingScale(mean=3, spread=0.01, lowest=2.9, highest=2.9995)
    [scored] = Recommender(scorer=scorer, sizes=ALL, **parts).score(users)
    items = scored.proposals.items
    pair = np.zeros(len(items), np.int64)
    read = scorer.encode_users(Ragged.of(without._user_sequences(users)))
    shown = scorer.encode_items(Ragged.of([tiny.tokens().item_sequence(planted.pieces(item)) for item in items]))
    outputs = scorer.pair_outputs(read, shown, torch.from_numpy(pair), torch.arange(len(pair))).numpy(force=True)
    assert scored.ratings == pytest.approx((3 + 0.01 * outputs[:, 1]).clip(2.9, 2.9995), abs=1e-5)
    assert 0 < (scored.ratings == np.float32(2.9995)).sum() < len(pair)
    some = Recommender(scorer=scorer, sizes=tiny.sizes(50, pair_scored=2), **parts)
    [rows] = some.recommend(users, top_n=len(pair))
    assert len([row for row in rows if row.rating is not None]) == 2


def test_a_list_holds_at_most_so_many_of_one_brand(tmp_path: Path, by_covisitation: Fusion) -> None:
    catalogue = tiny.catalogue(
        tmp_path / "catalogue",
        TEXTS,
        together={(0, place): 3.0 - place / 10 for place in range(1, SIZE)},
        brands=[["acme"] if place < 6 else ["bolt", "old"] if place < 8 else [] for place in range(SIZE)],
    )

    def items(rules: ListRules | None) -> list[int]:
        parts = {"scorer": tiny.scorer(), "tokens": tiny.tokens(), "sizes": ALL, "fusion": by_covisitation}
        shop = Recommender(catalogue=catalogue, **parts, rules=rules)
        return [int(row.item_id) for row in next(iter(shop.recommend([someone("one", [0])], top_n=4)))]

    free = items(None)
    assert len([item for item in free if item < 6]) > 1
    bound = items(ListRules(at_most=(("brand", 1),)))
    assert len(bound) == 4
    assert len([item for item in bound if item < 6]) == 1
    assert len([item for item in bound if item in (6, 7)]) == 1
    assert bound[0] == free[0]


@pytest.mark.parametrize("ranker", ["covisitation", "pair_logit"])
def test_a_list_has_all_its_items_where_the_candidates_are_too_much_alike_for_the_rules(
    tmp_path: Path, ranker: str
) -> None:
    catalogue = tiny.catalogue(
        tmp_path / "catalogue",
        TEXTS,
        together={(0, place): 3.0 - place / 10 for place in range(1, 6)},
        brands=[["acme"]] * 6 + [["bolt"]] * 3 + [["core"], ["dawn"], ["edge"]],
    )
    sizes, rules = tiny.sizes(0, covisitation=5, at_least=4), ListRules(at_most=(("brand", 1),))
    parts = {"catalogue": catalogue, "tokens": tiny.tokens(), "sizes": sizes, "fusion": tiny.fusion(ranker)}
    shop = Recommender(scorer=tiny.scorer(), **parts, rules=rules)
    [rows] = shop.recommend([someone("one", [0])], top_n=4)
    assert len(rows) == 4
    assert len({next(iter(catalogue.groups["brand"].of(int(row.item_id)))) for row in rows}) == 4
    assert rows[0].sources[0] == C.COVISITATION


def test_places_given_to_new_items_are_marked_and_their_chances_recorded(
    planted: Catalogue, by_covisitation: Fusion
) -> None:
    parts = {"scorer": tiny.scorer(), "tokens": tiny.tokens(), "sizes": ALL, "fusion": by_covisitation}
    tried = Recommender(catalogue=planted, **parts, exploration=Exploration(0.5, fewer_than=4, seed="a night"))
    users = [someone(f"user-{number}", [0]) for number in range(30)]
    [plain] = recommender(planted, by_covisitation).recommend(users[:1], top_n=3)
    lists = list(tried.recommend(users, top_n=3))
    assert list(tried.recommend(users, top_n=3)) == lists
    explored = [row for rows in lists for row in rows if C.EXPLORATION in row.sources]
    assert {int(row.item_id) for row in explored} <= {place for place in range(SIZE) if planted.taken[place] < 4}
    assert 15 < len(explored) < 45  # half of the sixty places after the first
    assert all(0 < row.propensity <= 0.5 for row in explored)
    for rows in lists:
        assert rows[0] == plain[0]
        kept = [row for row in rows[1:] if C.EXPLORATION not in row.sources]
        assert all(row.propensity == 0.5 for row in kept)
        assert len({row.item_id for row in rows}) == 3
    assert all(row.propensity == 1 for row in plain)


def test_without_the_pair_scorer_lists_are_still_made(planted: Catalogue, by_covisitation: Fusion) -> None:
    off = recommender(planted, by_covisitation, tiny.sizes(50, pair_scored=0))
    assert [row.item_id for row in next(iter(off.recommend([someone("one", [0])], top_n=2)))] == ["5", "6"]


def crowd() -> list[User]:
    return [
        someone("one", [0]),
        someone("new", [], text="old book"),
        someone("nobody", []),
        someone("many", [3, 2, 4, 8, 1], recent=[10, 11]),
        someone("saw", [], recent=[7]),
        tiny.user("all", list(range(SIZE))),
        tiny.user("given", [1], supplied={2: 0.4, UNAVAILABLE: 0.9, 1: 0.8}),
    ]


def test_lists_hold_distinct_unseen_available_items_ranked_from_1(planted: Catalogue, by_covisitation: Fusion) -> None:
    users = crowd()
    lists = list(recommender(planted, by_covisitation).recommend(users, top_n=5))
    for user, rows in zip(users, lists, strict=True):
        items = [int(row.item_id) for row in rows]
        assert len(set(items)) == len(items) == min(5, SIZE - len({*user.seen.tolist(), UNAVAILABLE}))
        assert not set(items) & {*user.seen.tolist(), UNAVAILABLE}
        assert [row.rank for row in rows] == list(range(1, len(rows) + 1))
        scores = [row.score for row in rows]
        assert scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 1 for score in scores)
        assert all(row.sources and row.reason for row in rows)


def test_the_planted_item_comes_first_and_the_reason_names_what_it_goes_with(
    planted: Catalogue, by_covisitation: Fusion
) -> None:
    users = [someone("one", [0]), someone("two", [3, 1]), someone("saw", [3], recent=[0])]
    best = [rows[0] for rows in recommender(planted, by_covisitation).recommend(users, top_n=3)]
    assert [row.item_id for row in best] == ["5", "6", "5"]
    assert [row.reason for row in best] == [
        f"People who chose “{title}” often choose this too" for title in ("red tea", "red cup", "red tea")
    ]
    assert all(C.COVISITATION in row.sources for row in best)


def test_a_reason_of_similarity_names_the_nearest_liked_item(tmp_path_factory: pytest.TempPathFactory) -> None:
    vectors = np.eye(SIZE, 32, dtype=np.float32)
    vectors[7] = 0.8 * vectors[2] + 0.6 * vectors[3]
    near = tiny.catalogue(tmp_path_factory.mktemp("near") / "catalogue", TEXTS, vectors=vectors)
    [rows] = recommender(near, tiny.fusion("nearest")).recommend([someone("u", [3, 2, 5])], top_n=1)
    # the trees were shown values up to 3; 0.8 is the largest here
    scored = next(recommender(near, None).score([someone("u", [3, 2, 5])]))
    nearest = dict(zip(scored.proposals.items.tolist(), scored.features[:, COLUMN["nearest"]].tolist(), strict=True))
    last = dict(zip(scored.proposals.items.tolist(), scored.features[:, COLUMN["last_liked"]].tolist(), strict=True))
    assert rows[0].item_id == "7"
    assert (nearest[7], last[7]) == (pytest.approx(0.8), pytest.approx(0))
    place = np.flatnonzero(scored.proposals.items == 7)
    user = scored.user
    assert reasons(near, user, user.liked, scored.proposals, place, contribution("nearest")) == [
        "Similar to “red pot”, which you liked"
    ]


@pytest.mark.parametrize("name", ["again", "next", "nearest", "supplied"])
def test_co_visitation_speaks_where_what_carried_an_item_has_nothing_to_say(planted: Catalogue, name: str) -> None:
    scored = next(recommender(planted, None).score([someone("u", [], recent=[0])]))
    place = np.flatnonzero(scored.proposals.items == 5)
    assert reasons(planted, scored.user, scored.user.liked, scored.proposals, place, contribution(name)) == [
        "People who chose “red tea” often choose this too"
    ]


def contribution(name: str) -> np.ndarray:
    added = np.zeros((1, len(COLUMN)))
    added[0, COLUMN[name]] = 1.0
    return added


def test_a_reason_of_what_comes_next_names_what_it_follows(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("after") / "catalogue"
    after = tiny.catalogue(folder, TEXTS, after={(0, 5): 2.9, (1, 5): 2.0, (5, 2): 3.0})
    [rows] = recommender(after, tiny.fusion("next")).recommend([someone("u", [1, 0])], top_n=2)
    assert (rows[0].item_id, rows[0].reason) == ("5", "Often chosen after “red tea”")
    assert C.NEXT in rows[0].sources
    assert "5" not in rows[1].reason


def test_an_item_taken_again_is_no_reason_for_itself(tmp_path: Path) -> None:
    often = tiny.catalogue(tmp_path / "catalogue", TEXTS, after={(0, 0): 2.9, (1, 0): 2.0})
    again = replace(someone("u", [1, 0]), excluded=np.array([1], np.int32))
    [rows] = recommender(often, tiny.fusion("next")).recommend([again], top_n=1)
    assert rows[0].item_id == "0"
    assert rows[0].reason == f"Often chosen after “{TEXTS[1]}”"


def counting(ask: Callable[..., np.ndarray], read: list[int]) -> Callable[..., np.ndarray]:
    """Ask for logits, and note of how many pairs."""

    def asked(states: object, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        read.append(len(item))
        return ask(states, user, item)

    return asked


def test_where_the_ranker_ignores_the_pair_scorer_it_reads_nothing(
    planted: Catalogue, by_covisitation: Fusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    for fusion in (by_covisitation, tiny.fusion("pair_logit")):
        one = recommender(planted, fusion)
        monkeypatch.setattr(one, "_pair_outputs", counting(one._pair_outputs, read))
        assert len(next(one.recommend([someone("one", [0])], top_n=3))) == 3
    assert read[0] == 0
    assert read[1] > 0


def test_only_users_without_history_are_marked_as_fallback(planted: Catalogue, by_covisitation: Fusion) -> None:
    lists = recommender(planted, by_covisitation).recommend(crowd(), top_n=9)
    marked = {
        user.user_id for user, rows in zip(crowd(), lists, strict=True) if any(C.FALLBACK in r.sources for r in rows)
    }
    assert marked == {"new", "nobody"}
    [rows] = recommender(planted, by_covisitation).recommend([someone("nobody", [])], top_n=9)
    assert all(row.sources[-1] == C.FALLBACK and len(row.sources) > 1 for row in rows)


def test_equal_scores_are_ordered_by_popularity_then_by_item(tmp_path: Path, by_covisitation: Fusion) -> None:
    catalogue = tiny.catalogue(tmp_path / "catalogue", TEXTS[:5], taken=[1, 3, 2, 3, 0])
    [rows] = recommender(catalogue, by_covisitation).recommend([someone("nobody", [])], top_n=SIZE)
    assert len({row.score for row in rows}) == 1
    assert [row.item_id for row in rows] == ["1", "3", "2", "0", "4"]


def test_without_candidates_the_list_is_empty_for_one_user_or_for_all(
    planted: Catalogue, by_covisitation: Fusion
) -> None:
    full = tiny.user("all", list(range(SIZE)))
    lists = list(recommender(planted, by_covisitation).recommend([full, someone("one", [0]), full], top_n=2))
    assert [len(rows) for rows in lists] == [0, 2, 0]
    assert list(recommender(planted, by_covisitation).recommend([full], top_n=2)) == [[]]
    off = tiny.sizes()
    assert list(recommender(planted, by_covisitation, off).recommend(crowd(), top_n=2)) == [[]] * len(crowd())
    assert list(recommender(planted, by_covisitation).recommend([], top_n=2)) == []


@settings(max_examples=8, deadline=None)
@given(data=st.data(), at_once=st.integers(1, 4), budget=st.sampled_from([1, 20, 60, 4096]))
def test_a_batch_of_users_gets_what_each_gets_alone(
    planted: Catalogue, by_covisitation: Fusion, data: st.DataObject, at_once: int, budget: int
) -> None:
    users = data.draw(st.permutations(crowd()))[:5]
    one = recommender(planted, by_covisitation)
    alone = [next(one.score([user])) for user in users]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_USERS_AT_ONCE", {"cpu": at_once})
        patch.setattr(pairs, "_TOKENS_AT_ONCE", {"cpu": budget})
        together = list(one.score(users))
        lists = [[(row.item_id, row.reason) for row in rows] for rows in one.recommend(users, 4)]
    for batched, single in zip(together, alone, strict=True):
        assert batched.user is single.user
        np.testing.assert_array_equal(batched.proposals.items, single.proposals.items)
        np.testing.assert_allclose(batched.features, single.features, atol=1e-5)
    assert lists == [[(row.item_id, row.reason) for row in next(one.recommend([user], 4))] for user in users]


def test_features_say_what_they_mean(planted: Catalogue) -> None:
    one = recommender(planted, None)
    user = tiny.user("u", [1, 0], supplied={6: 0.4})
    scored = next(one.score([user]))
    [row] = scored.features[scored.proposals.items == 6]
    value = {name: float(row[place]) for name, place in COLUMN.items()}
    assert value["covisitation"] == pytest.approx(3.9)
    assert value["covisitation_rank"] == 0
    assert value["popularity"] == value["popularity_lately"] == pytest.approx(np.log(7))
    assert value["liked_share"] == pytest.approx(7 / 8)
    assert value["supplied"] == pytest.approx(0.4)
    assert value["history_length"] == pytest.approx(np.log(3))
    assert value["nearest"] == value["last_liked"] == 0
    for name in ("dense", "pair_logit"):
        column = scored.features[:, COLUMN[name]]
        rank = scored.features[:, COLUMN["dense_rank" if name == "dense" else "pair_rank"]]
        assert rank.tolist() == [float((column > value).sum()) for value in column]
    assert len(np.unique(scored.features[:, COLUMN["pair_logit"]])) > 1


def test_what_a_user_liked_reaches_the_pair_scores(planted: Catalogue) -> None:
    one = recommender(planted, None)
    first, second = one.score([someone("a", [0], recent=[1]), someone("b", [1], recent=[0])])
    np.testing.assert_array_equal(first.proposals.items, second.proposals.items)
    assert np.abs(first.features - second.features)[:, COLUMN["pair_logit"]].min() > 1e-4


def test_a_recommender_without_fusion_scores_but_does_not_recommend(planted: Catalogue) -> None:
    one = recommender(planted, None)
    assert len(next(one.score([someone("one", [0])])).proposals.items)
    with pytest.raises(RuntimeError, match="made without a fusion ranker"):
        next(one.recommend([someone("one", [0])], top_n=1))
