import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from llmrec.nn.families import open_model
from llmrec.nn.prefix import PrefixScorer
from llmrec.nn.ragged import Ragged
from llmrec.nn.scorers import make_scorer
from tests import tiny
from tests.nn.reference import own_forward

lengths = st.lists(st.integers(1, 9), min_size=1, max_size=5)


def texts(sizes: list[int], seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(2, 20, size).astype(np.int32) for size in sizes]


def pair_by_pair(model: PreTrainedModel, scorer: PrefixScorer, user: np.ndarray, item: np.ndarray) -> torch.Tensor:
    """The reference: the family's own forward on one packed sequence with a 4-D mask."""
    read, shown = len(user), len(item)
    sees = torch.zeros(read + shown, read + shown, dtype=torch.bool)
    sees[:read, :read] = True
    sees[read:, :] = True
    places = [*range(read), *range(shown)]
    states = own_forward(model, np.concatenate([user, item]), [0] * read + [1] * shown, places, sees)
    return scorer.head(states[read])[0]


@pytest.mark.parametrize("family", tiny.FAMILIES)
@torch.inference_mode()
def test_scores_equal_the_encoders_own_forward_pair_by_pair(family: str) -> None:
    model = tiny.encoder(family)
    scorer = PrefixScorer(open_model(model), cached_layers=0).eval()
    users, items = texts([7, 3, 12], seed=1), texts([4, 1, 6], seed=2)
    user, item = torch.tensor([0, 0, 0, 2, 2]), torch.tensor([0, 1, 2, 2, 0])
    logits = scorer.pair_outputs(
        scorer.encode_users(Ragged.of(users)), scorer.encode_items(Ragged.of(items)), user, item
    )[:, 0]
    expected = torch.stack([pair_by_pair(model, scorer, users[u], items[i]) for u, i in zip(user, item, strict=True)])
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("cached", [1, 2])
@torch.inference_mode()
def test_with_rotary_positions_the_candidate_stands_after_the_user_whom_lower_layers_do_not_see(cached: int) -> None:
    model = tiny.encoder("modernbert")
    scorer = PrefixScorer(open_model(model), cached_layers=cached).eval()
    user, item = texts([9, 7], seed=1)
    apart = torch.block_diag(torch.ones(9, 9), torch.ones(7, 7)).bool()[None, None]

    def hide_the_user(_: torch.nn.Module, states: object, given: dict[str, torch.Tensor]) -> object:
        return states, given | {"attention_mask": given["attention_mask"] & apart}

    for layer in model.layers[:cached]:
        layer.register_forward_pre_hook(hide_the_user, with_kwargs=True)
    expected = pair_by_pair(model, scorer, user, item)
    read, shown = scorer.encode_users(Ragged.of([user])), scorer.encode_items(Ragged.of([item]))
    logit = scorer.pair_outputs(read, shown, torch.tensor([0]), torch.tensor([0]))[:, 0][0]
    torch.testing.assert_close(logit, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["bert", "modernbert"])
@settings(max_examples=25, deadline=None)
@given(users=lengths, items=lengths, cached=st.integers(0, 2), data=st.data())
@torch.inference_mode()
def test_a_batch_scores_like_its_pairs_one_by_one(
    family: str, users: list[int], items: list[int], cached: int, data: st.DataObject
) -> None:
    scorer = PrefixScorer(tiny.backbone(family), cached_layers=cached).eval()
    user_texts, item_texts = texts(users, seed=3), texts(items, seed=4)
    pairs = data.draw(
        st.lists(
            st.tuples(st.integers(0, len(users) - 1), st.integers(0, len(items) - 1)), min_size=1, max_size=12
        ).map(sorted)
    )
    states = scorer.encode_users(Ragged.of(user_texts))
    logits = scorer.pair_outputs(
        states,
        scorer.encode_items(Ragged.of(item_texts)),
        torch.tensor([u for u, _ in pairs]),
        torch.tensor([i for _, i in pairs]),
    )[:, 0]
    for (u, i), logit in zip(pairs, logits, strict=True):
        alone = scorer.pair_outputs(
            scorer.encode_users(Ragged.of([user_texts[u]])),
            scorer.encode_items(Ragged.of([item_texts[i]])),
            torch.tensor([0]),
            torch.tensor([0]),
        )[:, 0]
        torch.testing.assert_close(logit, alone[0], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_the_user_changes_a_score_and_lower_candidate_layers_do_not_see_the_user() -> None:
    scorer = PrefixScorer(tiny.backbone(), cached_layers=2).eval()
    items = scorer.encode_items(Ragged.of(texts([5], seed=5)))
    first, second = (
        scorer.pair_outputs(
            scorer.encode_users(Ragged.of(texts([6], seed))), items, torch.tensor([0]), torch.tensor([0])
        )[:, 0]
        for seed in (6, 7)
    )
    assert abs(float(first[0] - second[0])) > 1e-6


@torch.inference_mode()
def test_vectors_have_unit_length_and_do_not_depend_on_the_batch() -> None:
    scorer = PrefixScorer(tiny.backbone(), cached_layers=1).eval()
    items = texts([4, 9, 2], seed=8)
    together = scorer.item_vectors(scorer.encode_items(Ragged.of(items)))
    alone = torch.cat([scorer.item_vectors(scorer.encode_items(Ragged.of([one]))) for one in items])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))


