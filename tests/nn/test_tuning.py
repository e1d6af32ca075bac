"""Every method of tuning on the planted shop: it teaches the pattern, by the weights it may change."""

from pathlib import Path

import numpy as np
import pytest
import torch

from llmrec.nn.artifact import load_encoder, save_encoder
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.inference import for_inference
from llmrec.nn.linear import Precision
from llmrec.nn.objectives import Objectives
from llmrec.nn.plan import Tuning
from llmrec.nn.ragged import Ragged
from llmrec.nn.scorer import Scorer
from llmrec.nn.scorers import make_scorer
from llmrec.nn.training import _optimiser
from llmrec.nn.tuning import Tuned
from tests import tiny
from tests.nn.planted_shop import cuts, likers, plan, quality, shuffled, tune

METHODS = ("full", "head", "lora", "adalora", "adapters", "prefix")
ADDS = ("lora", "adalora", "adapters", "prefix")
RATES = {"full": 1e-2, "head": 3e-2, "lora": 1e-2, "adalora": 3e-2, "adapters": 1e-2, "prefix": 3e-2}


def tuning(method: str, rank: int = 4, frozen_layers: int = 0, frozen_embeddings: bool = False) -> Tuning:
    return Tuning(method, rank, frozen_layers, frozen_embeddings)


def logits(scorer: Scorer) -> torch.Tensor:
    tokens = tiny.tokens()
    users = [tokens.user_sequence(np.zeros(0, np.int32), tokens.pieces(["red tea", "old cat"], 9))] * 2
    items = [tokens.item_sequence(pieces) for pieces in tokens.item_pieces(["red cup", "blue song"])]
    with torch.inference_mode():
        states = scorer.encode_users(Ragged.of(users)), scorer.encode_items(Ragged.of(items))
        return scorer.pair_outputs(*states, torch.tensor([0, 1]), torch.tensor([1, 0]))[:, 0]


@pytest.mark.parametrize("method", METHODS)
def test_each_method_teaches_the_planted_pattern_and_only_by_what_it_may_change(
    shop: Catalogue, tmp_path: Path, method: str
) -> None:
    scorer = make_scorer("prefix", tiny.backbone(layers=2), cached_layers=1, seed=0)
    before = {name: weights.clone() for name, weights in scorer.state_dict().items()}
    training = plan(tuning=tuning(method), learning_rate=RATES[method], max_epochs=6)
    outcome = tune(scorer, shop, cuts(likers(60, seed=1)), training, tmp_path, lambda one: quality(one, shop))
    after = scorer.state_dict()
    changed = {name for name, weights in before.items() if not torch.equal(weights, after[name])}
    of_encoder = {name for name in changed if not name.startswith("head")}
    assert {name for name in changed if name.startswith("head")}
    merged = {f"backbone.blocks.{block}.{part}.weight" for block in (0, 1) for part in ("query", "value")}
    expected = {"lora": merged, "adalora": merged, "head": set(), "adapters": set(), "prefix": set()}
    assert of_encoder == expected.get(method, of_encoder)
    assert of_encoder or method not in ("full", "lora", "adalora")
    assert (set(after) == set(before)) == (method not in ("adapters", "prefix"))
    assert outcome.ndcg > outcome.ndcg_before + 0.15


@pytest.mark.parametrize("method", ADDS)
def test_with_shuffled_likes_no_method_learns_anything(shop: Catalogue, tmp_path: Path, method: str) -> None:
    scorer = make_scorer("prefix", tiny.backbone(layers=2), cached_layers=1, seed=0)
    training = plan(tuning=tuning(method), learning_rate=RATES[method], max_epochs=3)
    examples = cuts(shuffled(likers(60, seed=1)))
    assert tune(scorer, shop, examples, training, tmp_path, lambda one: quality(one, shop)).ndcg < 0.7


def disturbed(method: str, name: str, family: str) -> Tuned:
    """A scorer in training, with weights off their start."""
    tuned = Tuned(make_scorer(name, tiny.backbone(family), cached_layers=1, seed=0), tuning(method), steps=20)
    torch.manual_seed(1)
    with torch.no_grad():
        for weights in tuned.scorer.parameters():
            if weights.requires_grad:
                weights += 0.2 * torch.randn(weights.shape)
    tuned.scorer.eval()
    return tuned


@pytest.mark.parametrize(
    ("name", "family"), [("prefix", "bert"), ("joint", "bert"), ("attention", "bert"), ("prefix", "modernbert")]
)
@pytest.mark.parametrize("method", ADDS)
def test_what_is_judged_and_what_is_saved_score_like_what_was_trained(
    tmp_path: Path, method: str, name: str, family: str
) -> None:
    tuned = disturbed(method, name, family)
    untrained = logits(make_scorer(name, tiny.backbone(family), cached_layers=1, seed=0))
    trained = logits(tuned.scorer)
    assert (trained - untrained).abs().max() > 0.01
    judged = for_inference(tuned.standalone().eval(), Precision.FLOAT32)  # which packs the weights it finds
    torch.testing.assert_close(logits(judged), trained, atol=1e-4, rtol=1e-4)  # type: ignore[arg-type]
    torch.testing.assert_close(logits(tuned.scorer), trained)  # judging leaves it as it was
    tuned.finish()
    save_encoder(tmp_path / "model", tuned.scorer, tiny.tokens())
    loaded, _ = load_encoder(tmp_path / "model")
    assert isinstance(loaded, Scorer)
    torch.testing.assert_close(logits(loaded), trained, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        logits(for_inference(loaded, Precision.FLOAT32)),
        trained,
        atol=1e-4,
        rtol=1e-4,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("method", ["lora", "adapters", "prefix", "adalora"])
def test_a_killed_training_goes_on_with_what_was_added(shop: Catalogue, tmp_path: Path, method: str) -> None:
    training = plan(tuning=tuning(method), validations=4, max_epochs=1)
    examples = cuts(likers(24, seed=1))

    def trained(folder: Path, last: int) -> Scorer:
        scorer, looks = make_scorer("prefix", tiny.backbone(layers=2), cached_layers=1, seed=0), []

        def judge(one: Scorer) -> float:
            looks.append(quality(one, shop))
            if len(looks) == last:
                raise KeyboardInterrupt
            return looks[-1]

        tune(scorer, shop, examples, training, folder, judge)
        return scorer

    whole = trained(tmp_path / "whole", last=99)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "killed", last=6)  # at the last of five
    for _ in range(2):  # goes on; then takes over what has come to its end
        # AdaLoRA estimates importance anew, so it comes to another result.
        near = 99 if method == "adalora" else 1e-5
        torch.testing.assert_close(logits(trained(tmp_path / "killed", last=99)), logits(whole), atol=near, rtol=1e-5)


