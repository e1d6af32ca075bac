"""Related items of every item, with weights: what co-visitation and its like know of a catalogue."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llmrec.domain.users import Items

Floats = npt.NDArray[np.float32]
Longs = npt.NDArray[np.int64]

_DENSE = 8
"""With more than one neighbour for so many items, adding to an array of all items is faster than sorting."""
_NOTHING = np.zeros(0, np.int32)
COLUMNS = {"item": pa.int32(), "neighbour": pa.int32(), "weight": pa.float32()}
"""Of neighbours as a table."""


def no_neighbours() -> pa.Table:
    """Return a table of neighbours without rows."""
    return pa.table({name: pa.array([], kind) for name, kind in COLUMNS.items()})


@dataclass(frozen=True)
class Neighbours:
    """Neighbours of S items, a sparse matrix in CSR form."""

    starts: Longs
    """(S + 1,) where each item's neighbours start."""
    items: Items
    """Neighbours of all items, end to end, strongest first."""
    weights: Floats
    """Like ``items``, above 0."""

    def of(self, item: int) -> tuple[Items, Floats]:
        """Return one item's neighbours and their weights."""
        span = slice(self.starts[item], self.starts[item + 1])
        return self.items[span], self.weights[span]

    def between(self, history: Items, items: Items) -> Floats:
        """Return the weights of distinct ``items`` (P,) as neighbours of ``history`` (L,), 0 for others: (L, P)."""
        weights = np.zeros((len(history), len(items)), np.float32)
        if len(items):
            owner, at = spans(self.starts, history)
            order = np.argsort(items)
            found, there = find(items[order], self.items[at])
            weights[owner[there], order[found[there]]] = self.weights[at[there]]
        return weights

    def sum(self, history: Items, fade: float = 1.0) -> "Weighed":
        """Add up the weights of the neighbours of ``history``, oldest first; each step back counts ``fade`` as much."""
        return self.weigh(history, fade ** np.arange(len(history) - 1, -1, -1))

    def weigh(self, items: Items, shares: npt.NDArray[np.floating[Any]]) -> "Weighed":
        """Add up the weights of the neighbours of ``items`` (L,), each times the item's share (L,)."""
        if not len(items):
            return Weighed(_NOTHING, np.zeros(0, np.float32))
        owner, at = spans(self.starts, items)
        found, weights = self.items[at], shares[owner] * self.weights[at]
        if len(found) > found.max(initial=0) / _DENSE:
            total = np.bincount(found, weights)
            there = np.flatnonzero(total)
            return Weighed(there.astype(np.int32), total[there].astype(np.float32))
        distinct, place = np.unique(found, return_inverse=True)
        return Weighed(distinct.astype(np.int32), np.bincount(place, weights).astype(np.float32))


@dataclass(frozen=True)
class Weighed:
    """Some items, ascending, each with a weight."""

    items: Items
    weights: Floats

    def look_up(self, items: Items) -> Floats:
        """Return the weight of each of ``items``, 0 for those without."""
        if not len(self.items):
            return np.zeros(len(items), np.float32)
        place, there = find(self.items, items)
        return np.where(there, self.weights[place], 0).astype(np.float32)


def spans(starts: Longs, rows: npt.NDArray[np.integer[Any]]) -> tuple[Longs, Longs]:
    """Return the places of all that a CSR matrix holds in ``rows``, end to end, and the place in ``rows`` of each."""
    firsts, counts = starts[rows], starts[rows + 1] - starts[rows]
    owner = np.repeat(np.arange(len(rows)), counts)
    return owner, np.arange(len(owner)) + (firsts - np.cumsum(counts) + counts)[owner]


def find(ascending: Items, asked: Items) -> tuple[Longs, npt.NDArray[np.bool_]]:
    """Return where each of ``asked`` (P,) is, or would be, among some ``ascending`` items, and whether it is there."""
    place = np.searchsorted(ascending, asked).clip(max=len(ascending) - 1)
    return place, ascending[place] == asked
