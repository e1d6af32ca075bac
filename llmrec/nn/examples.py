"""Training examples: a user's history, some items liked next, and candidates the user did not take."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmrec import columns as C
from llmrec.domain.users import Items, User
from llmrec.nn.catalogue import Catalogue


@dataclass(frozen=True)
class Example:
    """One list of the listwise loss."""

    user: User
    history: Items
    """Liked items before the cut, oldest first; at least one."""
    positives: Items
    """Items liked next; at least one."""


def cut_examples(users: Sequence[User], positives: int, at_most: int, rng: np.random.Generator) -> list[Example]:
    """Cut each user's liked items into (history, next items); a random sample of ``at_most``."""
    cuts = [(user, cut) for user in users for cut in range(1, len(user.liked), positives)]
    chosen = rng.permutation(len(cuts))[:at_most]
    return [
        Example(user, user.liked[:cut], user.liked[cut : cut + positives]) for user, cut in (cuts[i] for i in chosen)
    ]


class NegativeSampler:
    """Draws items a user has not taken: half among the co-visited of the history, half by popularity ** 0.75."""

    def __init__(self, catalogue: Catalogue, rng: np.random.Generator) -> None:
        weights = (np.asarray(catalogue.taken, np.float64) + 1) ** 0.75
        self._cumulative = np.cumsum(weights / weights.sum())
        self._catalogue = catalogue
        self._rng = rng

    def draw(self, example: Example, count: int) -> Items:
        """Return up to ``count`` distinct items, fewer only where the catalogue has no more."""
        near = self._catalogue.related[C.COVISITATION].sum(example.history[-5:]).items
        near = near[~np.isin(near, example.user.seen)]
        hard = self._rng.permutation(near)[: count // 2]
        easy = np.searchsorted(self._cumulative, self._rng.random(4 * count)).clip(max=len(self._cumulative) - 1)
        pool = np.concatenate([hard, easy[~np.isin(easy, example.user.seen)]])
        _, first = np.unique(pool, return_index=True)
        drawn = pool[np.sort(first)][:count]
        if len(drawn) < count:  # a small catalogue, or few items that hold nearly all events
            rest = np.setdiff1d(np.arange(len(self._catalogue)), np.concatenate([drawn, example.user.seen]))
            drawn = np.concatenate([drawn, self._rng.permutation(rest)[: count - len(drawn)]])
        return drawn.astype(np.int32)
