import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.nn.families import open_model
from llmrec.nn.inference import for_inference
from llmrec.nn.joint import JointScorer
from llmrec.nn.linear import Precision
from llmrec.nn.pairs import score_pairs
from llmrec.nn.ragged import Ragged
from llmrec.nn.scorers import make_scorer
from tests import tiny
from tests.nn.reference import own_forward

lengths = st.lists(st.integers(1, 9), min_size=1, max_size=5)


def texts(sizes: list[int], seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(2, 20, size).astype(np.int32) for size in sizes]


@pytest.mark.parametrize("family", tiny.FAMILIES)
@torch.inference_mode()
def test_scores_equal_the_encoders_own_forward_on_each_pair_as_one_text(family: str) -> None:
    model = tiny.encoder(family)
    scorer = JointScorer(open_model(model)).eval()
    users, items = texts([7, 3, 12], seed=1), texts([4, 1, 6], seed=2)
    user, item = torch.tensor([0, 0, 0, 2, 2]), torch.tensor([0, 1, 2, 2, 0])
    logits = scorer.pair_outputs(
        scorer.encode_users(Ragged.of(users)), scorer.encode_items(Ragged.of(items)), user, item
    )[:, 0]
    for logit, u, i in zip(logits, user, item, strict=True):
        read, shown = users[u], items[i][1:]  # the candidate comes without its [CLS]
        states = own_forward(model, np.concatenate([read, shown]), side=[0] * len(read) + [1] * len(shown))
        classes = scorer.head(states[0]).softmax(-1)
        torch.testing.assert_close(logit.sigmoid(), classes[1], atol=1e-5, rtol=1e-5)


@settings(max_examples=10, deadline=None)
@given(users=lengths, items=lengths, data=st.data())
@torch.inference_mode()
def test_a_batch_scores_like_its_pairs_one_by_one(users: list[int], items: list[int], data: st.DataObject) -> None:
    scorer = for_inference(JointScorer(tiny.backbone()), Precision.FLOAT32)
    user_texts, item_texts = texts(users, seed=3), texts(items, seed=4)
    drawn = st.tuples(st.integers(0, len(users) - 1), st.integers(0, len(items) - 1))
    pairs = data.draw(st.lists(drawn, min_size=1, max_size=12).map(sorted))

    def scores(read: list[np.ndarray], shown: list[np.ndarray], chosen: list[tuple[int, int]]) -> np.ndarray:
        user, item = np.array(chosen).T
        states = scorer.encode_users(Ragged.of(read)), scorer.encode_items(Ragged.of(shown))
        return score_pairs(scorer, *states, user, item)

    alone = [scores([user_texts[u]], [item_texts[i]], [(0, 0)])[0] for u, i in pairs]
    np.testing.assert_allclose(scores(user_texts, item_texts, pairs), alone, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_vectors_are_those_of_the_prefix_scorer_with_the_same_weights() -> None:
    joint = JointScorer(tiny.backbone()).eval()
    prefix = make_scorer("prefix", joint.backbone, cached_layers=1).eval()
    some = Ragged.of(texts([4, 9, 2], seed=8))
    torch.testing.assert_close(
        joint.item_vectors(joint.encode_items(some)), prefix.item_vectors(prefix.encode_items(some))
    )
    torch.testing.assert_close(joint.encode_users(some).vectors, prefix.encode_users(some).vectors)


def test_an_unknown_scorer_is_refused() -> None:
    with pytest.raises(
        ValueError, match="scorer is 'both', expected one of prefix, content, joint, dot, bilinear, attention"
    ):
        make_scorer("both", tiny.backbone(), cached_layers=0)
