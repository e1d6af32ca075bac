import numpy as np
import pytest
import torch
from torch import Tensor

from llmrec.nn.inference import for_inference
from llmrec.nn.pairs import score_pairs
from llmrec.nn.ragged import Ragged
from llmrec.nn.scorer import ItemStates, ReadUsers
from tests import tiny


class SmallMemory:
    """A scorer that holds at most ``most`` pairs at once, as a full GPU would."""

    def __init__(self, most: int) -> None:
        self._engine, self.most, self.passes = for_inference(tiny.scorer()), most, 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)

    def pair_outputs(self, users: ReadUsers, items: ItemStates, user: Tensor, item: Tensor) -> Tensor:
        if len(item) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory (injected)")
        self.passes += 1
        return self._engine.pair_outputs(users, items, user, item)


def inputs(scorer: SmallMemory) -> tuple[ReadUsers, ItemStates, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    read = [rng.integers(2, 20, size).astype(np.int32) for size in (9, 3, 5)]
    shown = [rng.integers(2, 20, size).astype(np.int32) for size in (4, 2, 6, 6)]
    user, item = np.repeat(np.arange(3), [5, 1, 3]), rng.integers(0, 4, 9)
    with torch.inference_mode():
        return scorer.encode_users(Ragged.of(read)), scorer.encode_items(Ragged.of(shown)), user, item


def test_pairs_that_do_not_fit_are_scored_in_halves() -> None:
    roomy, tight = SmallMemory(100), SmallMemory(2)
    expected, logits = score_pairs(roomy, *inputs(roomy)), score_pairs(tight, *inputs(tight))
    np.testing.assert_allclose(logits, expected, atol=1e-6)
    assert (roomy.passes, tight.passes) == (1, 5)


def test_memory_for_not_even_one_pair_is_an_error() -> None:
    scorer = SmallMemory(0)
    with pytest.raises(torch.OutOfMemoryError):
        score_pairs(scorer, *inputs(scorer))


def test_no_pairs_give_no_scores() -> None:
    scorer = SmallMemory(9)
    users, items, _, _ = inputs(scorer)
    nothing = np.zeros(0, np.int64)
    assert score_pairs(scorer, users, items, nothing, nothing).shape == (0,)
