"""Why each item of a list is there: the signals that carried it, and the items of the history behind them."""

import numpy as np

from llmrec import columns as C
from llmrec.domain.reasons import carried, reason
from llmrec.domain.rules import Doubles, Places
from llmrec.domain.users import Items, User
from llmrec.nn.candidates import Proposals
from llmrec.nn.catalogue import Catalogue, Floats
from llmrec.nn.neighbours import Neighbours


def reasons(
    catalogue: Catalogue, user: User, history: Items, proposals: Proposals, chosen: Places, contributions: Doubles
) -> list[str]:
    """Return a sentence for each of the ``chosen`` candidates, (K,), from what features added to scores, (K, F).

    ``history`` is what the encoder reads of the user's.
    """
    items = proposals.items[chosen]
    if not len(items):
        return []
    helped = carried(contributions)
    nothing: list[str | None] = [None] * len(items)
    similar = nothing
    if len(history) and helped["similarity"].any():
        cosines = _likeness(catalogue, history, items)
        similar = [*catalogue.titles(history[cosines.argmax(axis=0)])]
    alike = [proposals.scored_by(source)[chosen] > 0 for source in (C.USER_BASED, C.EASE, C.ALS)]
    by_alike = np.any(alike, axis=0)
    titles = catalogue.titles(user.recent)
    follows = _strongest(catalogue.related[C.NEXT], titles, user, items) if helped["next"].any() else nothing
    # Co-visitation also speaks where what helped has nothing to say.
    told = helped["popularity"] | (helped["similarity"] & np.array([bool(title) for title in similar]))
    needed = (helped["co-visitation"] | ~told).any()
    covisited = _strongest(catalogue.related[C.COVISITATION], titles, user, items) if needed else nothing
    return [
        reason(
            contributions[place],
            covisited_with=covisited[place],
            by_alike=bool(by_alike[place]),
            follows=follows[place],
            similar_to=similar[place],
            taken_before=int(item) in user.recent,
            supplied=int(item) in user.supplied,
            has_profile=bool(user.text),
        )
        for place, item in enumerate(items)
    ]


def _strongest(related: Neighbours, titles: list[str], user: User, items: Items) -> list[str | None]:
    """Return, for each of a list's items, the title of the recent item it is related to most; None if to none."""
    weights = related.between(user.recent, items)
    weights[user.recent[:, None] == items[None, :]] = 0  # an item is no reason for itself
    named, found = np.zeros(len(titles)), list[str | None]()
    for own in weights.T:
        # Of items about as strong, one not named yet: ten times the same reason tells a reader nothing.
        strongest = int(np.argmax(own / (1 + named))) if own.any() else None
        if strongest is not None:
            named[strongest] += 1
        found.append(None if strongest is None else titles[strongest])
    return found


def _likeness(catalogue: Catalogue, history: Items, items: Items) -> Floats:
    """Return how alike the texts of ``history`` (L,) and ``items`` (P,) are, (L, P)."""
    if not catalogue.has_vectors:
        return catalogue.words.cosines(history, items)
    return catalogue.vectors[history] @ catalogue.vectors[items].T
