"""Going on from a trained scorer: what is new is learned, and with replay what was known is not lost."""

import copy
from pathlib import Path

import pytest

from llmrec.domain.users import User
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.scorer import Scorer
from llmrec.nn.scorers import make_scorer
from tests import tiny
from tests.nn.planted_shop import COLOURS, cuts, likers, plan, quality, tune

OLD, NEW = ("red", "blue"), ("green",)
MARGIN = 0.05
"""How much NDCG@10 old users may lose."""


def of(colours: tuple[str, ...]) -> list[User]:
    return [user for user in likers(90, seed=1) if COLOURS[int(user.liked[0]) // 9] in colours]


@pytest.fixture(scope="module")
def known(shop: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    """A scorer that learned when nobody liked anything green."""
    scorer = make_scorer("prefix", tiny.backbone(layers=2), cached_layers=1, seed=0)
    examples, folder = cuts(of(OLD)), tmp_path_factory.mktemp("old")
    tune(scorer, shop, examples, plan(max_epochs=6, learning_rate=3e-3), folder, lambda one: quality(one, shop))
    return scorer


def go_on(known: Scorer, shop: Catalogue, users: list[User], folder: Path, judges: tuple[str, ...]) -> Scorer:
    scorer = copy.deepcopy(known).requires_grad_(True)
    training = plan(max_epochs=4, learning_rate=3e-3)
    tune(scorer, shop, cuts(users), training, folder, lambda one: quality(one, shop, colours=judges))
    return scorer


def test_a_new_taste_is_learned_and_the_old_ones_are_kept_by_replay(
    known: Scorer, shop: Catalogue, tmp_path: Path
) -> None:
    old, new = quality(known, shop, colours=OLD), quality(known, shop, colours=NEW)
    both = go_on(known, shop, of(NEW) + of(OLD)[:20], tmp_path / "both", judges=COLOURS)
    alone = go_on(known, shop, of(NEW), tmp_path / "alone", judges=NEW)
    assert quality(both, shop, colours=NEW) > new + 0.2
    assert quality(both, shop, colours=OLD) > old - MARGIN
    assert quality(alone, shop, colours=OLD) < old - MARGIN
