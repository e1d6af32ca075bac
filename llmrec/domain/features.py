"""The features of a (user, candidate) pair that the fusion ranker reads: declared here, once."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Feature:
    """One column of the feature matrix."""

    name: str
    meaning: str
    ground: str | None = None
    """What a reason may say when this feature carried the item, see domain.reasons."""


FEATURES = (
    Feature("covisitation", "co-visitation weight summed over the recent events", "co-visitation"),
    Feature("covisitation_last", "co-visitation weight summed over the last three events", "co-visitation"),
    Feature("covisitation_rank", "place among the user's candidates by co-visitation, 0 is best", "co-visitation"),
    Feature("next", "how often the item is taken after the recent ones, the last counting most", "next"),
    Feature("next_last", "the same after the last item alone", "next"),
    Feature("next_rank", "place among the user's candidates by next, 0 is best", "next"),
    Feature("ease", "sum of what the recent events say for the item, all weighed against each other", "co-visitation"),
    Feature("ease_rank", "place among the user's candidates by ease, 0 is best", "co-visitation"),
    Feature("dense", "cosine of the user's vector and the item's", "similarity"),
    Feature("dense_rank", "place among the user's candidates by dense, 0 is best", "similarity"),
    Feature("nearest", "largest cosine of the item's vector with a liked item's", "similarity"),
    Feature("last_liked", "cosine of the item's vector with the last liked item's", "similarity"),
    Feature("pair_logit", "logit of the fine-tuned pair scorer", "similarity"),
    Feature("pair_rank", "place among the user's candidates by pair_logit, 0 is best", "similarity"),
    Feature("popularity", "log of one plus the events on the item, all time", "popularity"),
    Feature("popularity_lately", "log of one plus the events on the item in the popularity window", "popularity"),
    Feature("liked_share", "share of liking events among the events on the item, smoothed", "popularity"),
    Feature("again", "one over the place among the user's recent items, the last is 1; 0 if not there", "again"),
    Feature("supplied", "source_score of the candidates table, 0 if not there"),
    Feature("history_length", "log of one plus the number of items the user has seen"),
)

NAMES = tuple(feature.name for feature in FEATURES)
COLUMN = {name: place for place, name in enumerate(NAMES)}
"""Column of the feature matrix by feature name."""
