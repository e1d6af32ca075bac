"""Which items are scored for a user: the union of what several sources propose."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from llmrec import columns as C
from llmrec.domain.ranking import best_first, places
from llmrec.domain.users import Items
from llmrec.nn.catalogue import Floats
from llmrec.nn.sources import SOURCES, Answer, all_scores


@dataclass(frozen=True)
class CandidateSizes:
    """Candidates per user and source; 0 switches a source off."""

    dense: int
    similar: int
    sequential: int
    lexical: int
    covisitation: int
    userbased: int
    next: int
    ease: int
    als: int
    popularity: int
    segment: int
    arrivals: int
    again: int
    supplied: int
    pair_scored: int
    """Of all of them, those that the pair scorer reads, see `Proposals.agreed`."""
    at_least: int = 0
    """A shorter union is filled with popular items, as far as there are any: a list of N needs N candidates."""

    def alone(self, ranker: str) -> "CandidateSizes":
        """Return what a ranker needs that goes by one source alone; all for others, such as one by pair logits."""
        if ranker not in SOURCES:
            return self
        others = {source.replace("-", ""): 0 for source in SOURCES if source != ranker}
        return replace(self, **others, pair_scored=0)

    def of(self, source: str) -> int:
        """Return the size of one of SOURCES."""
        return int(getattr(self, source.replace("-", "")))


_FLAT = 60
"""The constant of reciprocal rank fusion: with it, the first places of one source do not outweigh all the others."""


@dataclass(frozen=True)
class Proposals:
    """The candidates of one user, P of them, by ascending item index."""

    items: Items
    """(P,)."""
    sources: npt.NDArray[np.bool_]
    """(P, len(SOURCES)) which source proposed the item."""
    scores: Floats
    """(P, len(SOURCES)) what each source says of the item, proposed by it or not."""

    def scored_by(self, source: str) -> Floats:
        """Return the scores of one source, (P,)."""
        return self.scores[:, SOURCES.index(source)]

    @cached_property
    def ranks(self) -> Floats:
        """(P, len(SOURCES)) each item's place among them by each source's scores, as domain.ranking counts places."""
        ranks = np.zeros_like(self.scores)  # those of a source that knows nothing are equal
        knowing = np.flatnonzero(self.scores.any(axis=0))
        ranks[:, knowing] = places(self.scores.T[knowing]).T
        return ranks

    def ranked_by(self, source: str) -> Floats:
        """Return the places by one source, (P,)."""
        return self.ranks[:, SOURCES.index(source)]

    def agreed(self, count: int) -> npt.NDArray[np.int64]:
        """Return the places of the ``count`` candidates that all sources together rank highest, ascending.

        By reciprocal rank fusion (Cormack, Clarke and Buettcher, 2009): nothing is learned that could favour the users
        it was learned from.
        """
        if not 0 < count < len(self.items):
            return np.arange(min(count, len(self.items)))
        return np.sort(best_first((1 / (_FLAT + self.ranks)).sum(axis=1), self.items, count))


def propose(answers: Mapping[str, Answer], sizes: CandidateSizes) -> Proposals:
    """Take the union of what all of SOURCES propose: no excluded, no unavailable items."""
    best = {source: answers[source].best(sizes.of(source)) for source in SOURCES}
    items = _distinct(np.concatenate([*best.values()]))
    if len(items) < sizes.at_least:
        best[C.POPULARITY] = answers[C.POPULARITY].best(sizes.at_least)
        items = _distinct(np.concatenate([*best.values()]))
    sources = np.zeros((len(items), len(SOURCES)), np.bool_)
    column = np.repeat(np.arange(len(SOURCES)), [len(own) for own in best.values()])
    sources[np.searchsorted(items, np.concatenate([*best.values()])), column] = True
    return Proposals(items, sources, all_scores([answers[source] for source in SOURCES], items))


def _distinct(items: Items) -> Items:
    """Return ``items`` ascending, each once; several times faster than numpy.unique for some hundreds."""
    ascending = np.sort(items.astype(np.int32))
    return ascending[np.flatnonzero(np.diff(ascending, prepend=-1))]
