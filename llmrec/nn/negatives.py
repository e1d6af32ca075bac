"""Items a user did not take, for the model to tell from those he took."""

from collections.abc import Mapping

import numpy as np

from llmrec import columns as C
from llmrec.domain.users import Items
from llmrec.nn.catalogue import Catalogue, Floats
from llmrec.nn.examples import Example

NEAR = 5
"""Of the history, the latest items whose neighbours are drawn."""
_HARD = 50
"""So many of the items that the model itself holds to be nearest."""


class Negatives:
    """Draws up to ``count`` distinct items that the user never took.

    Args:
        catalogue: says what was taken, and what with what.
        count: fewer are drawn only where the catalogue has no more.
        shares: of each kind, in any unit. ``covisitation``: among what is co-visited with the history; ``hard``: among
            the nearest by ``vectors``; ``popularity``: by events ** 0.75; ``random``: all alike. What the first two
            lack, the others fill.
        vectors: of all items, (items, D) of unit length; needed for ``hard``.
    """

    def __init__(
        self, catalogue: Catalogue, count: int, shares: Mapping[str, float], vectors: Floats | None = None
    ) -> None:
        total = sum(shares.values())
        self._catalogue, self._count, self._vectors = catalogue, count, vectors
        self._of = {kind: int(share / total * count) for kind, share in shares.items()}
        weights = np.ones(len(catalogue))
        if "popularity" in shares:
            weights = (np.asarray(catalogue.taken, np.float64) + 1) ** 0.75
        self._cumulative = np.cumsum(weights / weights.sum())

    def __call__(self, example: Example, rng: np.random.Generator) -> Items:
        """Draw for one example."""
        history, seen, size = example.history[-NEAR:], example.seen, len(self._catalogue)
        drawn = list[Items]()
        for kind, near in (("covisitation", self._covisited), ("hard", self._nearest)):
            if self._of.get(kind):
                drawn.append(rng.permutation(_unseen(near(history), seen))[: self._of[kind]])
        if "popularity" in self._of and "random" in self._of:
            drawn.append(_unseen(rng.integers(size, size=self._of["random"], dtype=np.int32), seen))
        filling = np.searchsorted(self._cumulative, rng.random(4 * self._count)).clip(max=size - 1)
        pool = np.concatenate([*drawn, _unseen(filling.astype(np.int32), seen)])
        _, first = np.unique(pool, return_index=True)
        found = pool[np.sort(first)][: self._count]
        if len(found) < self._count:  # a small catalogue, or few items that hold nearly all events
            rest = np.setdiff1d(np.arange(size), np.concatenate([found, seen]))
            found = np.concatenate([found, rng.permutation(rest)[: self._count - len(found)]])
        return found.astype(np.int32)

    def _covisited(self, history: Items) -> Items:
        return self._catalogue.related[C.COVISITATION].distinct(history)

    def _nearest(self, history: Items) -> Items:
        if self._vectors is None:
            raise ValueError("hard negatives are asked for, expected vectors of the items to find them by")
        if not len(history):
            return np.zeros(0, np.int32)
        cosines = self._vectors @ self._vectors[history].mean(0)
        cosines[history] = -np.inf
        most = min(_HARD, len(cosines) - 1)
        return np.argpartition(-cosines, most)[:most].astype(np.int32)


def _unseen(items: Items, seen: Items) -> Items:
    return items[~np.isin(items, seen)]
