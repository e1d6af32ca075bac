"""Training on a planted pattern: who likes red things goes on to like red things."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.domain.features import COLUMN
from llmrec.domain.metrics import user_metrics
from llmrec.domain.ranking import best_first
from llmrec.domain.users import User
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.encoding import encode_texts
from llmrec.nn.examples import Example, NegativeSampler, cut_examples
from llmrec.nn.joint import JointScorer
from llmrec.nn.losses import in_batch, listwise
from llmrec.nn.prefix import PrefixScorer
from llmrec.nn.recommender import Recommender
from llmrec.nn.scorer import Scorer
from llmrec.nn.training import Outcome, Progress, TrainingPlan, _done, _share_of_rate, fine_tune
from tests import tiny

COLOURS = ("red", "blue", "green")
THINGS = ("tea", "coffee", "cup", "pot", "film", "song", "book", "cat", "dog")
ALL_UNSEEN = tiny.sizes(popularity=27)


def plan(**changes: float) -> TrainingPlan:
    usual = {
        "seed": 1, "frozen_layers": 0, "max_examples": 1000, "positives": 2, "negatives": 8, "batch_examples": 16,
        "learning_rate": 1e-2, "max_epochs": 4, "max_minutes": 9, "validations": 1, "patience": 9,
    }  # fmt: skip
    return TrainingPlan(**usual | changes)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """Items 0-8 are red, 9-17 blue, 18-26 green."""
    texts = [f"{colour} {thing}" for colour in COLOURS for thing in THINGS]
    neighbours = {(item, item + 1): 0.5 for item in range(26)}
    return tiny.catalogue(tmp_path_factory.mktemp("shop") / "catalogue", texts, together=neighbours)


def likers(count: int, seed: int, liked: int = 6) -> list[User]:
    """Users who each like things of one colour."""
    rng = np.random.default_rng(seed)
    return [tiny.user(f"u{n}", (9 * (n % 3) + rng.permutation(9)[:liked]).tolist()) for n in range(count)]


def shuffled(users: list[User]) -> list[User]:
    """The same users with likes dealt out anew, so that nothing follows from a history."""
    rng = np.random.default_rng(5)
    return [tiny.user(user.user_id, rng.permutation(27)[: len(user.liked)].tolist()) for user in users]


def quality(scorer: Scorer, shop: Catalogue, column: str = "pair_logit") -> float:
    """NDCG@10 of the four things of their colour that 15 new users have not seen yet."""
    users = likers(15, seed=2, liked=5)
    recommender = Recommender(catalogue=shop, scorer=scorer, tokens=tiny.tokens(), sizes=ALL_UNSEEN, fusion=None)
    figures = []
    for scored in recommender.score(users):
        colour = int(scored.user.liked[0]) // 9
        wanted = set(range(9 * colour, 9 * colour + 9)) - set(scored.user.seen.tolist())
        ranked = scored.proposals.items[best_first(scored.features[:, COLUMN[column]], scored.proposals.items)]
        figures.append(user_metrics(ranked.tolist(), wanted, [10])["NDCG", 10])
    return float(np.mean(figures))


def learn(shop: Catalogue, users: list[User], training: TrainingPlan) -> tuple[PrefixScorer, Outcome, list[Progress]]:
    scorer, told = tiny.scorer(layers=2), []
    judge = lambda: quality(scorer, shop)  # noqa: E731
    return scorer, fine_tune(scorer, tiny.tokens(), shop, users, training, judge, told.append), told


def judged_by(shop: Catalogue, figures: list[float], training: TrainingPlan) -> tuple[Outcome, list[dict], dict]:
    """Train with a judge that only reads out ``figures``; return the weights it saw each time and those kept."""
    scorer, seen = tiny.scorer(layers=2), []

    def judge() -> float:
        seen.append({name: weights.clone() for name, weights in scorer.state_dict().items()})
        return figures[len(seen) - 1]

    outcome = fine_tune(scorer, tiny.tokens(), shop, likers(24, seed=1), training, judge, lambda _: None)
    return outcome, seen, scorer.state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def trained(shop: Catalogue) -> tuple[PrefixScorer, Outcome, list[Progress]]:
    return learn(shop, likers(60, seed=1), plan())


def test_a_planted_pattern_is_learned_by_pair_scores_and_by_vectors(
    shop: Catalogue, trained: tuple[PrefixScorer, Outcome, list[Progress]]
) -> None:
    scorer, outcome, _ = trained
    assert outcome.ndcg == quality(scorer, shop)
    assert outcome.ndcg > 0.9 > 0.6 > outcome.ndcg_before
    texts = shop.table["title"].to_pylist()
    before, after = (
        quality(one, replace(shop, vectors=encode_texts(one, tiny.tokens(), texts)[1]), "dense")
        for one in (tiny.scorer(layers=2), scorer)
    )
    assert after > 0.9 > 0.8 > before
    assert outcome.losses[-1] < outcome.losses[0] - 0.5
    assert not scorer.training


def test_the_joint_scorer_learns_by_the_same_steps(shop: Catalogue) -> None:
    scorer, training = JointScorer(tiny.backbone(layers=2)), plan(max_epochs=2)
    outcome = fine_tune(
        scorer, tiny.tokens(), shop, likers(60, seed=1), training, lambda: quality(scorer, shop), lambda _: None
    )
    assert outcome.ndcg > 0.8 > 0.6 > outcome.ndcg_before


def test_with_shuffled_likes_nothing_is_learned(shop: Catalogue) -> None:
    _, outcome, _ = learn(shop, shuffled(likers(60, seed=1)), plan(max_epochs=2))
    assert outcome.ndcg < 0.7


def test_progress_is_told_for_every_step_and_figures_at_validations(
    trained: tuple[PrefixScorer, Outcome, list[Progress]],
) -> None:
    _, outcome, told = trained
    assert [progress.step for progress in told] == list(range(outcome.steps + 1))
    assert all(progress.steps == outcome.steps for progress in told)
    figures = [progress.ndcg for progress in told if progress.ndcg is not None]
    assert figures[0] == outcome.ndcg_before
    assert max(figures) == outcome.ndcg
    assert len(figures) == 1 + len(outcome.losses)


def test_the_same_seed_gives_the_same_losses_and_weights(shop: Catalogue) -> None:
    runs = [learn(shop, likers(24, seed=1), plan(max_epochs=1, seed=seed)) for seed in (3, 3, 4)]
    assert runs[0][1] == runs[1][1]
    assert same(runs[0][0].state_dict(), runs[1][0].state_dict())
    assert runs[0][1].losses != runs[2][1].losses


def test_early_stopping_keeps_the_weights_of_the_best_validation(shop: Catalogue) -> None:
    figures = [0.1, 0.2, 0.5, 0.4, 0.3, 0.9]
    outcome, seen, kept = judged_by(shop, figures, plan(validations=9, patience=2))
    assert (outcome.steps, outcome.ndcg, outcome.ndcg_before) == (4, 0.5, 0.1)
    assert len(outcome.losses) == 4
    assert same(kept, seen[2])
    assert not same(kept, seen[3])


def test_weights_that_never_got_better_are_left_as_they_were(shop: Catalogue) -> None:
    outcome, seen, kept = judged_by(shop, [0.5, 0.5, 0.1], plan(validations=9, patience=2))
    assert (outcome.steps, outcome.ndcg) == (2, 0.5)
    assert same(kept, seen[0])


def test_training_stops_at_a_validation_when_its_time_is_up(shop: Catalogue) -> None:
    outcome, seen, kept = judged_by(shop, [0.1, 0.2], plan(max_minutes=1e-9))
    assert (outcome.steps, outcome.ndcg) == (1, 0.2)
    assert same(kept, seen[1])


def test_frozen_layers_keep_their_weights_and_the_others_move(shop: Catalogue) -> None:
    _, seen, kept = judged_by(shop, [0.1, 0.2], plan(frozen_layers=1, max_minutes=1e-9))
    moved = {name for name in kept if not torch.equal(kept[name], seen[0][name])}
    assert not [name for name in moved if "embeddings." in name or "blocks.0." in name]
    for part in ("head.weight", "blocks.1.query.weight", "blocks.1.output_norm.bias"):
        assert [name for name in moved if name.endswith(part)]


def test_users_with_one_liked_item_teach_nothing(shop: Catalogue) -> None:
    users = [tiny.user(items=[3]), tiny.user(items=[])]
    with pytest.raises(ValueError, match=r"no training example among 2 users: none has two liked items"):
        fine_tune(tiny.scorer(), tiny.tokens(), shop, users, plan(), lambda: 0.0, lambda _: None)


def test_a_loss_that_is_not_finite_stops_training(shop: Catalogue) -> None:
    scorer = tiny.scorer()
    torch.nn.init.constant_(scorer.head.bias, math.nan)
    with pytest.raises(FloatingPointError, match=r"training loss is nan at step 1"):
        fine_tune(scorer, tiny.tokens(), shop, likers(6, seed=1), plan(), lambda: 0.0, lambda _: None)


def test_listwise_is_each_positive_against_the_negatives_of_its_own_list() -> None:
    rows = [([1.5, -0.5], [0.2, 0.9, -1.0]), ([0.3], [2.0, 0.1])]
    logits = torch.full((2, 5), -torch.inf)
    is_positive = torch.zeros(2, 5, dtype=torch.bool)
    expected = []
    for row, (liked, others) in enumerate(rows):
        logits[row, : len(liked + others)] = torch.tensor(liked + others)
        is_positive[row, : len(liked)] = True
        expected += [-np.log(np.exp(x) / (np.exp(x) + np.exp(others).sum())) for x in liked]
    assert float(listwise(logits, is_positive)) == pytest.approx(np.mean(expected), abs=1e-6)


def test_a_list_without_negatives_costs_nothing_and_has_finite_gradients() -> None:
    flat = torch.tensor([1.0, 2.0, 1.0, 0.5, 3.0], requires_grad=True)
    places = (torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0, 1, 0, 1, 2]))
    logits = flat.new_full((2, 3), -torch.inf).index_put(places, flat)
    listwise(logits, torch.tensor([[True, True, False], [True, False, False]])).backward()
    assert flat.grad is not None
    assert torch.isfinite(flat.grad).all()
    assert flat.grad[:2].tolist() == [0, 0]


def test_in_batch_is_a_softmax_over_unknown_items_with_the_logq_correction() -> None:
    rng = np.random.default_rng(0)
    users, items = rng.normal(size=(2, 5, 4))
    users /= np.linalg.norm(users, axis=1, keepdims=True)
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    log_share = np.log(rng.dirichlet(np.ones(5)))
    known = rng.random((5, 5)) < 0.3
    known[1] = True  # knows all: only the own item is left, at no cost
    np.fill_diagonal(known, True)
    expected = []
    for row in range(5):
        logit = users[row] @ items.T / 0.05 - log_share
        others = [column for column in range(5) if column != row and not known[row, column]]
        expected.append(-logit[row] + np.log(np.exp(logit[[row, *others]]).sum()))
    tensors = (torch.tensor(users), torch.tensor(items), torch.tensor(log_share), torch.tensor(known))
    assert float(in_batch(*tensors)) == pytest.approx(np.mean(expected), abs=1e-9)


def test_examples_cut_a_users_likes_into_history_and_what_came_next() -> None:
    user = tiny.user(items=[4, 8, 1, 7, 3, 9])
    found = cut_examples([user, tiny.user(items=[5])], 2, 99, np.random.default_rng(0))
    cuts = sorted(((e.history.tolist(), e.positives.tolist()) for e in found), key=lambda cut: len(cut[0]))
    assert cuts == [([4], [8, 1]), ([4, 8, 1], [7, 3]), ([4, 8, 1, 7, 3], [9])]


def test_no_more_examples_than_asked_for_and_the_same_for_the_same_seed() -> None:
    users = likers(20, seed=1)
    one, two = (cut_examples(users, 2, 7, np.random.default_rng(3)) for _ in range(2))
    assert len(one) == 7
    assert [e.positives.tolist() for e in one] == [e.positives.tolist() for e in two]


@settings(max_examples=30, deadline=None)
@given(seen=st.lists(st.integers(0, 26), min_size=2, max_size=27, unique=True), seed=st.integers(0, 99))
def test_negatives_are_distinct_and_never_seen(shop: Catalogue, seen: list[int], seed: int) -> None:
    items = np.array(seen, np.int32)
    example = Example(tiny.user(items=seen), items[:1], items[1:])
    drawn = NegativeSampler(shop, np.random.default_rng(seed)).draw(example, 6).tolist()
    assert len(set(drawn)) == len(drawn) <= 6
    assert len(drawn) == 6 or len(seen) > 9
    assert not set(drawn) & set(seen)


def test_half_of_the_negatives_are_covisited_with_the_history(shop: Catalogue) -> None:
    sampler = NegativeSampler(shop, np.random.default_rng(0))
    items = np.array([4, 8, 12, 16, 20], np.int32)
    example = Example(tiny.user(items=items.tolist()), items, items[:1])
    near = {item + step for item in items.tolist() for step in (-1, 1)}
    assert set(sampler.draw(example, 8)[:4].tolist()) < near


def test_popular_items_are_drawn_more_often_as_negatives(tmp_path: Path) -> None:
    taken = [1] * 10 + [100] * 10
    shop = tiny.catalogue(tmp_path / "catalogue", ["red tea"] * 20, taken=taken)
    sampler, items = NegativeSampler(shop, np.random.default_rng(0)), np.array([0, 10], np.int32)
    example = Example(tiny.user(items=[0, 10]), items[:1], items[1:])
    drawn = np.concatenate([sampler.draw(example, 4) for _ in range(300)])
    share = (drawn > 10).mean()
    assert 0.9 < share < 1


def test_where_one_item_takes_all_events_there_are_still_enough_negatives(tmp_path: Path) -> None:
    shop = tiny.catalogue(tmp_path / "catalogue", ["red tea"] * 20, taken=[10**6] + [0] * 19)
    items = np.array([0, 5], np.int32)
    example = Example(tiny.user(items=[0, 5]), items[:1], items[1:])
    assert len(NegativeSampler(shop, np.random.default_rng(0)).draw(example, 12)) == 12


def test_the_rate_falls_to_nothing_by_the_last_step_or_the_last_minute() -> None:
    assert _share_of_rate(_done(0.1, 0.05)) == 1
    assert _share_of_rate(_done(0.55, 0.555)) == pytest.approx(0.5)  # the clock is not ahead by enough
    assert _share_of_rate(_done(0.1, 0.55)) == pytest.approx(0.5)
    assert 0 < _share_of_rate(_done(0.2, 1.3)) < 0.05
    assert 0 < _share_of_rate(_done(0.0, 0.0)) < 0.05