@pytest.mark.parametrize("method", ["adapters", "prefix"])
def test_what_was_added_goes_if_nothing_was_better_with_it(shop: Catalogue, tmp_path: Path, method: str) -> None:
    scorer = make_scorer("prefix", tiny.backbone(layers=2), cached_layers=1, seed=0)
    before = logits(scorer)
    training = plan(tuning=tuning(method), max_epochs=1)
    tune(scorer, shop, cuts(likers(24, seed=1)), training, tmp_path, lambda one: float(one.backbone.shape.is_plain))
    assert scorer.backbone.shape.is_plain
    torch.testing.assert_close(logits(scorer), before)


def test_adalora_has_the_ranks_it_was_given_when_it_ends(shop: Catalogue, tmp_path: Path) -> None:
    scorer = make_scorer("prefix", tiny.backbone(layers=2), cached_layers=1, seed=0)
    products = [part for block in scorer.backbone.stack for part in ("query", "value")]
    before = [weights.weight.clone() for weights in _products(scorer)]
    training = plan(tuning=tuning("adalora", rank=2), learning_rate=3e-2, max_epochs=3)
    figures = iter(range(99))  # the last weights are kept
    tune(scorer, shop, cuts(likers(60, seed=1)), training, tmp_path, lambda _: next(figures))
    changes = [weights.weight.detach() - old for weights, old in zip(_products(scorer), before, strict=True)]
    ranks = [int(torch.linalg.matrix_rank(change, atol=1e-5)) for change in changes]
    assert 0 < sum(ranks) <= 2 * len(products) < 3 * len(products)  # it began with three each
    assert max(ranks) <= 3


def _products(scorer: Scorer) -> list[torch.nn.Linear]:
    return [part for block in scorer.backbone.stack for part in (block.query, block.value)]


def test_low_rank_parts_leave_the_lower_layers_alone_whose_states_can_then_be_kept() -> None:
    lower = Tuned(make_scorer("prefix", tiny.backbone(), cached_layers=1, seed=0), tuning("lora", 4, 1), 20)
    whole = Tuned(make_scorer("prefix", tiny.backbone(), cached_layers=1, seed=0), tuning("lora", 4, 0), 20)
    assert (lower.keeps_item_states, whole.keeps_item_states) == (True, False)
    learning = [name for name, weights in lower.scorer.named_parameters() if weights.requires_grad]
    assert not [name for name in learning if "blocks.0." in name]
    assert [name for name in learning if "blocks.1.query" in name]


@pytest.mark.parametrize(
    ("name", "chosen", "kept"),
    [("prefix", tuning("full"), False), ("prefix", tuning("full", frozen_layers=1), True),
     ("prefix", tuning("full", frozen_embeddings=True), False), ("joint", tuning("full", frozen_embeddings=True), True),
     ("dot", tuning("full", frozen_layers=2), False), ("dot", tuning("head"), True),
     ("prefix", tuning("adapters", frozen_layers=1), False)],
)  # fmt: skip
def test_item_states_are_kept_only_if_no_step_changes_them(name: str, chosen: Tuning, kept: bool) -> None:
    assert Tuned(make_scorer(name, tiny.backbone(), cached_layers=1, seed=0), chosen, 20).keeps_item_states == kept


def test_how_much_learns_is_counted() -> None:
    counted = {}
    for method in METHODS:
        counted[method] = Tuned(
            make_scorer("prefix", tiny.backbone(), cached_layers=1, seed=0), tuning(method), 20
        ).parameters
    total = counted["head"][1]
    assert counted["full"] == (total, total)
    assert counted["head"][0] == 32 + 1
    added = 3 * 2 * (32 * 4 + 4 * 32)  # blocks, products, the two low-rank matrices
    assert counted["lora"] == (33 + added, total + added)
    assert counted["prefix"] == (33 + 3 * 2 * 4 * 32, total + 3 * 2 * 4 * 32)


def test_the_rate_falls_from_layer_to_layer_and_is_ten_times_higher_for_the_head() -> None:
    scorer = make_scorer("prefix", tiny.backbone(), cached_layers=1, seed=0)
    taken = plan(layer_decay=0.5, learning_rate=0.01)
    groups = _optimiser(Objectives(scorer, taken, None), taken).param_groups
    assert [group["lr"] for group in groups] == pytest.approx([0.1, 0.01, 0.005, 0.0025, 0.00125])
    assert groups[1]["params"][0] is next(scorer.backbone.stack[-1].parameters())
    assert groups[-1]["params"][0] is scorer.backbone.embeddings.words.weight
