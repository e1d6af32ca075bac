"""Related items of every item, with weights: what co-visitation and its like know of a catalogue."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import sparse

from llmrec.domain.users import Items

Floats = npt.NDArray[np.float32]
Longs = npt.NDArray[np.int64]

_DENSE = 8
"""With more than one neighbour for so many items, much of an array of all items is filled."""
_FEW = 4096
"""Of so many items such an array is small enough for each user to have some."""
_ROWS_AT_ONCE = 64
"""Sums are in doubles, and of a large catalogue many, so not of all users at once."""
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

    def distinct(self, items: Items) -> Items:
        """Return the neighbours of any of ``items``, ascending."""
        return np.unique(self._end_to_end(items)[1]) if len(items) else items

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

    def sums(self, histories: Sequence[Items], fade: float = 1.0) -> Sequence["Weights"]:
        """Add up the weights of the neighbours of each history, oldest first; a step back counts ``fade`` as much."""
        return self.weigh(faded(histories, fade, len(self.starts) - 1))

    def weigh(self, shares: sparse.csr_matrix) -> Sequence["Weights"]:
        """Add up, for each row of ``shares`` (B, S), the weights of the neighbours of its items, times their shares."""
        few, found = self._width < _FEW, list[Weights]()
        for first in range(0, shares.shape[0], _ROWS_AT_ONCE):
            sums = self.product(shares[first : first + _ROWS_AT_ONCE])
            found += self._of_all(sums) if few else self._of_some(sums)
        return found

    @staticmethod
    def _of_all(sums: sparse.csr_matrix) -> list["Weights"]:
        of_all = np.zeros((sums.shape[0], sums.shape[1] + 1), np.float32)
        of_all[:, :-1] = sums.toarray()
        return [OfAll(own) for own in of_all]

    @staticmethod
    def _of_some(sums: sparse.csr_matrix) -> list["Weights"]:
        sums.sort_indices()
        ends = sums.indptr[1:-1]
        items, weights = np.split(sums.indices.astype(np.int32), ends), np.split(sums.data.astype(np.float32), ends)
        return [OfSome(*own) for own in zip(items, weights, strict=True)]

    def product(self, shares: sparse.csr_matrix) -> sparse.csr_matrix:
        """Return what `weigh` adds up, columns in no order, (B, one more than the greatest neighbour)."""
        distinct, place = np.unique(shares.indices, return_inverse=True)  # few of S rows are looked at
        asked = sparse.csr_matrix((shares.data, place, shares.indptr), (shares.shape[0], len(distinct)))
        return asked @ self._matrix[distinct]

    @cached_property
    def _matrix(self) -> sparse.csr_matrix:
        """(S, one more than the greatest neighbour)."""
        return sparse.csr_matrix((self.weights, self.items, self.starts), (len(self.starts) - 1, self._width))

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


class Weights(Protocol):
    """What items weigh; 0 is nothing known."""

    def look_up(self, items: Items) -> Floats:
        """Return the weight of each of ``items``."""

    def best(self, count: int, available: npt.NDArray[np.bool_], excluded: Items) -> Items:
        """Return the ``count`` items that weigh most, equal ones by index, of the ``available`` ones (all items,)."""


@dataclass(frozen=True)
class OfSome:
    """Some items, ascending, each with a weight."""

    items: Items
    weights: Floats

    def look_up(self, items: Items) -> Floats:
        """See `Weights`."""
        if not len(self.items):
            return np.zeros(len(items), np.float32)
        place, there = find(self.items, items)
        return np.where(there, self.weights[place], 0).astype(np.float32)

    def best(self, count: int, available: npt.NDArray[np.bool_], excluded: Items) -> Items:
        """See `Weights`; those that weigh 0 or less are known too."""
        allowed = available[self.items]
        if len(allowed):
            place, there = find(self.items, excluded)
            allowed[place[there]] = False
        return _largest(self.items[allowed], self.weights[allowed], count)


@dataclass(frozen=True)
class OfAll:
    """The weights of all items up to the last that has one, and a 0: few enough for an array of them."""

    weights: Floats

    def look_up(self, items: Items) -> Floats:
        """See `Weights`."""
        return self.weights.take(items, mode="clip")

    def best(self, count: int, available: npt.NDArray[np.bool_], excluded: Items) -> Items:
        """See `Weights`."""
        allowed = self.weights.copy()
        allowed[np.minimum(excluded, len(allowed) - 1)] = 0
        allowed[:-1] *= available[: len(allowed) - 1]
        least = np.partition(allowed, -count)[-count] if 0 < count < len(allowed) else 0
        items = np.flatnonzero(allowed >= least if least > 0 else allowed).astype(np.int32)
        return _largest(items, allowed[items], count)


def _largest(items: Items, weights: Floats, count: int) -> Items:
    """Return the ``count`` of ``items`` with the largest ``weights``, equal ones by index."""
    if 0 < count < len(items):  # most are far from the best
        near = weights >= np.partition(weights, -count)[-count]
        items, weights = items[near], weights[near]
    return items[np.lexsort((items, -weights))[:count]]


def faded(histories: Sequence[Items], fade: float, items: int) -> sparse.csr_matrix:
    """Return the share of each of ``items`` in each of B histories, oldest first, (B, items): 1 for the last of them,
    ``fade`` as much each step back.
    """
    lengths = [len(history) for history in histories]
    steps = np.concatenate([np.arange(length - 1, -1, -1) for length in lengths])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return sparse.csr_matrix((fade**steps, np.concatenate(histories), starts), (len(histories), items))


def spans(starts: Longs, rows: npt.NDArray[np.integer[Any]]) -> tuple[Longs, Longs]:
    """Return the places of all that a CSR matrix holds in ``rows``, end to end, and the place in ``rows`` of each."""
    firsts, counts = starts[rows], starts[rows + 1] - starts[rows]
    owner = np.repeat(np.arange(len(rows)), counts)
    return owner, np.arange(len(owner)) + (firsts - np.cumsum(counts) + counts)[owner]


def find(ascending: Items, asked: Items) -> tuple[Longs, npt.NDArray[np.bool_]]:
    """Return where each of ``asked`` (P,) is, or would be, among some ``ascending`` items, and whether it is there."""
    place = np.searchsorted(ascending, asked).clip(max=len(ascending) - 1)
    return place, ascending[place] == asked
