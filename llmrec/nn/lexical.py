"""Items by the words they share: TF-IDF over word pieces, in an inverted index."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from llmrec.domain.users import Items
from llmrec.nn.neighbours import Floats, Longs, Neighbours, Weights, faded

Ints = npt.NDArray[np.int32]

_COMMON, _FEW = 0.2, 50
"""A word piece in a larger share of the items tells nothing, and would cost most of the time; unless they are few."""


@dataclass(frozen=True)
class Words:
    """Which word pieces S items hold, with weights of unit length per item: products of two items are their cosine."""

    by_item: Neighbours
    """The telling word pieces of each item."""
    by_piece: Neighbours
    """The items of each word piece."""

    def alike(self, histories: Sequence[Items], fade: float) -> Sequence[Weights]:
        """Add up the cosines of all items with those of each history, oldest first.

        Each step back counts ``fade`` as much.
        """
        pieces = self.by_item.product(faded(histories, fade, len(self.by_item.starts) - 1))
        return self.by_piece.weigh(pieces)

    def cosines(self, items: Items, others: Items) -> Floats:
        """Return the cosines of ``items`` (L,) with ``others`` (P,), (L, P)."""
        own = [self.by_item.of(int(item)) for item in (*items, *others)]
        distinct, column = np.unique(np.concatenate([pieces for pieces, _ in own]), return_inverse=True)
        table = np.zeros((len(own), len(distinct)), np.float32)
        row = np.repeat(np.arange(len(own)), [len(pieces) for pieces, _ in own])
        table[row, column] = np.concatenate([weights for _, weights in own])
        products: Floats = table[: len(items)] @ table[len(items) :].T
        return products


def index_words(tokens: Ints, starts: Longs) -> Words:
    """Index the items by their word pieces.

    A piece weighs (1 + log of its count) * log(items / items with it), and an item's weights have unit length (Salton
    and Buckley, 1988).

    Args:
        tokens: word pieces of S items, end to end.
        starts: (S + 1,) where each item's begin.
    """
    items, pieces = len(starts) - 1, int(tokens.max(initial=-1)) + 1
    ones = np.ones(len(tokens), np.float32)
    table = sparse.csr_matrix((ones, tokens, starts), (items, pieces), copy=True)  # sorted in place below
    table.sum_duplicates()
    holders = np.bincount(table.indices, minlength=pieces)
    telling = np.log(items / np.maximum(holders, 1)) * (holders <= max(_FEW, _COMMON * items))
    table.data = (1 + np.log(table.data)) * telling.astype(np.float32)[table.indices]
    table.eliminate_zeros()
    lengths = np.sqrt(np.asarray(table.power(2).sum(axis=1))).ravel()
    table.data /= np.repeat(lengths, np.diff(table.indptr))
    by_piece = table.tocsc()
    by_piece.sort_indices()
    by_item, by_piece = (
        Neighbours(one.indptr.astype(np.int64), one.indices, one.data.astype(np.float32)) for one in (table, by_piece)
    )
    return Words(by_item, by_piece)
