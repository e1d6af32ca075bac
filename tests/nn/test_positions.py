"""Clicks that say as much of the place as of the taste: with a term for places the taste alone is learned."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from llmrec.nn.batches import Collator
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.examples import Example
from llmrec.nn.objectives import Objectives
from llmrec.nn.plan import Judge, Outcome
from llmrec.nn.positions import PositionBias
from llmrec.nn.scorers import make_scorer
from tests import tiny
from tests.nn.planted_shop import likers, plan, quality, tune

SEEN = np.array([1, 0.5, 0.25, 0.12, 0.06, 0.03])
"""How often each place is looked at."""
OWN, OTHER = 0.9, 0.3
"""How often what is looked at is clicked, by whether it has the user's colour."""
FIRST = 3
"""So many of the nine things, whatever their colour, are shown before the others."""


def requests(shop: Catalogue, count: int) -> list[Example]:
    """Six things, three of the user's colour, shown to each of ``count`` users, some kinds of things in front."""
    rng, found = np.random.default_rng(1), []
    for user in likers(count, seed=1, liked=3):
        colour = user.liked[0] // 9
        own = rng.permutation(np.setdiff1d(np.arange(9 * colour, 9 * colour + 9), user.liked))[:3]
        others = rng.permutation(np.setdiff1d(np.arange(27), np.arange(9 * colour, 9 * colour + 9)))[:3]
        items = np.concatenate([own, others]).astype(np.int32)
        items = items[np.argsort((items % 9 >= FIRST) + rng.random(6))]
        clicked = rng.random(6) < SEEN * np.where(items // 9 == colour, OWN, OTHER)
        places = np.arange(6, dtype=np.int32)
        positions = np.concatenate([places[clicked], places[~clicked]])
        found.append(
            Example("", user.liked, items[clicked], np.union1d(user.liked, items), others=items[~clicked],
                    positions=positions)
        )  # fmt: skip
    return found


def learn(
    shop: Catalogue,
    folder: Path,
    examples: list[Example],
    judge: Judge | None = None,
    *,
    objective: str = "listwise",
    position_bias: bool = True,
    max_epochs: int = 5,
) -> Outcome:
    scorer = make_scorer("dot", tiny.backbone(layers=2), cached_layers=1, seed=0)
    training = plan(
        objectives={objective: 1.0}, negatives=0, position_bias=position_bias, learning_rate=3e-3, max_epochs=max_epochs
    )
    return tune(scorer, shop, examples, training, folder, judge or (lambda one: quality(one, shop)))


@pytest.mark.parametrize("objective", ["listwise", pytest.param("bce", marks=pytest.mark.slow)])
def test_taste_is_learned_from_clicks_that_follow_places_with_their_term_and_not_without(
    shop: Catalogue, tmp_path: Path, objective: str
) -> None:
    examples, rng = requests(shop, 300 if objective == "listwise" else 500), np.random.default_rng(2)
    misplaced = [replace(one, positions=rng.permutation(one.positions)) for one in examples]
    found, without, broken = (
        learn(shop, tmp_path / name, given, objective=objective, position_bias=name != "without")
        for name, given in (("with", examples), ("without", examples), ("broken", misplaced))
    )
    assert found.ndcg > 0.8
    assert found.ndcg > max(without.ndcg, broken.ndcg) + 0.1
    assert found.positions[0] == 0
    assert found.positions[1:] == sorted(found.positions[1:], reverse=True)
    assert found.positions[1] < -0.5 > -2 > found.positions[-1]
    assert np.abs(broken.positions).max() < 0.5
    assert without.positions == []


def test_without_the_setting_positions_have_no_part_and_no_weights(shop: Catalogue) -> None:
    scorer = make_scorer("dot", tiny.backbone(layers=2), cached_layers=1, seed=0)
    examples = requests(shop, 8)
    nowhere = [replace(one, positions=one.positions[:0]) for one in examples]

    def loss(given: list[Example], *, position_bias: bool) -> float:
        objectives = Objectives(scorer, plan(objectives={"bce": 1.0}, position_bias=position_bias), None)
        if objectives.positions is not None:
            objectives.positions.logits.data -= torch.arange(64) / 4
        assert (len([*objectives.parameters()]) > len([*scorer.parameters()])) == position_bias
        return objectives(Collator(tiny.tokens(), shop)(given)).item()

    alone = loss(examples, position_bias=False)
    assert alone == loss(nowhere, position_bias=False) == loss(nowhere, position_bias=True)
    assert alone != pytest.approx(loss(examples, position_bias=True), abs=1e-3)


def test_what_was_drawn_or_shown_nobody_knows_where_counts_as_the_first_place_and_far_ones_as_one() -> None:
    term = PositionBias()
    term.logits.data = torch.arange(64) * -0.5 + 3
    assert term(torch.tensor([0, -1, 2, 63, 64, 10_000])).tolist() == [0, 0, -1, -31.5, -31.5, -31.5]


def test_a_training_that_was_killed_goes_on_with_what_it_had_learned_of_places(shop: Catalogue, tmp_path: Path) -> None:
    def read_out(figures: list[float]) -> Judge:
        left = iter(figures)
        return lambda _: next(left)

    examples = requests(shop, 48)
    whole = learn(shop, tmp_path / "whole", examples, read_out([0.1, 0.2, 0.3, 0.4]), max_epochs=3)
    with pytest.raises(StopIteration):
        learn(shop, tmp_path / "killed", examples, read_out([0.1, 0.2, 0.3]), max_epochs=3)
    assert learn(shop, tmp_path / "killed", examples, read_out([0.1, 0.4]), max_epochs=3) == whole
    assert learn(shop, tmp_path / "killed", examples, read_out([]), max_epochs=3) == whole
    assert len(whole.positions) == 6
