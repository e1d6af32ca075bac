"""Layers and heads taken out: what is left computes what it did, and what matters stays."""

from collections.abc import Iterable

import numpy as np
import pytest
import torch

from llmrec.nn.catalogue import Catalogue
from llmrec.nn.engine import Engine
from llmrec.nn.gpu_engine import GpuEngine
from llmrec.nn.linear import Precision
from llmrec.nn.prefix import PrefixScorer
from llmrec.nn.pruning import Lists, choose_heads, choose_layers, keep_heads, keep_layers
from llmrec.nn.ragged import Ragged
from llmrec.nn.scorer import PairScorer, Scorer
from llmrec.nn.scorers import make_scorer
from tests import tiny
from tests.nn.planted_shop import cuts, likers, plan, quality, tune

NAMES = ["prefix", "joint", "dot", "bilinear", "attention", "content"]


@torch.inference_mode()
def read(scorer: PairScorer) -> torch.Tensor:
    """Logits of all pairs of two users and three items, then their vectors, end to end."""
    rng = np.random.default_rng(0)
    users, shown = (
        Ragged.of([rng.integers(4, 20, size).astype(np.int32) for size in sizes]) for sizes in ([17, 4], [5, 9, 2])
    )
    people, items = scorer.encode_users(users), scorer.encode_items(shown)
    logits = scorer.pair_outputs(people, items, torch.arange(2).repeat_interleave(3), torch.arange(3).repeat(2))[:, 0]
    return torch.cat([logits, people.vectors.flatten(), scorer.item_vectors(items).flatten()])


@torch.no_grad()
def plain_norms(scorer: Scorer, layers: Iterable[int]) -> None:
    for layer in layers:
        for norm in (scorer.backbone.stack[layer].attention_norm, scorer.backbone.stack[layer].output_norm):
            norm.weight.fill_(1)
            norm.bias.zero_()


@torch.no_grad()
def silence_layer(scorer: Scorer, layer: int) -> None:
    """Let a layer of plain norms give back what it is given, if that is normed: its sublayers add nothing."""
    block = scorer.backbone.stack[layer]
    for part in (block.output, block.down):
        part.weight.zero_()
        part.bias.zero_()


@torch.no_grad()
def silence_head(scorer: Scorer, layer: int, head: int) -> None:
    scorer.backbone.stack[layer].output.weight.unflatten(1, (scorer.backbone.shape.heads, -1))[:, head] = 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_layer_that_does_nothing_may_go_without_a_change(name: str, layer: int) -> None:
    scorer = make_scorer(name, tiny.backbone(), cached_layers=1, seed=0).eval()
    plain_norms(scorer, range(3))
    with torch.no_grad():
        scorer.backbone.embeddings.norm.bias.zero_()
    silence_layer(scorer, layer)
    kept = [one for one in range(3) if one != layer]
    torch.testing.assert_close(read(keep_layers(scorer, kept)), read(scorer), atol=1e-5, rtol=1e-5)
    others = keep_layers(scorer, [one for one in range(3) if one != (layer + 1) % 3])
    assert not torch.allclose(read(others), read(scorer), atol=1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_heads_that_say_nothing_may_go_without_a_change(name: str) -> None:
    scorer = make_scorer(name, tiny.backbone(), cached_layers=1, seed=0).eval()
    silent = [(0, 3), (0, 1), (1, 2), (1, 0), (2, 1), (2, 2)]
    for layer, head in silent:
        silence_head(scorer, layer, head)
    smaller = keep_heads(scorer, [[0, 2], [1, 3], [0, 3]])
    torch.testing.assert_close(read(smaller), read(scorer), atol=1e-5, rtol=1e-5)
    assert smaller.backbone.stack[1].query.weight.shape == (16, 32)
    assert not torch.allclose(read(keep_heads(scorer, [[0, 1], [1, 3], [0, 3]])), read(scorer), atol=1e-2)


@pytest.mark.parametrize("kind", [Engine, GpuEngine])
@pytest.mark.parametrize("cached", [0, 1, 2])
def test_the_engines_score_what_is_left_as_the_scorer_does(kind: type[Engine | GpuEngine], cached: int) -> None:
    whole = PrefixScorer(tiny.backbone(), cached_layers=cached).eval()
    smaller = keep_heads(whole, [[0], [2], [1]])
    assert isinstance(smaller, PrefixScorer)
    torch.testing.assert_close(read(kind(smaller, Precision.FLOAT32)), read(smaller), atol=1e-5, rtol=1e-5)


def test_layers_that_saw_no_user_see_none_when_others_have_gone() -> None:
    scorer = PrefixScorer(tiny.backbone(layers=4), cached_layers=2).eval()
    assert [keep_layers(scorer, kept).cached_layers for kept in ([0, 3], [2, 3], [0, 1, 2])] == [1, 0, 2]


@pytest.fixture(scope="module")
def learned(shop: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> PrefixScorer:
    """Tells red from blue, by two layers."""
    scorer = PrefixScorer(tiny.backbone(layers=2), cached_layers=1)
    training, folder = plan(max_epochs=3), tmp_path_factory.mktemp("learned")
    tune(scorer, shop, cuts(likers(60, seed=1)), training, folder, lambda one: quality(one, shop))
    return scorer.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def lists(shop: Catalogue) -> Lists:
    users = likers(12, seed=7, liked=5)
    next_ones = [set(range(9 * (n % 3), 9 * (n % 3) + 9)) - set(user.seen.tolist()) for n, user in enumerate(users)]
    return Lists.of(users, next_ones, tiny.tokens(), shop, seed=1)


def test_of_layers_those_that_learned_stay(learned: PrefixScorer, shop: Catalogue, lists: Lists) -> None:
    """Two that do next to nothing are put among them."""
    padded = PrefixScorer(tiny.backbone(layers=4), cached_layers=2).eval()
    state = padded.state_dict() | {name: of for name, of in learned.state_dict().items() if ".blocks." not in name}
    for new, old in ((1, 0), (3, 1)):
        state |= {f"backbone.blocks.{new}.{name}": of for name, of in learned.backbone.stack[old].state_dict().items()}
    padded.load_state_dict(state)
    plain_norms(padded, [0, 2])
    silence_layer(padded, 0)
    silence_layer(padded, 2)
    assert choose_layers(padded, 2, lists) == [1, 3]
    assert quality(keep_layers(padded, [1, 3]), shop) > 0.95
    assert quality(keep_layers(padded, [0, 3]), shop) < 0.8


def test_of_heads_those_that_matter_stay(learned: PrefixScorer, shop: Catalogue, lists: Lists) -> None:
    kept = choose_heads(learned, 2, lists)
    others = [[head for head in range(4) if head not in of_layer] for of_layer in kept]
    assert quality(keep_heads(learned, kept), shop) > 0.95
    assert quality(keep_heads(learned, others), shop) < 0.8


def test_a_layer_that_sees_the_user_always_stays(lists: Lists) -> None:
    scorer = PrefixScorer(tiny.backbone(layers=3), cached_layers=2).eval()
    plain_norms(scorer, [2])
    silence_layer(scorer, 2)
    kept = choose_layers(scorer, 1, lists)
    assert kept == [2]
    assert keep_layers(scorer, kept).cached_layers == 0


def test_lists_never_hold_what_the_user_took_as_negatives(lists: Lists) -> None:
    for example in lists.examples:
        assert len(example.positives) == 4
        assert not set(example.negatives.tolist()) & set(example.seen.tolist())
        assert set(example.positives.tolist()) < set(example.seen.tolist())
