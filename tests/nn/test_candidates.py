"""Candidates on a planted catalogue whose answers can be read off."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmrec import columns as C
from llmrec.domain.users import User
from llmrec.nn.candidates import CandidateSizes, Proposals
from llmrec.nn.candidates import propose as propose_from
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.neighbours import OfSome
from llmrec.nn.retrieval import ExactIndex
from llmrec.nn.sources import SOURCES, Answer, Near, all_scores, open_sources
from tests import tiny
from tests.tiny import sizes

ALL = tiny.sizes(50)
NONE = tiny.sizes()


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """Eight items; 6 is not available, nobody took 7; 0, 1 and 2 are taken together with others."""
    return tiny.catalogue(
        tmp_path_factory.mktemp("planted") / "catalogue",
        [f"{colour} {thing}" for colour in ("red", "blue") for thing in ("tea", "cup", "pot", "book")],
        after={(0, 2): 0.5, (2, 0): 0.4, (2, 5): 0.3, (1, 6): 0.9, (1, 4): 0.2},
        together={(0, 3): 0.5, (0, 4): 0.2, (1, 3): 0.25, (1, 6): 0.9, (2, 0): 0.7, (2, 5): 0.1},
        taken=[9, 8, 7, 3, 4, 6, 5, 0],
        available=[True] * 6 + [False, True],
    )


def someone(recent: list[int], seen: list[int] | None = None, supplied: dict[int, float] | None = None) -> User:
    known = np.array(sorted(set(recent if seen is None else seen)), np.int32)
    events = np.array(recent, np.int32)
    return User("u", liked=events, recent=events, seen=known, excluded=known, supplied=supplied or {})


def nearest(*items: int) -> np.ndarray:
    """What dense retrieval found, best first."""
    return np.array(items, np.int32)


def ask(user: User, catalogue: Catalogue, near: np.ndarray | None = None) -> dict[str, Answer]:
    vector = np.full((1, 32), 32**-0.5, np.float32)
    opened = open_sources(
        catalogue, ExactIndex(catalogue.vectors, allowed=catalogue.available), None, dict.fromkeys(SOURCES, 50)
    )
    answers = {name: source.ask([user], torch.from_numpy(vector))[0] for name, source in opened.items()}
    return answers | {C.DENSE: Near(catalogue.vectors, nearest() if near is None else near, vector[0])}


def propose(user: User, catalogue: Catalogue, sizes: CandidateSizes, near: np.ndarray) -> Proposals:
    return propose_from(ask(user, catalogue, near), sizes)


def sources(found: Proposals, item: int) -> set[str]:
    [place] = np.flatnonzero(found.items == item)
    return {source for source, there in zip(SOURCES, found.sources[place], strict=True) if there}


def test_candidates_are_the_union_of_all_sources_each_item_once(planted: Catalogue) -> None:
    user = someone([0], supplied={7: 0.9, 3: 0.8})
    found = propose(user, planted, sizes(dense=1, covisitation=2, popularity=2, supplied=2), nearest(3, 5))
    assert found.items.tolist() == [1, 2, 3, 7]
    assert sources(found, 3) == {C.DENSE, C.COVISITATION, C.SUPPLIED}
    assert sources(found, 2) == {C.COVISITATION, C.POPULARITY}
    assert sources(found, 1) == {C.POPULARITY}
    assert sources(found, 7) == {C.SUPPLIED}


@pytest.mark.parametrize("source", ["covisitation", "next", "popularity", "supplied"])
def test_no_source_proposes_seen_or_unavailable_items(planted: Catalogue, source: str) -> None:
    user = someone([1, 2], seen=[1, 2, 3], supplied={1: 1.0, 3: 1.0, 6: 1.0, 4: 0.1})
    found = propose(user, planted, sizes(**{source: 50}), nearest())
    assert len(found.items)
    assert not set(found.items.tolist()) & {1, 2, 3, 6}


@pytest.mark.parametrize(("source", "expected"), [
    ("dense", [7, 4]), ("covisitation", [2, 3]), ("next", [2]), ("popularity", [1, 2]), ("supplied", [5, 7]),
])  # fmt: skip
def test_a_source_gives_its_best_items_and_0_switches_it_off(
    planted: Catalogue, source: str, expected: list[int]
) -> None:
    user = someone([0], supplied={4: 0.1, 5: 0.9, 7: 0.8})
    near = nearest(7, 4, 5)
    assert propose(user, planted, sizes(**{source: 2}), near).items.tolist() == sorted(expected)
    assert propose(user, planted, sizes(**{source: 1}), near).items.tolist() == expected[:1]
    assert propose(user, planted, NONE, near).items.tolist() == []


def test_items_like_the_latest_ones_are_found_whoever_took_them(tmp_path: Path) -> None:
    angles = np.radians([0, 10, 80, 90, 100, 180])
    vectors = np.pad(np.stack([np.cos(angles), np.sin(angles)], axis=1), ((0, 0), (0, 30))).astype(np.float32)
    catalogue = tiny.catalogue(tmp_path / "catalogue", ["tea"] * 6, vectors=vectors, taken=[1, 0, 0, 1, 0, 0])

    def similar(user: User, count: int) -> list[int]:
        opened = open_sources(catalogue, ExactIndex(catalogue.vectors), None, dict.fromkeys(SOURCES, count))
        [answer] = opened[C.SIMILAR].ask([user], torch.zeros(1, 32))
        return answer.best(count).tolist()

    assert similar(someone([3, 0]), 2) == [1, 2]  # the mean lies nearer to the latest
    assert similar(someone([0, 3]), 2) == [2, 4]
    assert similar(replace(someone([0]), excluded=np.array([1], np.int32)), 1) == [2]
    assert similar(someone([]), 2) == []


def test_what_may_be_had_again_is_proposed_latest_first(planted: Catalogue) -> None:
    user = replace(someone([4, 2, 6, 1, 0]), excluded=np.array([2], np.int32))  # 6 is not available
    found = propose(user, planted, sizes(again=2), nearest())
    assert found.items.tolist() == [0, 1]
    assert found.scored_by(C.AGAIN).tolist() == [1, 0.5]
    assert set(propose(user, planted, sizes(popularity=9), nearest()).items.tolist()) >= {0, 1, 4}


def test_users_of_a_segment_are_given_what_that_segment_takes(tmp_path: Path) -> None:
    segments = {"cooks": {1: 2.0, 3: 5.0, 4: 1.0}, "gardeners": {2: 9.0}}
    available = [True, True, True, True, False]
    catalogue = tiny.catalogue(tmp_path / "catalogue", ["tea"] * 5, segments=segments, available=available)
    cook = replace(someone([]), segment="cooks")
    found = propose(cook, catalogue, sizes(segment=2), nearest())
    assert found.items.tolist() == [1, 3]
    assert found.scored_by(C.BY_SEGMENT).tolist() == [2, 5]
    assert propose(cook, catalogue, sizes(segment=1), nearest()).items.tolist() == [3]
    for other in ("", "smiths"):
        assert not len(propose(replace(cook, segment=other), catalogue, sizes(segment=5), nearest()).items)


def test_new_arrivals_are_proposed_the_latest_first(tmp_path: Path) -> None:
    available = [True, True, True, False, True]
    catalogue = tiny.catalogue(tmp_path / "catalogue", ["tea"] * 5, ages=[30, 1, None, 0, 3], available=available)
    assert propose(someone([]), catalogue, sizes(arrivals=2), nearest()).items.tolist() == [1, 4]
    assert propose(someone([], seen=[1]), catalogue, sizes(arrivals=2), nearest()).items.tolist() == [0, 4]
    found = propose(someone([]), catalogue, sizes(arrivals=1, popularity=9), nearest())
    assert found.scored_by(C.ARRIVALS).tolist() == pytest.approx([1 / 31, 0.5, 0, 0.25])


def test_the_candidates_that_most_sources_rank_high_are_agreed_on() -> None:
    scores = np.zeros((4, len(SOURCES)), np.float32)
    scores[:, 0] = [4, 3, 2, 1]
    scores[:, 1] = [0, 0.3, 0.4, 0]
    scores[:, 2] = [0, 9, 8, 1]
    found = Proposals(np.array([2, 3, 5, 7], np.int32), scores > 0, scores)
    assert found.agreed(1).tolist() == [1]
    assert found.agreed(2).tolist() == [1, 2]
    assert found.agreed(4).tolist() == found.agreed(9).tolist() == [0, 1, 2, 3]
    assert found.agreed(0).tolist() == []


def test_without_sources_there_are_no_candidates_but_the_shapes_hold(planted: Catalogue) -> None:
    found = propose(someone([0]), planted, NONE, nearest(1))
    assert found.sources.shape == (0, len(SOURCES))
    assert found.scores.shape == (0, len(SOURCES))


def test_a_user_without_history_gets_popular_and_supplied_items(planted: Catalogue) -> None:
    found = propose(someone([], supplied={7: 0.5}), planted, sizes(covisitation=9, popularity=2, supplied=1), nearest())
    assert found.items.tolist() == [0, 1, 7]
    assert not found.scored_by(C.COVISITATION).any()
    assert not found.scored_by(C.NEXT).any()


def test_an_item_taken_by_nobody_can_be_found_by_its_text(planted: Catalogue) -> None:
    found = propose(someone([0]), planted, sizes(dense=1), nearest(7))
    assert found.items.tolist() == [7]
    assert planted.related[C.COVISITATION].distinct(np.array([7], np.int32)).tolist() == []


def test_fewer_candidates_than_asked_for_are_all_there_are(planted: Catalogue) -> None:
    found = propose(someone([0, 1]), planted, ALL, nearest())
    assert found.items.tolist() == [2, 3, 4, 5, 7]


def test_a_user_who_has_seen_everything_gets_nothing(planted: Catalogue) -> None:
    found = propose(someone([0], seen=list(range(8)), supplied={3: 1.0}), planted, ALL, nearest())
    assert found.items.tolist() == []


def test_a_catalogue_of_one_item(tmp_path: Path) -> None:
    alone = tiny.catalogue(tmp_path / "one", ["red tea"])
    assert propose(someone([]), alone, ALL, nearest(0)).items.tolist() == [0]
    assert propose(someone([0]), alone, ALL, nearest()).items.tolist() == []


def test_weights_add_up_over_the_history_and_fade_where_they_are_told_to(planted: Catalogue) -> None:
    related = planted.related[C.COVISITATION]
    everything, history = np.arange(8, dtype=np.int32), [np.array([0, 1], np.int32)]
    [both] = related.sums(history)
    assert both.look_up(everything).tolist() == pytest.approx([0, 0, 0.7, 0.75, 0.2, 0, 0.9, 0])
    [faded] = related.sums(history, fade=0.5)
    assert faded.look_up(everything).tolist() == pytest.approx([0, 0, 0.35, 0.5, 0.1, 0, 0.9, 0])


def test_next_looks_ahead_only_and_at_the_last_item_most(planted: Catalogue) -> None:
    answer = ask(someone([2, 0], seen=[7]), planted)[C.NEXT]
    assert answer.scores(nearest(0, 2, 5, 3)).tolist() == pytest.approx([0.28, 0.5, 0.21, 0])
    assert answer.best(9).tolist() == [2, 0, 5]
    assert ask(someone([5, 3]), planted)[C.NEXT].best(9).tolist() == []  # what comes before them says nothing


def test_covisitation_counts_for_candidates_of_other_sources_too(planted: Catalogue) -> None:
    found = propose(someone([0], supplied={4: 1.0}), planted, sizes(supplied=1), nearest())
    assert found.scored_by(C.COVISITATION).tolist() == pytest.approx([0.2])


def test_what_goes_by_vectors_says_of_items_together_what_each_says_alone(planted: Catalogue) -> None:
    answers, items = [*ask(someone([0, 2]), planted).values()], nearest(1, 3, 4, 7)
    together = all_scores(answers, items)
    assert sum(isinstance(answer, Near) for answer in answers) >= 2
    for column, answer in zip(together.T, answers, strict=True):
        assert column == pytest.approx(answer.scores(items), abs=1e-6)


def test_popularity_skips_what_is_seen_and_still_fills_the_list(planted: Catalogue) -> None:
    assert ask(someone([0, 2]), planted)[C.POPULARITY].best(3).tolist() == [1, 5, 4]
    assert ask(someone([]), planted)[C.POPULARITY].best(99).tolist() == [0, 1, 2, 5, 4, 3, 7]
    assert ask(someone([6]), planted)[C.POPULARITY].best(1).tolist() == [0]


def test_equally_popular_and_equally_covisited_items_are_ordered_by_index(tmp_path: Path) -> None:
    even = tiny.catalogue(tmp_path / "even", ["red tea"] * 6, together={(0, place): 0.5 for place in (5, 3, 4)})
    assert ask(someone([1]), even)[C.POPULARITY].best(3).tolist() == [0, 2, 3]
    assert ask(someone([0]), even)[C.COVISITATION].best(2).tolist() == [3, 4]


@given(
    known=st.dictionaries(st.integers(0, 30), st.floats(0.5, 2, width=32), max_size=8),
    asked=st.sets(st.integers(0, 30)),
)
def test_look_up_is_a_dictionary_with_0_for_the_rest(known: dict[int, float], asked: set[int]) -> None:
    keys = np.array(sorted(known), np.int32)
    values = np.array([known[key] for key in sorted(known)], np.float32)
    items = np.array(sorted(asked), np.int32)
    assert OfSome(keys, values).look_up(items).tolist() == [known.get(item, 0.0) for item in sorted(asked)]
