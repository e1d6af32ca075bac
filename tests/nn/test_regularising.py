"""What keeps a training from learning its examples by heart, and how its steps are taken."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmrec.nn import device
from llmrec.nn.batches import Collator
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.encoding import encode_pieces
from llmrec.nn.examples import Example
from llmrec.nn.losses import disagreement
from llmrec.nn.negatives import Negatives
from llmrec.nn.objectives import Objectives
from llmrec.nn.plan import Outcome, Tuning
from llmrec.nn.scorer import Scorer
from llmrec.nn.scorers import make_scorer
from llmrec.nn.training import _Trainer
from tests import tiny
from tests.nn.planted_shop import cuts, likers, plan, quality, tune


def learn(
    shop: Catalogue, folder: Path, judge: Callable[[Scorer], float] | None = None, count: int = 60, **changes: Any
) -> tuple[Scorer, Outcome]:
    scorer = make_scorer("prefix", tiny.backbone(layers=2), cached_layers=1, seed=0)
    examples = cuts(likers(count, seed=1, liked=5))  # two liked items in each
    return scorer, tune(scorer, shop, examples, plan(**changes), folder, judge or (lambda one: quality(one, shop)))


def vectors_after(shop: Catalogue, folder: Path, **changes: Any) -> np.ndarray:
    """Vectors of all items after the last step, whatever they are worth.

    Not the weights: some have no effect (biases of keys), and AdamW moves them by what sums are rounded by.
    """
    figures = iter(range(99))
    scorer, _ = learn(shop, folder, lambda _: next(figures), count=24, **{"max_epochs": 1} | changes)
    return encode_pieces(scorer, tiny.tokens(), [shop.pieces(item) for item in range(len(shop))])


@pytest.mark.parametrize(
    "changes",
    [{"dropout": 0.1}, {"dropout": 0.1, "r_drop": 1.0}, {"adversarial": 0.05}, {"label_smoothing": 0.1},
     {"accumulated_batches": 2, "batch_examples": 8}, {"gradient_checkpointing": True}, {"weight_decay": 0.1}],
    ids=str,
)  # fmt: skip
def test_the_planted_pattern_is_learned_all_the_same(shop: Catalogue, tmp_path: Path, changes: dict[str, Any]) -> None:
    objectives = {"two-class": 1.0} if "label_smoothing" in changes else {"listwise": 1.0}
    _, outcome = learn(shop, tmp_path, objectives=objectives, learning_rate=3e-3, max_epochs=6, **changes)
    assert outcome.ndcg > 0.8 > 0.6 > outcome.ndcg_before


def test_batches_whose_gradients_are_added_up_take_the_steps_of_larger_ones(
    shop: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "has_bfloat16", lambda _: False)  # whose sums differ by their order
    alone = {"objectives": {"listwise": 1.0}}  # the in-batch loss depends on what shares a batch
    whole = vectors_after(shop, tmp_path / "whole", batch_examples=8, **alone)
    parts = vectors_after(shop, tmp_path / "parts", batch_examples=4, accumulated_batches=2, **alone)
    other = vectors_after(shop, tmp_path / "other", batch_examples=4, **alone)
    assert np.abs(whole - parts).max() < 0.02 * np.abs(whole - other).max()


def test_computing_again_for_the_gradients_gives_the_same_weights(shop: Catalogue, tmp_path: Path) -> None:
    kept, again = (
        vectors_after(shop, tmp_path / f"{recompute}", gradient_checkpointing=recompute) for recompute in (False, True)
    )
    np.testing.assert_allclose(kept, again, atol=1e-5)


def test_gradients_are_cut_to_the_length_that_is_set(shop: Catalogue, tmp_path: Path) -> None:
    lengths: list[float] = []

    class Measured(torch.optim.AdamW):
        def step(self, *_: Any, **__: Any) -> None:
            every = [weights.grad for group in self.param_groups for weights in group["params"]]
            lengths.append(float(torch.cat([one.flatten() for one in every if one is not None]).norm()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "AdamW", Measured)
        learn(shop, tmp_path, lambda _: 0.0, count=24, max_epochs=1, max_gradient=0.25)
    assert max(lengths) == pytest.approx(0.25, rel=1e-3)


def batch(shop: Catalogue) -> dict[str, torch.Tensor]:
    draw, rng = Negatives(shop, 4, {"random": 1.0}), np.random.default_rng(0)
    found = [Example(one.text, one.history, one.positives, one.seen, negatives=draw(one, rng)) for one in
             cuts(likers(8, seed=1))]  # fmt: skip
    return Collator(tiny.tokens(), shop)(found)


def test_outputs_are_left_out_in_training_alone_and_two_readings_are_drawn_together(shop: Catalogue) -> None:
    scorer = make_scorer("prefix", tiny.backbone(layers=2), cached_layers=1, seed=0)
    inputs, once = batch(shop), plan(objectives={"listwise": 1.0})
    twice = plan(objectives={"listwise": 1.0}, r_drop=5.0)

    def losses(training: Any, dropout: float) -> list[float]:
        for block in scorer.backbone.stack:
            block.dropout = dropout
        torch.manual_seed(0)
        return [Objectives(scorer, training, None)(inputs).item() for _ in range(2)]

    scorer.train()
    assert len(set(losses(once, 0.0))) == 1
    first, second = losses(once, 0.3)
    assert first != second
    assert losses(twice, 0.0)[0] == pytest.approx(losses(once, 0.0)[0])  # two equal readings agree
    assert losses(twice, 0.3)[0] > (first + second) / 2 + 0.01
    scorer.eval()
    assert losses(once, 0.3) == losses(once, 0.0)


def test_disagreement_is_the_divergence_of_chances_both_ways() -> None:
    one, other = torch.tensor([0.3, -1.0]), torch.tensor([1.1, -1.0])
    chances = [torch.stack([logits.sigmoid(), 1 - logits.sigmoid()], dim=1) for logits in (one, other)]
    ways = [(p * (p / q).log()).sum(1) for p, q in (chances, chances[::-1])]
    torch.testing.assert_close(disagreement(one, other), (ways[0] + ways[1]) / 2)


def test_words_are_moved_along_their_gradient_for_a_second_reading_and_come_back(
    shop: Catalogue, tmp_path: Path
) -> None:
    read: list[torch.Tensor] = []
    losses: list[float] = []
    reading = _Trainer.compute_loss

    def compute_loss(self: _Trainer, model: Any, inputs: Any, *others: Any, **named: Any) -> torch.Tensor:
        read.append(self._tuned.scorer.backbone.embeddings.words.weight.detach().clone())
        losses.append(float((loss := reading(self, model, inputs)).detach()))
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Trainer, "compute_loss", compute_loss)
        learn(shop, tmp_path, lambda _: 0.0, count=24, max_epochs=1, adversarial=0.05, learning_rate=1e-9)
    moves = [float((moved - clean).norm()) for clean, moved in zip(read[::2], read[1::2], strict=True)]
    assert moves == pytest.approx([0.05] * len(moves), rel=1e-3)
    assert all(hurt > clean for clean, hurt in zip(losses[::2], losses[1::2], strict=True))
    assert float((read[-2] - read[0]).abs().max()) < 1e-6


def test_layers_that_do_not_learn_leave_nothing_out(shop: Catalogue, tmp_path: Path) -> None:
    scorer, _ = learn(
        shop, tmp_path, lambda _: 0.0, count=6, max_epochs=1, dropout=0.3,
        tuning=Tuning("full", 1, 1, frozen_embeddings=False),
    )  # fmt: skip
    assert [block.dropout for block in scorer.backbone.stack] == [0.0, 0.3]
