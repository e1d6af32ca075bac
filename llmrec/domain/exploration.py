"""A share of the places for items that nobody knows yet, with the chance that each row had.

Without it a new item that the ranker doubts is never shown, and nothing is ever learned of it; with the chances
recorded, what follows from the lists can be weighed without bias (inverse propensity scoring).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmrec.domain.rules import Doubles, Places


@dataclass(frozen=True)
class Exploration:
    """How much is tried out."""

    share: float = 0.0
    """0 to 1: the chance of each place after the first to go to a new item."""
    fewer_than: int = 10
    """An item with fewer events is new."""
    seed: str = ""
    """Of the night: the same seed and user give the same list."""

    def rng(self, user_id: str) -> np.random.Generator:
        """Return the generator of one user's night."""
        digest = hashlib.sha256(f"{self.seed}\0{user_id}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def explore(
    chosen: Places,
    scores: Doubles,
    new: npt.NDArray[np.bool_],
    share: float,
    rng: np.random.Generator,
    fits: Callable[[Places], bool],
) -> tuple[Places, Doubles]:
    """Give some places of a list to new items, drawn in proportion to their scores.

    Args:
        chosen: (N,) places of the candidates in the list, best first.
        scores: (P,) of all candidates, at least 0.
        new: (P,) which candidates are new.
        share: chance of each place after the first.
        rng: decides.
        fits: tells whether a list, of places, keeps the rules.

    Returns the list, (N,), and the chance that each of its rows had to stand where it does, given those above, (N,).
    """
    found, chances = chosen.copy(), np.ones(len(chosen))
    for at in range(1, len(chosen)):
        pool = np.setdiff1d(np.flatnonzero(new), found)
        pool = np.array([place for place in pool if fits(_with(found, at, place))], np.int64)
        if not len(pool):
            continue
        weights = scores[pool] + 1e-12
        weights /= weights.sum()
        if rng.random() < share:
            drawn = int(rng.choice(len(pool), p=weights))
            found[at], chances[at] = pool[drawn], share * weights[drawn]
        else:
            chances[at] = 1 - share
    return found, chances


def _with(places: Places, at: int, place: int) -> Places:
    changed = places.copy()
    changed[at] = place
    return changed
