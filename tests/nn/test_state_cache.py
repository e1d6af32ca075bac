import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from llmrec.nn import state_cache
from llmrec.nn.engine import Engine
from llmrec.nn.kept import fingerprints
from llmrec.nn.kept_states import KeptStates
from llmrec.nn.linear import Precision
from llmrec.nn.ragged import Ragged
from llmrec.nn.scorer import ItemStates
from llmrec.nn.state_cache import StateCache
from tests import tiny

TEXTS = ["red fox", "blue", "old green door", "red", "door", "blue fox red"]


class Counting:
    """A scorer that notes how many items it encodes."""

    def __init__(self) -> None:
        self._scorer, self.encoded = tiny.scorer(), 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._scorer, name)

    def encode_items(self, items: Ragged) -> ItemStates:
        self.encoded += len(items.lengths)
        return self._scorer.encode_items(items)


@pytest.fixture
def scorer() -> Counting:
    return Counting()


@pytest.fixture
def cache(scorer: Counting, tmp_path: Path) -> StateCache:
    return StateCache(scorer, tiny.tokens(), tiny.catalogue(tmp_path / "catalogue", TEXTS))


def expected(items: list[int]) -> torch.Tensor:
    tokens = tiny.tokens()
    sequences = [tokens.item_sequence(pieces) for pieces in tokens.item_pieces([TEXTS[item] for item in items])]
    return tiny.scorer().encode_items(Ragged.of(sequences)).states


@pytest.mark.parametrize("room", [1 << 30, 1])
def test_states_are_those_of_the_scorer_in_the_order_asked_for_however_little_is_kept(
    cache: StateCache, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setattr(state_cache, "_BYTES", room)
    monkeypatch.setattr(state_cache, "_ITEMS_AT_ONCE", 2)
    with torch.no_grad():
        for items in ([3, 1, 2], [0, 3], [5, 4, 2, 0, 1]):
            torch.testing.assert_close(cache.states(np.array(items)).states, expected(items))


def test_an_item_is_encoded_once(scorer: Counting, cache: StateCache) -> None:
    cache.states(np.array([3, 1]))
    cache.states(np.array([1, 2, 3]))
    assert scorer.encoded == 3


def test_what_scoring_kept_can_be_trained_on(cache: StateCache) -> None:
    with torch.inference_mode():
        cache.states(np.array([0, 2, 5]))
        cache.states(np.array([1]))  # makes room for more than it needs
    states = cache.states(np.array([0, 3])).states
    weight = torch.ones(states.shape[1], requires_grad=True)
    (states @ weight).sum().backward()
    assert weight.grad is not None


class CountingEngine(Engine):
    """The fast scorer, noting how many items it encodes."""

    encoded = 0

    def encode_items(self, items: Ragged) -> ItemStates:
        self.encoded += len(items.lengths)
        return super().encode_items(items)


@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.BFLOAT16])
def test_a_later_night_encodes_the_items_whose_texts_are_new_and_gets_the_same_states(
    tmp_path: Path, precision: Precision
) -> None:
    def night(texts: list[str], *, forget: bool = False) -> tuple[int, torch.Tensor]:
        catalogue = tiny.catalogue(tmp_path / str(next(numbers)), texts)
        engine = CountingEngine(tiny.scorer(), precision)
        cache = StateCache(engine, tiny.tokens(), catalogue)
        if not forget:
            cache.earlier = KeptStates(tmp_path / "items.states", "model", 1 << 20)
            cache.earlier.load()
        everything = np.arange(len(texts), dtype=np.int32)
        cache.states(everything[::-2])
        states = cache.states(everything).states
        if cache.earlier and cache.earlier.has_new:
            texts_there = fingerprints([catalogue.pieces(item) for item in everything.tolist()])
            cache.earlier.save(texts_there, 1 << 20)
        return engine.encoded, states

    numbers, changed = itertools.count(), [*TEXTS[:2], "green", "red", "old fox", *TEXTS[4:]]
    assert night(TEXTS)[0] == 6
    assert night(TEXTS)[0] == 0
    encoded, states = night(changed)
    assert encoded == 2
    assert torch.equal(states, night(changed, forget=True)[1])
    assert night(changed)[0] == 0
