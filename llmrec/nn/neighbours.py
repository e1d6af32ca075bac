"""Related items of every item, with weights: what co-visitation and its like know of a catalogue."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llmrec.domain.users import Items

Floats = npt.NDArray[np.float32]
Longs = npt.NDArray[np.int64]

_DENSE = 8
"""With more than one neighbour for so many items, much of an array of all items is filled."""
_FEW = 4096
"""Of so many items such an array is small enough to be kept with each user's answers."""
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
        if len(items) and len(history):
            counts, found, of_found = self._end_to_end(history)
            if self._are_many(found):
                column = np.full(max(self._width, items.max() + 1), -1, np.int32)
                column[items] = np.arange(len(items))
                place = column[found]
                there = np.flatnonzero(place >= 0)
                place = place[there]
            else:
                order = np.argsort(items)
                place, known = find(items[order], found)
                there = np.flatnonzero(known)
                place = order[place[there]]
            weights[np.repeat(np.arange(len(history)), counts)[there], place] = of_found[there]
        return weights

    def sum(self, history: Items, fade: float = 1.0) -> "Weighed":
        """Add up the weights of the neighbours of ``history``, oldest first; each step back counts ``fade`` as much."""
        return self.weigh(history, fade ** np.arange(len(history) - 1, -1, -1))

    def weigh(self, items: Items, shares: npt.NDArray[np.floating[Any]]) -> "Weighed":
        """Add up the weights of the neighbours of ``items`` (L,), each times the item's share (L,)."""
        if not len(items):
            return Weighed(_NOTHING, np.zeros(0, np.float32))
        counts, found, weights = self._end_to_end(items)
        weights = np.repeat(shares, counts) * weights
        if self._are_many(found):
            total = np.bincount(found, weights, self._width + 1)
            there, of_all = np.flatnonzero(total), total.astype(np.float32)
            return Weighed(there.astype(np.int32), of_all[there], of_all if len(of_all) <= _FEW else None)
        distinct, place = np.unique(found, return_inverse=True)
        return Weighed(distinct.astype(np.int32), np.bincount(place, weights).astype(np.float32))

    @cached_property
    def _width(self) -> int:
        """One more than the greatest neighbour."""
        return int(self.items.max(initial=-1)) + 1

    def _are_many(self, found: Items) -> bool:
        """Tell whether an array of all items is faster than sorting and searching."""
        return self._width < _FEW or len(found) > self._width / _DENSE

    def _end_to_end(self, rows: Items) -> tuple[Longs, Items, Floats]:
        """Return how many neighbours each of ``rows``, at least one, has, and all of these and their weights."""
        firsts, lasts = self.starts[rows], self.starts[rows + 1]
        spans = [slice(*edges) for edges in zip(firsts.tolist(), lasts.tolist(), strict=True)]
        items, weights = (np.concatenate([of_rows[span] for span in spans]) for of_rows in (self.items, self.weights))
        return lasts - firsts, items, weights


@dataclass(frozen=True)
class Weighed:
    """Some items, ascending, each with a weight."""

    items: Items
    weights: Floats
    of_all: Floats | None = None
    """The weights of all items up to the last that has one, and a 0; None where that would take too much memory."""

    def look_up(self, items: Items) -> Floats:
        """Return the weight of each of ``items``, 0 for those without."""
        if self.of_all is not None:
            return self.of_all.take(items, mode="clip")
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
