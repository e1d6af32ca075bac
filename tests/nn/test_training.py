"""Training on a planted pattern: who likes red things goes on to like red things."""

import math
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from llmrec.domain.users import User
from llmrec.errors import OutputError, TrainingError
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.encoding import encode_texts
from llmrec.nn.examples import Shards, cut_examples, write_examples
from llmrec.nn.losses import in_batch, listwise
from llmrec.nn.negatives import Negatives
from llmrec.nn.plan import Outcome, Progress, TrainingPlan, Tuning
from llmrec.nn.prefix import PrefixScorer
from llmrec.nn.scorer import Scorer
from llmrec.nn.scorers import make_scorer
from llmrec.nn.training import Judge, _done, _share_of_rate
from tests import tiny
from tests.nn.planted_shop import cuts, likers, plan, quality, shuffled, tune


def learn(
    shop: Catalogue, users: list[User], training: TrainingPlan, folder: Path
) -> tuple[PrefixScorer, Outcome, list[Progress]]:
    scorer, told = tiny.scorer(layers=2), []
    return scorer, tune(scorer, shop, cuts(users), training, folder, lambda one: quality(one, shop), told.append), told


def judged_by(
    shop: Catalogue, figures: list[float], training: TrainingPlan, folder: Path
) -> tuple[Outcome, list[dict], dict]:
    """Train with a judge that only reads out ``figures``; return the weights it saw each time and those kept."""
    scorer, seen = tiny.scorer(layers=2), []

    def judge(one: Scorer) -> float:
        seen.append({name: weights.clone() for name, weights in one.state_dict().items()})
        return figures[len(seen) - 1]

    outcome = tune(scorer, shop, cuts(likers(24, seed=1)), training, folder, judge)
    return outcome, seen, scorer.state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def trained(shop: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> tuple[PrefixScorer, Outcome, list[Progress]]:
    return learn(shop, likers(60, seed=1), plan(), tmp_path_factory.mktemp("trained"))


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


@pytest.mark.parametrize("name", ["joint", "dot", "bilinear", "attention"])
def test_the_other_scorers_learn_by_the_same_steps(shop: Catalogue, tmp_path: Path, name: str) -> None:
    scorer = make_scorer(name, tiny.backbone(layers=2), cached_layers=1, seed=0)
    outcome = tune(scorer, shop, cuts(likers(60, seed=1)), plan(max_epochs=2), tmp_path, lambda one: quality(one, shop))
    assert outcome.ndcg > 0.8 > 0.7 > outcome.ndcg_before


@pytest.mark.parametrize("name", ["prefix", "joint"])
def test_an_encoder_with_rotary_positions_learns_by_the_same_steps(shop: Catalogue, tmp_path: Path, name: str) -> None:
    scorer = make_scorer(name, tiny.backbone("modernbert", layers=2), cached_layers=1, seed=0)
    outcome = tune(scorer, shop, cuts(likers(60, seed=1)), plan(max_epochs=2), tmp_path, lambda one: quality(one, shop))
    assert outcome.ndcg > 0.8 > 0.7 > outcome.ndcg_before


def test_with_shuffled_likes_nothing_is_learned(shop: Catalogue, tmp_path: Path) -> None:
    _, outcome, _ = learn(shop, shuffled(likers(60, seed=1)), plan(max_epochs=2), tmp_path)
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


def test_the_same_seed_gives_the_same_losses_and_weights(shop: Catalogue, tmp_path: Path) -> None:
    runs = [
        learn(shop, likers(24, seed=1), plan(max_epochs=1, seed=seed), tmp_path / f"{place}")
        for place, seed in enumerate((3, 3, 4))
    ]
    assert runs[0][1] == runs[1][1]
    assert same(runs[0][0].state_dict(), runs[1][0].state_dict())
    assert runs[0][1].losses != runs[2][1].losses


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("validation", [2, 3])
def test_a_training_that_was_killed_goes_on_to_the_same_result(
    shop: Catalogue, tmp_path: Path, validation: int
) -> None:
    training, users = plan(validations=2, max_epochs=2), likers(24, seed=1)
    undisturbed, expected, _ = learn(shop, users, training, tmp_path / "undisturbed")
    killed, looks = tiny.scorer(layers=2), []

    def judge(one: Scorer) -> float:
        looks.append(quality(one, shop))
        if len(looks) == 1 + validation:
            raise Killed
        return looks[-1]

    with pytest.raises(Killed):
        tune(killed, shop, cuts(users), training, tmp_path / "killed", judge)
    resumed, outcome, told = learn(shop, users, training, tmp_path / "killed")
    assert outcome == expected
    assert same(resumed.state_dict(), undisturbed.state_dict())
    assert told[0].step == 2 * (validation - 1)  # the last one that was finished, one every two steps


def read_out(figures: list[float]) -> Judge:
    """A judge that knows its figures beforehand, and is killed after them."""
    left = iter(figures)

    def judge(_: Scorer) -> float:
        for figure in left:
            return figure
        raise Killed

    return judge


def test_a_killed_training_stops_as_early_as_it_would_have(shop: Catalogue, tmp_path: Path) -> None:
    training, examples = plan(validations=2, max_epochs=2, patience=2), cuts(likers(24, seed=1))
    whole = tune(tiny.scorer(layers=2), shop, examples, training, tmp_path / "a", read_out([0.1, 0.5, 0.4, 0.3]))
    with pytest.raises(Killed):
        tune(tiny.scorer(layers=2), shop, examples, training, tmp_path / "b", read_out([0.1, 0.5, 0.4]))
    resumed = tune(tiny.scorer(layers=2), shop, examples, training, tmp_path / "b", read_out([0.1, 0.3]))
    assert resumed == whole
    assert whole.steps == 6


def test_a_training_killed_after_it_had_stopped_is_not_taken_further(
    shop: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training, examples = plan(validations=2, max_epochs=2, patience=2), cuts(likers(24, seed=1))
    figures = [0.1, 0.5, 0.4, 0.3]
    whole, expected = tiny.scorer(layers=2), read_out(figures)
    outcome = tune(whole, shop, examples, training, tmp_path / "a", expected)

    def killed(_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("transformers.Trainer._load_best_model", killed)
        tune(tiny.scorer(layers=2), shop, examples, training, tmp_path / "b", read_out(figures))
    resumed = tiny.scorer(layers=2)
    assert tune(resumed, shop, examples, training, tmp_path / "b", read_out([0.1])) == outcome
    assert same(resumed.state_dict(), whole.state_dict())


def test_what_a_kill_left_half_written_does_not_stop_the_next_run(shop: Catalogue, tmp_path: Path) -> None:
    training, users = plan(validations=2, max_epochs=1), likers(24, seed=1)
    _, expected, _ = learn(shop, users, training, tmp_path / "whole")
    with pytest.raises(Killed):
        tune(tiny.scorer(layers=2), shop, cuts(users), training, tmp_path / "cut", read_out([0.1, 0.2]))
    left = tmp_path / "cut" / "checkpoints"
    (left / "checkpoint-99").mkdir()
    (left / "checkpoint-99" / "trainer_state.json").write_text("{")
    (left / "finished.new").write_bytes(b"half")
    _, outcome, told = learn(shop, users, training, tmp_path / "cut")
    assert told[0].step == 2
    assert outcome.steps == expected.steps


def test_a_training_that_had_come_to_its_end_is_taken_over_as_it_is(shop: Catalogue, tmp_path: Path) -> None:
    once, expected, _ = learn(shop, likers(24, seed=1), plan(max_epochs=1), tmp_path)
    again, told = tiny.scorer(layers=2), []
    outcome = tune(again, shop, cuts(likers(24, seed=1)), plan(max_epochs=1), tmp_path, read_out([]), told.append)
    assert outcome == expected
    assert same(again.state_dict(), once.state_dict())
    assert (told[-1].step, told[-1].ndcg) == (expected.steps, expected.ndcg)


def test_early_stopping_keeps_the_weights_of_the_best_validation(shop: Catalogue, tmp_path: Path) -> None:
    figures = [0.1, 0.2, 0.5, 0.4, 0.3, 0.9]
    outcome, seen, kept = judged_by(shop, figures, plan(validations=9, patience=2), tmp_path)
    assert (outcome.steps, outcome.ndcg, outcome.ndcg_before) == (4, 0.5, 0.1)
    assert len(outcome.losses) == 4
    assert same(kept, seen[2])
    assert not same(kept, seen[3])


def test_weights_that_never_got_better_are_left_as_they_were(shop: Catalogue, tmp_path: Path) -> None:
    outcome, seen, kept = judged_by(shop, [0.5, 0.5, 0.1], plan(validations=9, patience=2), tmp_path)
    assert (outcome.steps, outcome.ndcg) == (2, 0.5)
    assert same(kept, seen[0])


def test_training_stops_at_a_validation_when_its_time_is_up(shop: Catalogue, tmp_path: Path) -> None:
    outcome, seen, kept = judged_by(shop, [0.1, 0.2], plan(max_minutes=1e-9), tmp_path)
    assert (outcome.steps, outcome.ndcg) == (1, 0.2)
    assert same(kept, seen[1])


def test_frozen_layers_keep_their_weights_and_the_others_move(shop: Catalogue, tmp_path: Path) -> None:
    _, seen, kept = judged_by(
        shop, [0.1, 0.2], plan(tuning=Tuning("full", 1, 1, frozen_embeddings=False), max_minutes=1e-9), tmp_path
    )
    moved = {name for name in kept if not torch.equal(kept[name], seen[0][name])}
    assert not [name for name in moved if "embeddings." in name or "blocks.0." in name]
    for part in ("head.weight", "blocks.1.query.weight", "blocks.1.output_norm.bias"):
        assert [name for name in moved if name.endswith(part)]


def test_users_with_one_liked_item_teach_nothing(shop: Catalogue, tmp_path: Path) -> None:
    users = [tiny.user(items=[3]), tiny.user(items=[])]
    with pytest.raises(ValueError, match=r"examples: holds no training example"):
        tune(tiny.scorer(), shop, cuts(users), plan(), tmp_path, lambda _: 0.0)


def test_a_loss_that_is_not_finite_stops_training(shop: Catalogue, tmp_path: Path) -> None:
    scorer = tiny.scorer()
    torch.nn.init.constant_(scorer.head.bias, math.nan)
    with pytest.raises(TrainingError, match=r"the loss is nan at step 1, expected a number: try a lower"):
        tune(scorer, shop, cuts(likers(6, seed=1)), plan(), tmp_path, lambda _: 0.0)


def test_a_disk_that_fills_during_a_checkpoint_is_said_and_training_goes_on_when_there_is_room(
    shop: Catalogue, tmp_path: Path
) -> None:
    examples, training, none = cuts(likers(24, seed=1)), plan(max_epochs=2), resource.getrlimit(resource.RLIMIT_FSIZE)
    whole = tiny.scorer(layers=2)
    tune(whole, shop, examples, training, tmp_path / "whole", lambda one: quality(one, shop))
    scorer, looks = tiny.scorer(layers=2), []

    def judge(one: Scorer) -> float:
        looks.append(one)
        if len(looks) == 3:  # before, and after the first epoch: the second checkpoint finds no room
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, none[1]))
        return quality(one, shop)

    try:
        with pytest.raises(OutputError, match=r"checkpoints cannot be written .*expected room"):
            tune(scorer, shop, examples, training, tmp_path / "full", judge)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, none)
    shutil.rmtree(tmp_path / "full" / "examples")
    scorer = tiny.scorer(layers=2)
    tune(scorer, shop, examples, training, tmp_path / "full", lambda one: quality(one, shop))
    assert same(scorer.state_dict(), whole.state_dict())


