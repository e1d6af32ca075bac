"""The inference engine against the scorer it stands for."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.nn.engine import Engine
from llmrec.nn.gpu_engine import GpuEngine
from llmrec.nn.inference import for_inference
from llmrec.nn.linear import Precision
from llmrec.nn.pairs import score_pairs
from llmrec.nn.prefix import PrefixScorer
from llmrec.nn.ragged import Ragged
from llmrec.nn.varlen import is_supported
from tests import tiny

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
lengths = st.lists(st.integers(1, 9), min_size=1, max_size=6)


def texts(sizes: list[int], seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(2, 20, size).astype(np.int32) for size in sizes]


def sharpened(scorer: PrefixScorer, factor: float) -> PrefixScorer:
    """The same scorer with attention logits ``factor`` times as large."""
    with torch.no_grad():
        for block in scorer.backbone.stack:
            block.query.weight.mul_(factor)
            block.query.bias.mul_(factor)
    return scorer


@pytest.mark.parametrize("kind", [Engine, GpuEngine])
@settings(max_examples=40, deadline=None)
@given(users=lengths, items=lengths, cached=st.integers(0, 2), data=st.data())
@torch.inference_mode()
def test_the_engine_scores_like_the_scorer(
    kind: type[Engine | GpuEngine], users: list[int], items: list[int], cached: int, data: st.DataObject
) -> None:
    scorer = PrefixScorer(tiny.backbone(), cached_layers=cached, outputs=2).eval()
    engine = kind(scorer, Precision.FLOAT32)
    some_pairs = st.lists(st.tuples(st.integers(0, len(users) - 1), st.integers(0, len(items) - 1)), max_size=15)
    pairs = np.array(sorted(data.draw(some_pairs)), dtype=np.int64).reshape(-1, 2)
    user, item = torch.from_numpy(pairs[:, 0].copy()), torch.from_numpy(pairs[:, 1].copy())
    read, shown = Ragged.of(texts(users, seed=1)), Ragged.of(texts(items, seed=2))
    theirs, ours = scorer.encode_items(shown), engine.encode_items(shown)
    width = scorer.width  # the engine keeps more of an item beside its states
    torch.testing.assert_close(ours.states[:, :width], theirs.states, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(engine.item_vectors(ours), scorer.item_vectors(theirs), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        engine.encode_users(read).vectors, scorer.encode_users(read).vectors, atol=1e-5, rtol=1e-5
    )
    if len(pairs):
        expected = scorer.pair_outputs(scorer.encode_users(read), theirs, user, item)
        outputs = engine.pair_outputs(engine.encode_users(read), ours, user, item)
        torch.testing.assert_close(outputs, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("cached", [0, 2])
@torch.inference_mode()
def test_every_family_scores_at_night_as_in_training(family: str, cached: int) -> None:
    scorer = PrefixScorer(tiny.backbone(family), cached_layers=cached).eval()
    engine = for_inference(scorer, Precision.FLOAT32)
    read, shown = Ragged.of(texts([9, 30, 3], seed=1)), Ragged.of(texts([7, 1, 12], seed=2))
    user, item = torch.tensor([0, 0, 1, 1, 2]), torch.tensor([2, 0, 1, 2, 0])
    expected = scorer.pair_outputs(scorer.encode_users(read), scorer.encode_items(shown), user, item)[:, 0]
    logits = engine.pair_outputs(engine.encode_users(read), engine.encode_items(shown), user, item)[:, 0]
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_texts_of_equal_length_may_be_more_than_are_computed_at_once() -> None:
    scorer = PrefixScorer(tiny.backbone(), cached_layers=1).eval()
    engine = Engine(scorer, Precision.FLOAT32)
    many, one = Ragged.of(texts([60] * 40 + [3], seed=1)), Ragged.of(texts([5], seed=2))
    user, item = torch.zeros(41, dtype=torch.int64), torch.arange(41)
    expected = scorer.pair_outputs(scorer.encode_users(one), scorer.encode_items(many), user, item)[:, 0]
    logits = engine.pair_outputs(engine.encode_users(one), engine.encode_items(many), user, item)[:, 0]
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        engine.encode_users(many).vectors, scorer.encode_users(many).vectors, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize(("precision", "most"), [
    (Precision.FLOAT32, 1e-5), (Precision.BFLOAT16, 0.03), (Precision.INT8, 0.03),
])  # fmt: skip
@torch.inference_mode()
def test_a_score_hardly_depends_on_the_batch_it_was_in(precision: Precision, most: float) -> None:
    """By no more than ``most`` of the spread of scores."""
    engine = for_inference(tiny.scorer(), precision)
    read, shown = texts([30, 4, 17], seed=3), texts([5, 9, 2, 9, 1], seed=4)
    user = torch.tensor([0, 0, 0, 0, 1, 2, 2])
    item = torch.tensor([0, 1, 2, 1, 4, 3, 0])
    items = engine.encode_items(Ragged.of(shown))
    together = engine.pair_outputs(engine.encode_users(Ragged.of(read)), items, user, item)[:, 0]
    for u, i, logit in zip(user, item, together, strict=True):
        alone = engine.pair_outputs(
            engine.encode_users(Ragged.of([read[u]])),
            engine.encode_items(Ragged.of([shown[i]])),
            torch.tensor([0]),
            torch.tensor([0]),
        )[:, 0]
        assert abs(float(alone[0] - logit)) < most * float(together.std())
    assert together[1] == pytest.approx(float(together[3]), abs=most * float(together.std()))  # the same twice


@pytest.mark.parametrize("precision", Precision)
@torch.inference_mode()
def test_users_who_are_recalled_score_as_when_they_were_read(precision: Precision) -> None:
    engine = for_inference(tiny.scorer(), precision)
    assert isinstance(engine, Engine)
    read = engine.encode_users(Ragged.of(texts([9, 30, 3, 9], seed=3)))
    items = engine.encode_items(Ragged.of(texts([5, 2, 7], seed=4)))
    kept = [engine.states_of(user) for user in read.users]
    user, item = torch.arange(4).repeat_interleave(3), torch.arange(3).repeat(4)
    recalled = engine.recall(kept)
    expected = engine.pair_outputs(read, items, user, item)
    assert torch.equal(engine.pair_outputs(recalled, items, user, item), expected)
    assert [engine.states_of(one) for one in recalled.users] == kept
    some = engine.pair_outputs(engine.recall([kept[3], kept[0]]), items, user[:6], item[:6])
    torch.testing.assert_close(some, expected[[9, 10, 11, 0, 1, 2]], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_attention_sharper_than_floats_can_hold_is_exact_all_the_same() -> None:
    scorer = sharpened(PrefixScorer(tiny.backbone(), cached_layers=1).eval(), 60)
    read, shown = Ragged.of(texts([9, 6], seed=5)), Ragged.of(texts([4, 7], seed=6))
    user, item = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])
    expected = scorer.pair_outputs(scorer.encode_users(read), scorer.encode_items(shown), user, item)[:, 0]
    engine = Engine(scorer, Precision.FLOAT32)
    logits = engine.pair_outputs(engine.encode_users(read), engine.encode_items(shown), user, item)[:, 0]
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_weights_that_no_training_gives_are_refused() -> None:
    engine = Engine(sharpened(PrefixScorer(tiny.backbone(), cached_layers=1).eval(), torch.inf), Precision.FLOAT32)
    with pytest.raises(FloatingPointError, match="attention is not finite"):
        engine.encode_users(Ragged.of(texts([5], seed=7)))


@pytest.mark.parametrize(("precision", "loss"), [(Precision.BFLOAT16, 0.1), (Precision.INT8, 0.25)])
@pytest.mark.parametrize("family", ["bert", "modernbert"])
@torch.inference_mode()
def test_fewer_bits_move_scores_by_no_more_than_a_share_of_their_spread(
    family: str, precision: Precision, loss: float
) -> None:
    scorer = PrefixScorer(tiny.backbone(family), cached_layers=1).eval()
    read, shown = Ragged.of(texts([30, 4, 17], seed=8)), Ragged.of(texts([5, 9, 2, 9, 1], seed=9))
    user, item = torch.arange(3).repeat_interleave(5), torch.arange(5).repeat(3)
    expected = scorer.pair_outputs(scorer.encode_users(read), scorer.encode_items(shown), user, item)[:, 0]
    engine = for_inference(scorer, precision)
    logits = engine.pair_outputs(engine.encode_users(read), engine.encode_items(shown), user, item)[:, 0]
    assert logits.dtype == torch.float32
    assert 0 < (logits - expected).abs().max() < loss * expected.std()
    vectors = engine.item_vectors(engine.encode_items(shown))
    assert (vectors * scorer.item_vectors(scorer.encode_items(shown))).sum(1).min() > 1 - loss


@pytest.mark.parametrize(("head_width", "capability", "supported"), [
    (32, (9, 0), True), (64, (8, 0), True), (256, (8, 6), True),
    (32, (7, 5), False), (36, (9, 0), False), (264, (9, 0), False),
])  # fmt: skip
def test_old_cards_and_odd_heads_are_known_not_to_be_fast(
    head_width: int, capability: tuple[int, int], supported: bool
) -> None:
    assert is_supported(head_width, capability) == supported


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_GPU)])
@torch.inference_mode()
def test_what_a_gpu_computes_in_bfloat16_is_close_to_the_scorer(device: str) -> None:
    """On a processor, by the plain computation that stands in for the card's kernel."""
    scorer = PrefixScorer(tiny.backbone(), cached_layers=1).eval()
    read, shown = Ragged.of(texts([30, 4, 17], seed=8)), Ragged.of(texts([5, 9, 2, 9, 1], seed=9))
    user, item = np.repeat(np.arange(3), 5), np.tile(np.arange(5), 3)
    expected = score_pairs(scorer, scorer.encode_users(read), scorer.encode_items(shown), user, item)
    engine = GpuEngine(scorer.to(device))
    users = engine.encode_users(Ragged(read.ids.to(device), read.lengths.to(device)))
    items = engine.encode_items(Ragged(shown.ids.to(device), shown.lengths.to(device)))
    assert (users.vectors.dtype, items.states.dtype) == (torch.float32, torch.bfloat16)
    logits = score_pairs(engine, users, items, user, item)
    assert np.abs(logits - expected).max() < 0.1 * expected.std()
