"""EASE: how much each item of a history speaks for every other one, all items weighed against each other.

Steck, "Embarrassingly Shallow Autoencoders for Sparse Data" (2019): the linear model that predicts a user's items from
the user's other items, in closed form. Two items that many users take do not speak for each other only because of it.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import linalg

from llmrec.nn.neighbours import COLUMNS, no_neighbours

Doubles = npt.NDArray[np.float64]

_RIDGE = 10.0
"""Regularisation, as a multiple of how many users take an item on average."""
_ROUNDING = 1e-6
"""Smaller weights are none."""


def ease(together: Doubles, neighbours: int) -> pa.Table:
    """Return what each item says for others: item, neighbour, weight (above 0), the ``neighbours`` largest of each.

    Args:
        together: (S, S) users who took both items; on the diagonal, who took the item. Overwritten.
        neighbours: kept per item.
    """
    size = len(together)
    if size < 2:
        return no_neighbours()
    together[np.diag_indices(size)] += _RIDGE * max(1.0, float(np.trace(together)) / size)
    # Symmetric, so the transpose is the same, and LAPACK, which wants columns together, can work in place.
    inverse = linalg.inv(together.T, overwrite_a=True, check_finite=False).T
    inverse /= -np.diag(inverse)
    np.fill_diagonal(inverse, 0)
    kept = min(neighbours, size - 1)
    # Row by row: the places of a whole sort would take as much memory again.
    largest = np.concatenate([np.argpartition(row, size - kept)[size - kept :] for row in inverse])
    items = np.repeat(np.arange(size), kept)
    found = inverse[items, largest]
    said = found > _ROUNDING
    columns = (items[said], largest[said], found[said])
    return pa.table(
        {name: pa.array(values, kind) for (name, kind), values in zip(COLUMNS.items(), columns, strict=True)}
    )
