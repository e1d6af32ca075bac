import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.nn.inference import for_inference
from llmrec.nn.linear import Precision
from llmrec.nn.pairs import score_pairs
from llmrec.nn.ragged import Ragged
from llmrec.nn.scorer import Scorer
from llmrec.nn.scorers import make_scorer
from llmrec.nn.tokens import Tokens
from tests import tiny

NAMES = ("dot", "bilinear", "attention")
USERS = ([], ["red tea"], ["red tea", "blue cup", "old cat"], ["green pot", "red tea"])
ITEMS = ("red cup", "blue", "green tea pot", "dog")


def scorer(name: str, seed: int = 0) -> Scorer:
    """With weights off their start, so that all of them matter."""
    made = make_scorer(name, tiny.backbone(), cached_layers=1, seed=seed).eval()
    with torch.no_grad():
        for weights in made.head.parameters():
            weights += torch.randn(weights.shape)
    return made


def user_sequences(tokens: Tokens, users: list[list[str]]) -> Ragged:
    return Ragged.of([tokens.user_sequence(np.zeros(0, np.int32), tokens.pieces(titles, 9)) for titles in users])


def item_sequences(tokens: Tokens, texts: list[str]) -> Ragged:
    return Ragged.of([tokens.item_sequence(pieces) for pieces in tokens.item_pieces(texts)])


def vector(made: Scorer, ids: np.ndarray, side: int) -> torch.Tensor:
    """The mean state of one text that is read alone."""
    text = Ragged.of([ids.astype(np.int32)])
    states = made.backbone.embed(text.ids, text.layout.position, side)
    states = made._own_blocks(states, text.layout, made.backbone.stack).mean(0)
    return states / states.norm()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=10, deadline=None)
@given(pairs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12).map(sorted))
@torch.inference_mode()
def test_a_batch_scores_like_its_pairs_one_by_one(name: str, pairs: list[tuple[int, int]]) -> None:
    made, tokens = for_inference(scorer(name), Precision.FLOAT32), tiny.tokens()

    def scores(users: list[list[str]], texts: list[str], chosen: list[tuple[int, int]]) -> np.ndarray:
        user, item = np.array(chosen).T
        read = made.encode_users(user_sequences(tokens, users)), made.encode_items(item_sequences(tokens, texts))
        return score_pairs(made, *read, user, item)

    alone = [scores([USERS[user]], [ITEMS[item]], [(0, 0)])[0] for user, item in pairs]
    np.testing.assert_allclose(scores(list(USERS), list(ITEMS), pairs), alone, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_each_formula_is_what_it_says() -> None:
    tokens = tiny.tokens()
    titles, text = USERS[2], ITEMS[0]
    [pieces] = tokens.item_pieces([text])
    whole = tokens.user_sequence(np.zeros(0, np.int32), tokens.pieces(titles, 9))
    dot, bilinear, attention = (scorer(name) for name in NAMES)

    def logit(made: Scorer) -> float:
        users, items = made.encode_users(user_sequences(tokens, [titles])), item_sequences(tokens, [text])
        return float(made.pair_outputs(users, made.encode_items(items), torch.tensor([0]), torch.tensor([0]))[:, 0])

    user, item = vector(dot, whole, 0), vector(dot, tokens.item_sequence(pieces), 1)
    assert logit(dot) == pytest.approx(float(dot.head.weight * (user @ item) + dot.head.bias), abs=1e-3)
    assert logit(bilinear) == pytest.approx(float((bilinear.head.weight @ user + bilinear.head.bias) @ item), abs=1e-3)
    ends = np.flatnonzero(whole == tokens.between) + 1
    parts = torch.stack([vector(attention, part, 0) for part in np.split(whole, ends[:-1])])
    assert len(parts) == len(titles)
    weights = (parts @ (attention.head.ask.weight @ item)).softmax(0)
    expected = attention.head.weigh((weights @ parts) * item)
    assert logit(attention) == pytest.approx(float(expected), abs=1e-3)
