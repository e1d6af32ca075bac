"""Matrix factorization of what is implicitly liked: what a user of a night has from the items' factors.

Hu, Koren and Volinsky, "Collaborative Filtering for Implicit Feedback Datasets" (2008), regularised by how many items a
user took (Zhou et al., 2008), as in Spark, which finds the factors (spark.factors).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from llmrec.domain.users import Items

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

RANK = 64
"""Factors of an item."""
ITERATIONS = 10
CONFIDENCE = 10.0
"""Alpha of the paper: how much more an item that was taken says than one that was not."""
RIDGE = 0.05
"""Regularisation per item taken."""


def everywhere(factors: Floats) -> Doubles:
    """Return what all items together say of a user who took none, (RANK, RANK); ``factors`` (S, RANK)."""
    return np.asarray(factors.T.astype(np.float64) @ factors, np.float64)


def fold_in(histories: Sequence[Items], factors: Floats, base: Doubles) -> Floats:
    """Return the factors of users with these histories, (B, RANK); all 0 where no item of a history has factors.

    It is the step of the method that finds users from items, so a user of the events gets the same factors as there.

    Args:
        histories: the items of each of B users.
        factors: (S, RANK) of the items, 0 where there are none.
        base: `everywhere` of them.
    """
    found = np.zeros((len(histories), factors.shape[1]), np.float32)
    for own, history in zip(found, histories, strict=True):
        known = factors[history][factors[history].any(axis=1)].astype(np.float64)
        if len(known):
            ridge = RIDGE * len(known) * np.eye(factors.shape[1])
            taken = base + CONFIDENCE * known.T @ known + ridge
            own[:] = np.linalg.solve(taken, (1 + CONFIDENCE) * known.sum(axis=0))
    return found