def test_listwise_is_each_positive_against_the_negatives_of_its_own_list() -> None:
    rows = [([1.5, -0.5], [0.2, 0.9, -1.0]), ([0.3], [2.0, 0.1])]
    logits = torch.full((2, 5), -torch.inf)
    is_positive = torch.zeros(2, 5, dtype=torch.bool)
    expected = []
    for row, (liked, others) in enumerate(rows):
        logits[row, : len(liked + others)] = torch.tensor(liked + others)
        is_positive[row, : len(liked)] = True
        expected += [-np.log(np.exp(x) / (np.exp(x) + np.exp(others).sum())) for x in liked]
    assert listwise(logits, is_positive).tolist() == pytest.approx(expected, abs=1e-6)


def test_a_list_without_negatives_costs_nothing_and_has_finite_gradients() -> None:
    flat = torch.tensor([1.0, 2.0, 1.0, 0.5, 3.0], requires_grad=True)
    places = (torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0, 1, 0, 1, 2]))
    logits = flat.new_full((2, 3), -torch.inf).index_put(places, flat)
    listwise(logits, torch.tensor([[True, True, False], [True, False, False]])).sum().backward()
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
    tensors = [torch.tensor(one) for one in (users, items, log_share, known)]
    assert in_batch(*tensors, torch.arange(5)).tolist() == pytest.approx(expected, abs=1e-9)
    of_two = [tensors[0][3:], *tensors[1:3], tensors[3][3:]]  # of another process are the other three
    assert in_batch(*of_two, torch.tensor([3, 4])).tolist() == pytest.approx(expected[3:], abs=1e-9)


