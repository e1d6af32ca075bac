"""What evaluation is told of one user, on a catalogue whose answers can be read off."""

import math
from pathlib import Path

import numpy as np
import pytest

from llmrec import columns as C
from llmrec.nn.ablations import ABLATIONS
from llmrec.nn.candidates import CandidateSizes
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.judging import LLMREC, judge_user
from llmrec.nn.recommender import Recommender
from llmrec.nn.sources import SOURCES
from tests import tiny

ALL = tiny.sizes(50)
UNAVAILABLE = 7


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """Item 0 goes with 4, next to popular ones; 0, 1 and 2 are the most taken."""
    return tiny.catalogue(
        tmp_path_factory.mktemp("planted") / "catalogue",
        [f"{colour} {thing}" for colour in ("red", "blue") for thing in ("tea", "cup", "pot", "book")],
        together={(0, 4): 2.0, (0, 5): 1.0, (0, 1): 0.5},
        taken=[9, 8, 7, 3, 3, 2, 1, 6],
        available=[item != UNAVAILABLE for item in range(8)],
    )


def shop(catalogue: Catalogue, sizes: CandidateSizes = ALL) -> Recommender:
    ranker = tiny.fusion("covisitation")
    return Recommender(catalogue=catalogue, scorer=tiny.scorer(), tokens=tiny.tokens(), sizes=sizes, fusion=ranker)


def items(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


def test_recall_is_the_share_of_targets_that_a_source_or_any_proposed(planted: Catalogue) -> None:
    one = shop(planted, tiny.sizes(covisitation=2, popularity=2))
    [scored] = one.score([tiny.user("u", [0])])
    assert scored.proposals.items.tolist() == [1, 2, 4, 5]
    judged = judge_user(one, {}, scored, items(2, 3, 4, 5, 6), longest=1)
    recall = {entry["source"]: entry["recall"] for entry in judged.found}
    assert recall == {
        **dict.fromkeys(SOURCES, 0), C.COVISITATION: pytest.approx(2 / 5), C.POPULARITY: pytest.approx(1 / 5),
        "union": pytest.approx(3 / 5),
    }  # fmt: skip


@pytest.mark.parametrize("liked", [[], [0]])
def test_the_list_that_is_judged_is_the_one_that_is_published(planted: Catalogue, liked: list[int]) -> None:
    one = shop(planted)
    [scored] = one.score([tiny.user("u", liked)])
    judged = judge_user(one, {}, scored, items(1), longest=8)
    [ranked] = [entry["items"] for entry in judged.lists if entry["system"] == LLMREC]
    assert ranked == [int(row.item_id) for row in one.top(scored, 8)]


def test_systems_that_score_alike_have_the_same_list(tmp_path: Path) -> None:
    names = [f"{colour} {thing}" for colour in ("red", "blue") for thing in ("tea", "cup", "pot", "book")]
    one = shop(tiny.catalogue(tmp_path / "catalogue", names, taken=[1, 2, 3, 4, 5, 6, 7, 8]))
    [scored] = one.score([tiny.user("u", [])])
    same = {ablation.name: tiny.fusion("covisitation") for ablation in ABLATIONS}
    lists = {entry["system"]: entry["items"] for entry in judge_user(one, same, scored, items(1), longest=8).lists}
    for name in same:
        assert lists[name] == lists[LLMREC] == [7, 6, 5, 4, 3, 2, 1, 0]


def test_calibration_is_that_of_the_rows_that_are_shown(planted: Catalogue) -> None:
    one = shop(planted)
    [scored] = one.score([tiny.user("u", [0])])
    shown = one.top(scored, 3)
    liked = items(int(shown[0].item_id), int(one.top(scored, 4)[3].item_id))
    judged = judge_user(one, {}, scored, liked, longest=3)
    assert sum(judged.pairs) == 3
    assert sum(judged.predicted) == pytest.approx(sum(row.score for row in shown))
    assert sum(judged.liked) == 1
    assert judged.liked[int(shown[0].score * 10)] == 1
    told = [shown[0].score, *(1 - row.score for row in shown[1:])]
    assert judged.loss == pytest.approx(-sum(map(math.log, told)))
