"""From scored candidates to the list that is published: the best ones, as far as the rules let them."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmrec.domain.ranking import best_first

Doubles = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ListRules:
    """What a list must be like, beyond being the best."""

    min_score: float = 0.0
    """No item with a lower score."""
    at_most: tuple[tuple[str, int], ...] = ()
    """By kind of group (category, brand, ...), how many items of a list may be of the same one."""
    diversity: float = 0.0
    """0 to 1: what being unlike the items already chosen weighs, next to the score."""


def choose(
    scores: Doubles,
    ties: Places,
    rules: ListRules,
    count: int,
    *,
    groups: Callable[[int], Sequence[tuple[str, int]]],
    cosines: Callable[[int], Doubles],
) -> Places:
    """Return the places of at most ``count`` candidates, the best score first.

    One after another, the candidate is taken that is best by maximal marginal relevance (Carbonell and Goldstein,
    1998), (1 - diversity) * score / best score - diversity * largest cosine with those taken, among those that no rule
    forbids. Equal ones are taken by score, then by ``ties``.

    Args:
        scores: (P,), at least 0.
        ties: (P,) who comes first among equal scores: the lowest; distinct.
        rules: of the list.
        count: its length, where there are enough candidates.
        groups: gives the groups of the candidate at a place, as (kind, group).
        cosines: gives the cosines of the candidate at a place with all candidates, (P,).
    """
    alone = not rules.at_most and not rules.diversity
    order = best_first(scores, ties, count if alone else None)
    order = order[scores[order] >= rules.min_score]
    if alone:
        return order
    limits, taken = dict(rules.at_most), Counter[tuple[str, int]]()
    relevance = (1 - rules.diversity) * scores / max(float(scores.max(initial=0)), 1e-12)
    nearest = np.zeros(len(scores))
    chosen: list[int] = []
    while len(order) and len(chosen) < count:
        best = int(np.argmax(relevance[order] - rules.diversity * nearest[order]))
        place, order = int(order[best]), np.delete(order, best)
        own = [group for group in groups(place) if group[0] in limits]
        if any(taken[group] >= limits[group[0]] for group in own):
            continue
        taken.update(own)
        chosen.append(place)
        if rules.diversity:
            nearest = np.maximum(nearest, cosines(place)) if len(chosen) > 1 else cosines(place)
    return np.array(sorted(chosen, key=lambda place: (-scores[place], ties[place])), np.int64)


def keeps(
    places: Places, scores: Doubles, rules: ListRules, groups: Callable[[int], Sequence[tuple[str, int]]]
) -> bool:
    """Tell whether a list, of places as in `choose`, has no score too low and no group too often."""
    limits = dict(rules.at_most)
    taken = Counter(group for place in places for group in groups(int(place)) if group[0] in limits)
    few = all(count <= limits[kind] for (kind, _), count in taken.items())
    return few and bool((scores[places] >= rules.min_score).all())
