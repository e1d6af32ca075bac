"""One sentence per recommendation that a shopper can read, grounded in what carried the score."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from llmrec.domain.features import FEATURES

_GROUNDS = ("co-visitation", "next", "similarity", "popularity", "again")
_OF_GROUND = np.array([[feature.ground == ground for ground in _GROUNDS] for feature in FEATURES], np.float64)


def added_by_ground(contributions: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.float64]]:
    """Return what each ground added to the log-odds of K items, (K,), by what features added to them, (K, F)."""
    return dict(zip(_GROUNDS, (contributions @ _OF_GROUND).T, strict=True))


def reason(
    added: Mapping[str, float],
    *,
    covisited_with: str | None,
    by_alike: bool,
    follows: str | None,
    similar_to: str | None,
    taken_before: bool,
    supplied: bool,
    has_profile: bool,
) -> str:
    """Say what carried an item: the ground whose features added most to its log-odds.

    Args:
        added: what each ground added.
        covisited_with: title of the recent item most often taken together with this one.
        by_alike: whether users with items like the user's took this one.
        follows: title of the recent item that this one is most often taken after.
        similar_to: title of the liked item whose text is nearest.
        taken_before: whether the item is among the user's recent ones.
        supplied: whether the user's own candidates table proposed the item.
        has_profile: whether the user's text holds a profile.
    """
    sentences = {
        "co-visitation": "Chosen by people whose choices are like yours" if by_alike else None,
        "next": f"Often chosen after “{follows}”" if follows else None,
        "similarity": f"Similar to “{similar_to}”, which you liked" if similar_to else None,
        "popularity": "Popular with many people",
        "again": "You chose this before" if taken_before else None,
    }
    if covisited_with:
        sentences["co-visitation"] = f"People who chose “{covisited_with}” often choose this too"
    if not similar_to and has_profile:
        sentences["similarity"] = "Fits your profile"
    for ground in sorted(added, key=lambda name: -added[name]):
        if sentences[ground] and added[ground] > 0:
            return str(sentences[ground])
    return "From a list chosen for you" if supplied else str(sentences["co-visitation"] or sentences["popularity"])
