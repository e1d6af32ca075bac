"""Orders of candidates. What decides between equal scores is distinct, so that a run repeated gives the same list."""

from typing import Any

import numpy as np
import numpy.typing as npt


def best_first(
    scores: npt.NDArray[np.generic], ties: npt.NDArray[np.integer[Any]], count: int | None = None
) -> npt.NDArray[np.int64]:
    """Return the places of the ``count`` highest of ``scores`` (P,), None: all, from the highest to the lowest.

    Equal scores are ordered by ascending ``ties`` (P,).
    """
    negative = -np.asarray(scores, dtype=np.float64)
    if count is None or not 0 < count < len(negative):
        return np.lexsort((ties, negative))[:count]
    near = np.flatnonzero(negative <= np.partition(negative, count - 1)[count - 1])  # most are far from the best
    return near[np.lexsort((ties[near], negative[near]))[:count]]


def places(scores: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Return the place of each score in its row, (..., P): 0 for the highest; equal scores share the best place."""
    negative = -np.asarray(scores, scores.dtype if scores.dtype == np.float32 else np.float64)
    order = negative.argsort(axis=-1)
    ascending = np.take_along_axis(negative, order, -1)
    best = np.zeros(negative.shape, np.int64)
    higher = ascending[..., 1:] != ascending[..., :-1]
    best[..., 1:] = np.where(higher, np.arange(1, negative.shape[-1]), 0)
    found = np.empty(negative.shape, np.float32)
    np.put_along_axis(found, order, np.maximum.accumulate(best, axis=-1), -1)
    return found
