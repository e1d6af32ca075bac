"""Orders of candidates. What decides between equal scores is distinct, so that a run repeated gives the same list."""

from typing import Any

import numpy as np
import numpy.typing as npt


def best_first(scores: npt.NDArray[np.generic], ties: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """Return the places of ``scores`` (P,) from the highest to the lowest; equal scores by ascending ``ties`` (P,)."""
    return np.lexsort((ties, -np.asarray(scores, dtype=np.float64)))


def places(scores: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Return each score's place, (P,): 0 for the highest; equal scores share the best place."""
    negative = -np.asarray(scores, scores.dtype if scores.dtype == np.float32 else np.float64)
    return np.searchsorted(np.sort(negative), negative).astype(np.float32)
