"""Many (user, candidate) pairs through the scorer, as many at once as suits the device."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llmrec.nn.device import send
from llmrec.nn.scorer import ItemStates, PairScorer, ReadUsers

Places = npt.NDArray[np.int64]

_TOKENS_AT_ONCE = {"cpu": 8192, "cuda": 262_144}
"""Candidate tokens per pass; on a CPU a pass should stay near the caches."""


def score_pairs(
    scorer: PairScorer, users: ReadUsers, items: ItemStates, user: Places, item: Places
) -> npt.NDArray[np.float32]:
    """Return the logit of each pair, (P,); see `score_outputs`."""
    return score_outputs(scorer, users, items, user, item)[:, 0]


@torch.inference_mode()
def score_outputs(
    scorer: PairScorer, users: ReadUsers, items: ItemStates, user: Places, item: Places
) -> npt.NDArray[np.float32]:
    """Return what is said of each pair, (P, outputs); see `PairScorer.pair_outputs`.

    Args:
        scorer: whose states the next two are.
        users: B users read.
        items: states of S items.
        user: (P,) index into users, ascending.
        item: (P,) index into items.
    """
    device = scorer.device
    outputs = torch.zeros(
        len(item), scorer.outputs, device=device
    )  # stays there until all is scored, so that no part waits for a copy
    tokens = items.layout.lengths.cpu().numpy()[item]
    on_device = send(user, device), send(item, device)
    for part in _cut(tokens, _TOKENS_AT_ONCE[device.type]):
        _score_part(scorer, users, items, user, on_device, part, outputs)
    return outputs.cpu().numpy()


def _score_part(
    scorer: PairScorer,
    users: ReadUsers,
    items: ItemStates,
    user: Places,
    on_device: tuple[Tensor, Tensor],
    part: slice,
    outputs: Tensor,
) -> None:
    """Score the pairs of ``part`` into ``outputs``, in halves where they do not fit the memory of a GPU."""
    first, last = int(user[part.start]), int(user[part.stop - 1])
    try:
        users_there, items_there = (places[part] for places in on_device)
        outputs[part] = scorer.pair_outputs(users.of_users(first, last + 1), items, users_there - first, items_there)
        return
    except torch.OutOfMemoryError:
        if part.stop - part.start == 1:
            raise
    torch.cuda.empty_cache()  # outside the handler, which keeps the failed pass's tensors alive
    middle = (part.start + part.stop) // 2
    for half in (slice(part.start, middle), slice(middle, part.stop)):
        _score_part(scorer, users, items, user, on_device, half, outputs)


def _cut(tokens: npt.NDArray[np.int64], at_once: int) -> Iterator[slice]:
    """Cut pairs, in their order, into parts of at most ``at_once`` tokens, or of one pair."""
    ends, start = np.cumsum(tokens), 0
    while start < len(tokens):
        there = ends[start] - tokens[start] + at_once
        stop = max(start + 1, int(np.searchsorted(ends, there, side="right")))
        yield slice(start, stop)
        start = stop
