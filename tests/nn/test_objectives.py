"""Every objective on the planted shop: it teaches the pattern, and nothing when that is not there."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from llmrec.domain.users import User
from llmrec.nn.batches import Collator
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.examples import Example
from llmrec.nn.losses import bpr, distance, two_class
from llmrec.nn.negatives import Negatives
from llmrec.nn.objectives import DRAWS, RANKING, RATING, Objectives
from llmrec.nn.plan import Outcome
from llmrec.nn.ragged import Ragged
from llmrec.nn.ratings import RatingScale
from llmrec.nn.scorer import Scorer
from llmrec.nn.scorers import make_scorer
from tests import tiny
from tests.nn.planted_shop import cuts, likers, plan, quality, shuffled, tune

SCALE = RatingScale(mean=3, spread=2, lowest=1, highest=5)
ALL = ("bpr", "two-class", "bce", "mse", "mae")
COMPARES = ("dot", "bilinear", "attention")
EVERY_PAIR = [
    pytest.param(objective, name, marks=[pytest.mark.slow] if name in ("joint", "bilinear") else [])
    for objective in ALL
    for name in ("prefix", "joint", *COMPARES)
]


def judged(shop: Catalogue, users: list[User]) -> list[Example]:
    """What users took next, which they rate 5, and as many other things, which they rate 1."""
    rng, found = np.random.default_rng(1), []
    for one in cuts(users):
        others = Negatives(shop, len(one.positives), {"random": 1.0})(one, rng)
        ratings = np.repeat(np.float32([5, 1]), [len(one.positives), len(others)])
        found.append(replace(one, others=others, ratings=ratings))
    return found


def learn(
    shop: Catalogue,
    folder: Path,
    users: list[User],
    objectives: dict[str, float],
    name: str = "prefix",
    judge: Callable[[Scorer], float] | None = None,
) -> tuple[Scorer, Outcome]:
    """Learn from judged examples, with negatives drawn only where the objectives are about those."""
    outputs = 1 + bool(RATING & objectives.keys() and RANKING & objectives.keys())
    scorer = make_scorer(name, tiny.backbone(layers=2), cached_layers=1, outputs=outputs, seed=0)
    examples = judged(shop, users) if objectives.keys() - DRAWS else cuts(users)
    training = plan(
        objectives=objectives, ratings=SCALE, negatives=8 if DRAWS & objectives.keys() else 0, max_epochs=6,
        learning_rate=1e-3 if name in COMPARES else 3e-3,
    )  # fmt: skip
    return scorer, tune(scorer, shop, examples, training, folder, judge or (lambda one: quality(one, shop)))


@pytest.mark.parametrize(("objective", "name"), EVERY_PAIR)
def test_each_objective_teaches_each_scorer_the_planted_pattern(
    shop: Catalogue, tmp_path: Path, objective: str, name: str
) -> None:
    _, outcome = learn(shop, tmp_path, likers(60, seed=1), {objective: 1.0}, name)
    assert outcome.ndcg > 0.8 > 0.6 > outcome.ndcg_before


@pytest.mark.parametrize("objective", ALL)
def test_with_shuffled_likes_no_objective_teaches_anything(shop: Catalogue, tmp_path: Path, objective: str) -> None:
    _, outcome = learn(shop, tmp_path, shuffled(likers(60, seed=1)), {objective: 1.0})
    assert outcome.ndcg < 0.7


def rated(shop: Catalogue, scorer: Scorer) -> tuple[np.ndarray, np.ndarray]:
    """What new users think of things of each colour, and what the scorer says they do."""
    tokens, users = tiny.tokens(), likers(12, seed=3)
    nothing, items = np.zeros(0, np.int32), np.arange(0, 27, 2)
    read = [tokens.user_sequence(nothing, [shop.pieces(item) for item in user.liked]) for user in users]
    shown = [tokens.item_sequence(shop.pieces(item)) for item in items]
    user, item = (torch.from_numpy(of.ravel()) for of in np.indices((len(users), len(items))))
    with torch.inference_mode():
        states = scorer.encode_users(Ragged.of(read)), scorer.encode_items(Ragged.of(shown))
        said = SCALE.mean + SCALE.spread * scorer.pair_outputs(*states, user, item)[:, -1]
    colour = np.array([one.liked[0] // 9 for one in users])
    return np.where(colour[:, None] == items[None, :] // 9, 5, 1).ravel(), said.numpy()


@pytest.mark.parametrize("objectives", [{"mse": 1.0}, {"mae": 1.0}, {"mse": 1.0, "bpr": 1.0}])
def test_ratings_of_new_users_are_told_far_better_than_by_their_mean(
    shop: Catalogue, tmp_path: Path, objectives: dict[str, float]
) -> None:
    def error(scorer: Scorer) -> float:
        truth, said = rated(shop, scorer)
        return float(np.sqrt(np.mean((said - truth) ** 2)) / truth.std())

    scorer, outcome = learn(shop, tmp_path, likers(60, seed=1), objectives, judge=lambda one: -error(one))
    assert -outcome.ndcg == error(scorer) < 0.6 < 0.9 < -outcome.ndcg_before
    if len(objectives) > 1:
        assert quality(scorer, shop) > 0.8


def test_what_the_weight_of_an_objective_is_shows_in_the_loss(shop: Catalogue) -> None:
    batch = Collator(tiny.tokens(), shop)([replace(one, negatives=np.arange(3)) for one in cuts(likers(3, seed=1))])
    scorer = make_scorer("dot", tiny.backbone(layers=2), cached_layers=1, seed=0)

    def loss(**weights: float) -> float:
        named = {name.replace("_", "-"): weight for name, weight in weights.items()}
        return Objectives(scorer, plan(objectives=named), None)(batch).item()

    parts = loss(bpr=1), loss(two_class=1), loss(in_batch=1)
    assert loss(bpr=0.5, two_class=2, in_batch=3) == pytest.approx(np.dot(parts, [0.5, 2, 3]), rel=1e-5)
    assert len({round(part, 4) for part in parts}) == 3


def test_bce_is_told_nothing_by_what_was_drawn(shop: Catalogue) -> None:
    scorer = make_scorer("dot", tiny.backbone(layers=2), cached_layers=1, seed=0)
    [one] = cuts(likers(1, seed=1))[:1]
    shown = replace(one, others=np.array([20, 21]))
    losses = [
        Objectives(scorer, plan(objectives={"bce": 1.0}), None)(Collator(tiny.tokens(), shop)([example])).item()
        for example in (shown, replace(shown, negatives=np.array([22, 23])), replace(shown, others=np.array([20, 22])))
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert losses[0] != pytest.approx(losses[2], abs=1e-3)


@pytest.mark.parametrize("objective", [*ALL, "listwise", "in-batch"])
def test_a_batch_without_a_like_or_a_rating_costs_nothing_that_is_not_finite(shop: Catalogue, objective: str) -> None:
    scorer = make_scorer("prefix", tiny.backbone(layers=2), cached_layers=1, seed=0)
    nothing = np.zeros(0, np.int32)
    example = Example("red", nothing, nothing, nothing, others=np.array([3, 4]))
    training = plan(objectives={objective: 1.0}, ratings=SCALE)
    loss = Objectives(scorer, training, None)(Collator(tiny.tokens(), shop)([example]))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(weights.grad).all() for weights in scorer.parameters() if weights.grad is not None)


def test_bpr_is_each_positive_against_each_negative_of_its_list() -> None:
    logits = torch.tensor([[1.5, -0.5, 0.2], [0.3, 2.0, -torch.inf], [0.7, -torch.inf, -torch.inf]])
    is_positive = torch.tensor([[True, True, False], [True, False, False], [True, False, False]])
    margins = np.array([1.5 - 0.2, -0.5 - 0.2, 0.3 - 2.0])
    assert bpr(logits, is_positive).tolist() == pytest.approx(np.log1p(np.exp(-margins)), abs=1e-6)


def test_two_class_is_the_cross_entropy_of_two_classes_and_smoothing_pulls_towards_even_chances() -> None:
    classes = torch.tensor([[0.3, 1.2], [0.8, -0.4], [0.1, 0.1]])
    taken = torch.tensor([True, False, True])
    for smoothing in (0.0, 0.2):
        expected = torch.nn.functional.cross_entropy(classes, taken.long(), label_smoothing=smoothing, reduction="none")
        torch.testing.assert_close(two_class(classes[:, 1] - classes[:, 0], taken, smoothing), expected)


def test_distance_is_squared_or_absolute() -> None:
    outputs, ratings = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.5, 2.0, 2.0])
    assert distance(outputs, ratings, 2).tolist() == [0.25, 0, 4]
    assert distance(outputs, ratings, 1).tolist() == [0.5, 0, 2]
