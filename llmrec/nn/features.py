"""What is known of each candidate of a user: the columns that `domain.features` declares, filled."""

import numpy as np
import numpy.typing as npt

from llmrec import columns as C
from llmrec.domain.features import COLUMN, FEATURES
from llmrec.domain.ranking import places
from llmrec.domain.users import Items, User
from llmrec.nn.candidates import Proposals
from llmrec.nn.catalogue import RELATIONS, Catalogue, Floats

_FADE = 0.8
"""How much a step back in the history counts for what recent items have in common with a candidate."""


def all_features(
    catalogue: Catalogue, user: User, history: Items, proposals: Proposals, read: npt.NDArray[np.int64], logit: Floats
) -> Floats:
    """Return all features of the P candidates of a user, (P, F).

    Args:
        catalogue: of the night.
        user: whose candidates they are.
        history: the liked items that the encoder reads.
        proposals: the candidates.
        read: places of those that the pair scorer read, (R,).
        logit: of these, (R,).
    """
    items = proposals.items
    matrix = np.zeros((len(items), len(FEATURES)), np.float32)

    def put(name: str, values: npt.NDArray[np.generic] | float) -> None:
        matrix[:, COLUMN[name]] = values

    for source in (*RELATIONS, C.ALS, C.DENSE, C.SIMILAR, C.SEQUENTIAL, C.LEXICAL):
        name = source.replace("-", "")
        scores = proposals.scored_by(source)
        put(name, scores)
        put(f"{name}_rank", places(scores))
    put("covisitation_last", catalogue.related[C.COVISITATION].sum(user.recent[-3:]).look_up(items))
    put("next_last", catalogue.related[C.NEXT].sum(user.recent[-1:]).look_up(items))
    put("lexical_last", catalogue.words.alike(user.recent[-1:], 1.0).look_up(items))
    for name, values in (("pair_logit", logit), ("pair_rank", places(logit))):
        put(name, np.nan)  # the trees take the absent for what it is
        matrix[read, COLUMN[name]] = values
    if len(history) and len(items):
        cosines = catalogue.vectors[items] @ catalogue.vectors[history].T
        put("nearest", cosines.max(axis=1))
        put("last_liked", cosines[:, -1])
    put("popularity", np.log1p(catalogue.taken[items]))
    put("popularity_lately", proposals.scored_by(C.POPULARITY))
    put("segment_popularity", proposals.scored_by(C.BY_SEGMENT))
    put("trend", np.log((catalogue.taken_lately[items] + 1) / (catalogue.taken[items] + 1)))
    put("recency", np.log1p(catalogue.idle[items]))
    put("age", np.log1p(catalogue.age[items]))
    put("liked_share", (catalogue.liked[items] + 1) / (catalogue.taken[items] + 2))
    put("category_match", catalogue.groups[C.CATEGORY].shared(user.recent, items, _FADE))
    put("attribute_match", catalogue.groups[C.ATTRIBUTES].shared(user.recent, items, _FADE))
    put("again", proposals.scored_by(C.AGAIN))
    put("supplied", proposals.scored_by(C.SUPPLIED))
    put("history_length", 0.0 if user.without_history else float(np.log1p(len(user.seen))))
    put("idle", np.log1p(user.idle_days))
    return matrix


def one_feature(name: str, values: Floats) -> Floats:
    """Return all features of P pairs, (P, F), where but one is there."""
    matrix = np.zeros((len(values), len(FEATURES)), np.float32)
    matrix[:, COLUMN[name]] = values
    return matrix
