"""Why each item of a list is there: the signals that carried it, and the items of the history behind them."""

import numpy as np

from llmrec import columns as C
from llmrec.domain.reasons import added_by_ground, reason
from llmrec.domain.rules import Doubles, Places
from llmrec.domain.users import Items, User
from llmrec.nn.candidates import Proposals
from llmrec.nn.catalogue import Catalogue, Floats


def reasons(
    catalogue: Catalogue, user: User, history: Items, proposals: Proposals, chosen: Places, contributions: Doubles
) -> list[str]:
    """Return a sentence for each of the ``chosen`` candidates, (K,), from what features added to scores, (K, F).

    ``history`` is what the encoder reads of the user's.
    """
    items = proposals.items[chosen]
    if not len(items):
        return []
    added = added_by_ground(contributions)
    helped = {ground: of_items > 0 for ground, of_items in added.items()}
    nothing: list[str | None] = [None] * len(items)
    similar = nothing
    if len(history) and helped["similarity"].any():
        cosines = _likeness(catalogue, history, items)
        similar = [*catalogue.titles(history[cosines.argmax(axis=0)])]
    alike = [proposals.scored_by(source)[chosen] > 0 for source in (C.USER_BASED, C.EASE, C.ALS)]
    by_alike = np.any(alike, axis=0)
    follows = _strongest(catalogue, C.NEXT, user, items) if helped["next"].any() else nothing
    # Co-visitation also speaks where what helped has nothing to say.
    told = helped["popularity"] | (helped["similarity"] & np.array([bool(title) for title in similar]))
    needed = (helped["co-visitation"] | ~told).any()
    covisited = _strongest(catalogue, C.COVISITATION, user, items) if needed else nothing
    taken = set(user.recent.tolist())
    return [
        reason(
            dict(zip(added, by_ground, strict=True)),
            covisited_with=covisited[place],
            by_alike=bool(by_alike[place]),
            follows=follows[place],
            similar_to=similar[place],
            taken_before=item in taken,
            supplied=item in user.supplied,
            has_profile=bool(user.text),
        )
        for place, (item, by_ground) in enumerate(
            zip(items.tolist(), np.stack([*added.values()], axis=1).tolist(), strict=True)
        )
    ]


def _strongest(catalogue: Catalogue, relation: str, user: User, items: Items) -> list[str | None]:
    """Return, for each of a list's items, the title of the recent item it is related to most; None if to none."""
    titles, weights = catalogue.titles(user.recent), catalogue.related[relation].between(user.recent, items)
    weights[user.recent[:, None] == items[None, :]] = 0  # an item is no reason for itself
    named, found = [1] * len(titles), list[str | None]()
    for own in weights.T.tolist():
        # Of items about as strong, one not named yet: ten times the same reason tells a reader nothing.
        shared = [weight / times for weight, times in zip(own, named, strict=True)]
        strongest = shared.index(max(shared)) if any(shared) else None
        if strongest is not None:
            named[strongest] += 1
        found.append(None if strongest is None else titles[strongest])
    return found


def _likeness(catalogue: Catalogue, history: Items, items: Items) -> Floats:
    """Return how alike the texts of ``history`` (L,) and ``items`` (P,) are, (L, P)."""
    if not catalogue.has_vectors:
        return catalogue.words.cosines(history, items)
    return catalogue.vectors[history] @ catalogue.vectors[items].T
