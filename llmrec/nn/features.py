"""What is known of each candidate of a user: the columns that `domain.features` declares, filled."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from llmrec import columns as C
from llmrec.domain.features import COLUMN, FEATURES
from llmrec.domain.ranking import places
from llmrec.domain.users import Items, User
from llmrec.nn.candidates import Proposals
from llmrec.nn.catalogue import RELATIONS, Catalogue, Floats
from llmrec.nn.neighbours import Weights

_FADE = 0.8
"""How much a step back in the history counts for what recent items have in common with a candidate."""


def related_to_last(catalogue: Catalogue, users: Sequence[User]) -> list[dict[str, Weights]]:
    """Return, for each of ``users``, what the features tell that go by the last items alone."""
    by_feature = {
        "covisitation_last": catalogue.related[C.COVISITATION].sums([user.recent[-3:] for user in users]),
        "next_last": catalogue.related[C.NEXT].sums([user.recent[-1:] for user in users]),
        "lexical_last": catalogue.words.alike([user.recent[-1:] for user in users], 1.0),
    }
    return [dict(zip(by_feature, own, strict=True)) for own in zip(*by_feature.values(), strict=True)]


def all_features(
    catalogue: Catalogue,
    user: User,
    history: Items,
    proposals: Proposals,
    read: npt.NDArray[np.int64],
    logit: Floats,
    last: Mapping[str, Weights],
) -> Floats:
    """Return all features of the P candidates of a user, (P, F).

    Args:
        catalogue: of the night.
        user: whose candidates they are.
        history: the liked items that the encoder reads.
        proposals: the candidates.
        read: places of those that the pair scorer read, (R,).
        logit: of these, (R,).
        last: of the user, see `related_to_last`.
    """
    items = proposals.items
    known = dict[str, npt.NDArray[Any] | float]()
    for source in (*RELATIONS, C.ALS, C.DENSE, C.SIMILAR, C.SEQUENTIAL, C.LEXICAL):
        name = source.replace("-", "")
        known[name] = proposals.scored_by(source)
        known[f"{name}_rank"] = proposals.ranked_by(source)
    known |= {name: weighed.look_up(items) for name, weighed in last.items()}
    for name, values in (("pair_logit", logit), ("pair_rank", places(logit))):
        known[name] = of_read = np.full(len(items), np.nan, np.float32)  # the trees take the absent for what it is
        of_read[read] = values
    cosines = catalogue.vectors[items] @ catalogue.vectors[history].T if len(history) else np.zeros((len(items), 1))
    known["nearest"] = np.maximum.reduce([*cosines.T])  # faster than over an axis so short
    known["last_liked"] = cosines[:, -1]
    for name, of_items in catalogue.counted.items():
        known[name] = of_items[items]
    known["segment_popularity"] = proposals.scored_by(C.BY_SEGMENT)
    known["category_match"] = catalogue.groups[C.CATEGORY].shared(user.recent, items, _FADE)
    known["attribute_match"] = catalogue.groups[C.ATTRIBUTES].shared(user.recent, items, _FADE)
    known["again"] = proposals.scored_by(C.AGAIN)
    known["supplied"] = proposals.scored_by(C.SUPPLIED)
    known["history_length"] = 0.0 if user.without_history else float(np.log1p(len(user.seen)))
    known["idle"] = np.log1p(user.idle_days)
    if missing := set(COLUMN) - set(known):
        raise RuntimeError(f"features {sorted(missing)} are declared in domain.features, but not computed")
    matrix = np.empty((len(items), len(FEATURES)), np.float32)
    for name, column in known.items():
        matrix[:, COLUMN[name]] = column
    return matrix


def one_feature(name: str, values: Floats) -> Floats:
    """Return all features of P pairs, (P, F), where but one is there."""
    matrix = np.zeros((len(values), len(FEATURES)), np.float32)
    matrix[:, COLUMN[name]] = values
    return matrix