def test_examples_cut_a_users_likes_into_history_and_what_came_next() -> None:
    user = tiny.user(items=[4, 8, 1, 7, 3, 9])
    found = cut_examples([user, tiny.user(items=[5])], positives=2, history=4)
    assert [(e.history.tolist(), e.positives.tolist()) for e in found] == [
        ([4], [8, 1]),
        ([4, 8, 1], [7, 3]),
        ([8, 1, 7, 3], [9]),
    ]


def read(shop: Catalogue, folder: Path, epoch: int, seed: int = 1) -> list[tuple[list[int], ...]]:
    draw = Negatives(shop, 4, {"covisitation": 1, "popularity": 1})
    shards = Shards(folder, lambda _: draw, seed=seed)
    shards.set_epoch(epoch)
    return [(e.history.tolist(), e.positives.tolist(), e.seen.tolist(), e.negatives.tolist()) for e in shards]


def test_each_epoch_reads_all_examples_in_an_order_of_its_own_with_negatives_drawn_anew(
    shop: Catalogue, tmp_path: Path
) -> None:
    cut = cuts(likers(20, seed=1))
    write_examples(tmp_path / "shard=0", cut[:30])
    write_examples(tmp_path / "shard=1", cut[30:])
    first, second = (read(shop, tmp_path, epoch) for epoch in (0, 1))
    expected = sorted((e.history.tolist(), e.positives.tolist(), e.seen.tolist()) for e in cut)
    assert sorted(row[:3] for row in first) == sorted(row[:3] for row in second) == expected
    assert [row[:3] for row in first] != [row[:3] for row in second]
    assert sorted(first) != sorted(second)
    assert read(shop, tmp_path, 1) == second
    assert read(shop, tmp_path, 1, seed=2) != second
    assert len(Shards(tmp_path, lambda _: Negatives(shop, 4, {"random": 1}), seed=1)) == len(cut)


def test_the_rate_falls_to_nothing_by_the_last_step_or_the_last_minute() -> None:
    assert _share_of_rate(_done(0.1, 0.05), 0.1) == 1
    assert _share_of_rate(_done(0.55, 0.555), 0.1) == pytest.approx(0.5)  # the clock is not ahead by enough
    assert _share_of_rate(_done(0.1, 0.55), 0.1) == pytest.approx(0.5)
    assert 0 < _share_of_rate(_done(0.2, 1.3), 0.1) < 0.05
    assert 0 < _share_of_rate(_done(0.0, 0.0), 0.1) < 0.05


def test_without_warm_up_the_rate_begins_at_its_peak() -> None:
    assert _share_of_rate(0.0, 0.0) == 1
    assert _share_of_rate(0.5, 0.0) == 0.5