def test_caching_every_layer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cached_layers is 3, expected 0 to 2"):
        PrefixScorer(tiny.backbone(), cached_layers=3)


SCORERS = pytest.mark.parametrize(
    ("name", "family"),
    [*((name, "bert") for name in ("prefix", "joint", "dot", "bilinear", "attention")), ("prefix", "modernbert")],
)


@SCORERS
def test_gradients_of_a_batch_are_those_of_its_pairs_one_by_one_added_up(name: str, family: str) -> None:
    users, items = texts([7, 3, 12], seed=1), texts([4, 1, 6], seed=2)
    backbone = tiny.backbone(family)
    torch.manual_seed(0)  # the head's first weights
    scorer = make_scorer(name, backbone, cached_layers=1)
    aim = torch.randn(scorer.width)

    def add_gradients(users: list[np.ndarray], items: list[np.ndarray], user: list[int], item: list[int]) -> None:
        read, shown = scorer.encode_users(Ragged.of(users)), scorer.encode_items(Ragged.of(items))
        logits = scorer.pair_outputs(read, shown, torch.tensor(user), torch.tensor(item))[:, 0]
        liked = scorer.item_vectors(shown)[item] @ aim + read.vectors[user] @ aim
        (logits + liked).sum().backward()

    pairs = [(0, 0), (0, 1), (0, 2), (2, 2), (2, 0)]
    add_gradients(users, items, [u for u, _ in pairs], [i for _, i in pairs])
    together = {key: weights.grad.clone() for key, weights in scorer.named_parameters() if weights.grad is not None}
    scorer.zero_grad()
    for u, i in pairs:
        add_gradients([users[u]], [items[i]], [0], [0])
    assert together
    for key, weights in scorer.named_parameters():
        if key in together:
            torch.testing.assert_close(together[key], weights.grad, atol=1e-4, rtol=1e-4)


@SCORERS
def test_training_in_bfloat16_takes_nearly_the_same_steps(name: str, family: str) -> None:
    users, items = Ragged.of(texts([7, 3, 12], seed=1)), Ragged.of(texts([4, 1, 6], seed=2))
    user, item = torch.tensor([0, 0, 0, 2, 2]), torch.tensor([0, 1, 2, 2, 0])

    def logits_and_gradients(bits: torch.autocast) -> tuple[torch.Tensor, torch.Tensor]:
        backbone = tiny.backbone(family)
        torch.manual_seed(0)  # the head's first weights
        scorer = make_scorer(name, backbone, cached_layers=1)
        with bits:
            shown = scorer.encode_items(items)
            logits = scorer.pair_outputs(scorer.encode_users(users), shown, user, item)[:, 0]
            vectors = scorer.item_vectors(shown)
        assert (logits.dtype, vectors.dtype) == (torch.float32, torch.float32)
        (logits.sum() + vectors[:, 0].sum()).backward()
        gradients = [weight.grad.flatten() for weight in scorer.parameters() if weight.grad is not None]
        return logits.detach(), torch.cat(gradients)

    expected, slope = logits_and_gradients(torch.autocast("cpu", enabled=False))
    logits, similar = logits_and_gradients(torch.autocast("cpu", torch.bfloat16))
    assert 0 < (logits - expected).abs().max() < 0.1 * expected.std()
    assert torch.cosine_similarity(similar, slope, dim=0) > 0.99
