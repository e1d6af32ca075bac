"""Which items are scored for a user: the union of what several sources propose."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmrec import columns as C
from llmrec.domain.users import Items, User
from llmrec.nn.catalogue import Catalogue, Floats

SOURCES = (C.DENSE, C.COVISITATION, C.POPULARITY, C.SUPPLIED)


@dataclass(frozen=True)
class CandidateSizes:
    """Candidates per user and source; 0 switches a source off."""

    dense: int
    covisitation: int
    popularity: int
    supplied: int
    at_least: int = 0
    """A shorter union is filled with popular items, as far as there are any: a list of N needs N candidates."""


@dataclass(frozen=True)
class Proposals:
    """The candidates of one user, P of them, by ascending item index."""

    items: Items
    """(P,)."""
    covisitation: Floats
    """(P,) co-visitation weight, 0 where there is none."""
    covisitation_last: Floats
    """(P,) the same from the last three events."""
    sources: npt.NDArray[np.bool_]
    """(P, len(SOURCES)) which source proposed the item."""


def propose(user: User, catalogue: Catalogue, sizes: CandidateSizes, nearest: Items) -> Proposals:
    """Take the union of all sources, without seen and unavailable items.

    ``nearest`` are the available unseen items nearest to the user's vector, best first: dense retrieval's share.
    """
    near, weights = covisited(user.recent, catalogue)
    by_source = {
        C.DENSE: nearest[: sizes.dense],
        C.COVISITATION: _best_allowed(near, weights, user, catalogue, sizes.covisitation),
        C.POPULARITY: most_popular(user, catalogue, sizes.popularity),
        C.SUPPLIED: _supplied(user, catalogue, sizes.supplied),
    }
    items = np.unique(np.concatenate(list(by_source.values()))).astype(np.int32)
    if len(items) < sizes.at_least:
        by_source[C.POPULARITY] = most_popular(user, catalogue, sizes.at_least)
        items = np.unique(np.concatenate(list(by_source.values()))).astype(np.int32)
    sources = np.stack([np.isin(items, by_source[source]) for source in SOURCES], axis=1)
    last, last_weights = covisited(user.recent[-3:], catalogue)
    return Proposals(items, look_up(items, near, weights), look_up(items, last, last_weights), sources)


def covisited(recent: Items, catalogue: Catalogue) -> tuple[Items, Floats]:
    """Sum the co-visitation weights of all neighbours of ``recent``; items ascending."""
    starts = catalogue.neighbour_starts
    spans = [slice(starts[item], starts[item + 1]) for item in recent]
    if not spans:
        return _NOTHING, np.zeros(0, np.float32)
    neighbours = np.concatenate([catalogue.neighbours[span] for span in spans])
    weights = np.concatenate([catalogue.neighbour_weights[span] for span in spans])
    items, place = np.unique(neighbours, return_inverse=True)
    return items.astype(np.int32), np.bincount(place, weights, minlength=len(items)).astype(np.float32)


def most_popular(user: User, catalogue: Catalogue, count: int) -> Items:
    """Return the ``count`` most popular available items the user has not seen, best first."""
    front = catalogue.popular[: count + len(user.seen)]
    return front[~np.isin(front, user.seen)][:count]


def look_up(items: Items, known: Items, values: Floats) -> Floats:
    """Return the value of each of ``items`` in ``known`` (ascending), 0 where it is not there."""
    if not len(known):
        return np.zeros(len(items), np.float32)
    place = np.searchsorted(known, items).clip(max=len(known) - 1)
    return np.where(known[place] == items, values[place], 0).astype(np.float32)


def _best_allowed(items: Items, weights: Floats, user: User, catalogue: Catalogue, count: int) -> Items:
    allowed = catalogue.available[items] & ~np.isin(items, user.seen)
    items, weights = items[allowed], weights[allowed]
    return items[np.lexsort((items, -weights))[:count]]


def _supplied(user: User, catalogue: Catalogue, count: int) -> Items:
    items = np.fromiter(user.supplied, np.int32, len(user.supplied))
    scores = np.fromiter(user.supplied.values(), np.float32, len(user.supplied))
    return _best_allowed(items, scores, user, catalogue, count)


_NOTHING = np.zeros(0, np.int32)
