"""Items by the words they share: TF-IDF over word pieces, in an inverted index."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from llmrec.nn.neighbours import Floats, Longs, Neighbours, Weighed

Ints = npt.NDArray[np.int32]

_COMMON, _FEW = 0.2, 50
"""A word piece in a larger share of the items tells nothing, and would cost most of the time; unless they are few."""


def index_words(tokens: Ints, starts: Longs) -> tuple[Neighbours, Floats]:
    """Index the items by their word pieces.

    A piece weighs (1 + log of its count) * log(items / items with it), and an item's weights have unit length (Salton
    and Buckley, 1988), so that the weights two items share add up to a cosine.

    Args:
        tokens: word pieces of S items, end to end.
        starts: (S + 1,) where each item's begin.

    Returns the items of each of W word pieces, the largest one being W - 1, and the logarithms, (W,).
    """
    items, pieces = len(starts) - 1, int(tokens.max(initial=-1)) + 1
    ones = np.ones(len(tokens), np.float32)
    table = sparse.csr_matrix((ones, tokens, starts), (items, pieces), copy=True)  # sorted in place below
    table.sum_duplicates()
    holders = np.bincount(table.indices, minlength=pieces)
    telling = np.log(items / np.maximum(holders, 1)) * (holders <= max(_FEW, _COMMON * items))
    telling = telling.astype(np.float32)
    table.data = (1 + np.log(table.data)) * telling[table.indices]
    table.eliminate_zeros()
    lengths = np.sqrt(np.asarray(table.power(2).sum(axis=1))).ravel()
    table.data /= np.repeat(lengths, np.diff(table.indptr))
    by_piece = table.tocsc()
    by_piece.sort_indices()
    return Neighbours(by_piece.indptr.astype(np.int64), by_piece.indices, by_piece.data), telling


def weigh(pieces: Ints, telling: Floats) -> tuple[Ints, Floats]:
    """Return the distinct telling word pieces of one item, and their weights of unit length."""
    distinct, counts = np.unique(pieces, return_counts=True)
    weights = (1 + np.log(counts)) * telling[distinct]
    known = weights > 0
    weights = weights[known]
    return distinct[known], (weights / max(float(np.linalg.norm(weights)), 1e-12)).astype(np.float32)


def alike(texts: Sequence[Ints], fade: float, words: Neighbours, telling: Floats) -> Weighed:
    """Add up the cosines of all items with ``texts``, oldest first; each step back counts ``fade`` as much."""
    own = [weigh(text, telling) for text in texts]
    shares = [weights * fade**back for back, (_, weights) in zip(range(len(own) - 1, -1, -1), own, strict=True)]
    nothing = np.zeros(0, np.int32)
    return words.weigh(np.concatenate([nothing, *(pieces for pieces, _ in own)]), np.concatenate([nothing, *shares]))
