"""The content-based scorer ranks by texts alone, with the encoder as it was."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from llmrec.nn.catalogue import Catalogue
from llmrec.nn.content import ContentScorer
from llmrec.nn.encoding import encode_texts
from llmrec.nn.inference import for_inference
from llmrec.nn.linear import Precision
from llmrec.nn.pretrained import open_model
from llmrec.nn.ragged import Ragged
from llmrec.nn.scorers import make_scorer
from tests import tiny
from tests.nn.planted_shop import quality


def knowing(seed: int = 0, colours: float = 3.0) -> PreTrainedModel:
    """A random encoder in which the words for colours count ``colours`` times: what pretraining may have found."""
    model = tiny.encoder(seed=seed, layers=1)
    with torch.no_grad():
        words = model.get_input_embeddings().weight
        for name in ("red", "blue", "green"):
            words[tiny.tokens().tokenizer.token_to_id(name)] *= colours
    return model


def content(model: PreTrainedModel) -> ContentScorer:
    scorer = make_scorer("content", open_model(model), cached_layers=0).eval()
    assert isinstance(scorer, ContentScorer)
    return scorer


def test_things_with_the_words_of_the_history_come_first_without_any_training(shop: Catalogue) -> None:
    assert quality(content(knowing()), shop) > 0.9 > 0.7 > quality(content(knowing(colours=0.0)), shop)


def test_so_they_do_in_dense_retrieval(shop: Catalogue) -> None:
    scorer = content(knowing())
    vectors = encode_texts(scorer, tiny.tokens(), shop.table["title"].to_pylist())[1]
    assert quality(scorer, replace(shop, vectors=vectors), "dense") > 0.9


def test_its_weights_are_those_of_the_pretrained_encoder_and_no_others() -> None:
    expected = open_model(knowing()).state_dict()
    found = content(knowing()).state_dict()
    assert set(found) == {f"backbone.{name}" for name in expected}
    assert all(torch.equal(found[f"backbone.{name}"], weights) for name, weights in expected.items())


def mean_state(model: PreTrainedModel, text: str) -> torch.Tensor:
    """What the pretrained encoder itself makes of a text that stands alone."""
    ids = torch.tensor([tiny.tokenizer()(text)["input_ids"]])
    tokens = tiny.tokens()
    framed = torch.cat([torch.tensor([[tokens.first]]), ids, torch.tensor([[tokens.between]])], dim=1)
    state = model(framed).last_hidden_state[0].mean(0)
    return state / state.norm()


USERS = (("", []), ("", ["red tea"]), ("old cat", ["blue cup", "green pot"]), ("old", []), ("", ["dog", "dog", "song"]))
ITEMS = ["red tea", "blue", "old green pot"]


@torch.inference_mode()
def scores(scorer: ContentScorer, users: list[tuple[str, list[str]]], items: list[str]) -> np.ndarray:
    tokens, made = tiny.tokens(), for_inference(scorer, Precision.FLOAT32)
    sequences = [
        tokens.user_sequence(tokens.pieces([profile], 9)[0], tokens.pieces(titles, 9)) for profile, titles in users
    ]
    shown = [tokens.item_sequence(pieces) for pieces in tokens.item_pieces(items)]
    read = made.encode_users(Ragged.of(sequences)), made.encode_items(Ragged.of(shown))
    user, item = (torch.from_numpy(of.ravel()) for of in np.indices((len(users), len(items))))
    return made.pair_outputs(*read, user, item)[:, 0].numpy().reshape(len(users), -1)


@torch.inference_mode()
def test_a_score_is_the_cosine_of_the_item_and_the_mean_of_what_the_encoder_makes_of_each_part() -> None:
    model = knowing()
    items = torch.stack([mean_state(model, text) for text in ITEMS])
    expected = []
    for profile, titles in USERS[1:]:
        mean = torch.stack([mean_state(model, text) for text in (profile, *titles) if text]).mean(0)
        expected.append((items @ (mean / mean.norm())).tolist())
    found = scores(content(model), list(USERS), ITEMS)
    np.testing.assert_allclose(found[1:], expected, atol=1e-5)
    assert found[1, 0] == pytest.approx(1)


def test_a_batch_scores_like_its_pairs_one_by_one() -> None:
    scorer = content(knowing())
    alone = [[scores(scorer, [user], [item])[0, 0] for item in ITEMS] for user in USERS]
    np.testing.assert_allclose(scores(scorer, list(USERS), ITEMS), alone, atol=1e-5)
