"""The features of a (user, candidate) pair that the fusion ranker reads: declared here, once.

`nn.features.all_features` computes each, and refuses to go without one; training, scoring and report follow.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Feature:
    """One column of the feature matrix."""

    name: str
    meaning: str
    ground: str | None = None
    """What a reason may say when this feature carried the item, see domain.reasons."""
    signal: str | None = None
    """What it is made from, of the signals that can be taken away to see what they are worth."""
    where: str = ""
    """What computes it: a function or class below llmrec."""


def _by(where: str, *features: Feature) -> tuple[Feature, ...]:
    return tuple(replace(feature, where=where) for feature in features)


BERT, PAIR_SCORER, COLLABORATIVE = "BERT", "pair scorer", "collaborative"
"""Signals: vectors of the fine-tuned encoder, logits of the fine-tuned pair scorer, what users take together."""


FEATURES = (
    *_by(
        "spark.counts.covisitation",
        Feature("covisitation", "co-visitation weight summed over the recent events", "co-visitation", COLLABORATIVE),
        Feature("covisitation_last", "the same over the last three events", "co-visitation", COLLABORATIVE),
        Feature(
            "covisitation_rank", "place among the candidates by covisitation, 0 best", "co-visitation", COLLABORATIVE
        ),
    ),
    *_by(
        "spark.counts.taken_by_alike",
        Feature(
            "userbased", "likeness (cosine) of the users who took the item, summed", "co-visitation", COLLABORATIVE
        ),
        Feature("userbased_rank", "place among the candidates by userbased, 0 is best", "co-visitation", COLLABORATIVE),
    ),
    *_by(
        "spark.counts.followers",
        Feature(
            "next", "how often the item is taken after the recent ones, the last counting most", "next", COLLABORATIVE
        ),
        Feature("next_last", "the same after the last item alone", "next", COLLABORATIVE),
        Feature("next_rank", "place among the candidates by next, 0 is best", "next", COLLABORATIVE),
    ),
    *_by(
        "nn.ease.ease",
        Feature(
            "ease", "what the recent events say for the item, each beside the others", "co-visitation", COLLABORATIVE
        ),
        Feature("ease_rank", "place among the candidates by ease, 0 is best", "co-visitation", COLLABORATIVE),
    ),
    *_by(
        "nn.als.fold_in",
        Feature("als", "product of the user's factors and the item's (ALS)", "co-visitation", COLLABORATIVE),
        Feature("als_rank", "place among the candidates by als, 0 is best", "co-visitation", COLLABORATIVE),
    ),
    *_by(
        "nn.sources.Nearest",
        Feature("dense", "cosine of the user's vector and the item's", "similarity", BERT),
        Feature("dense_rank", "place among the candidates by dense, 0 is best", "similarity", BERT),
        Feature("similar", "cosine of the item's vector and the mean of the recent items'", "similarity", BERT),
        Feature("similar_rank", "place among the candidates by similar, 0 is best", "similarity", BERT),
    ),
    *_by(
        "nn.sequential.Sequential",
        Feature(
            "sequential", "cosine of the item's vector and the one that the order of the history asks for", "next", BERT
        ),
        Feature("sequential_rank", "place among the candidates by sequential, 0 is best", "next", BERT),
    ),
    *_by(
        "nn.lexical.Words",
        Feature("lexical", "lexical cosines (TF-IDF) with the recent items, the last counting most", "similarity"),
        Feature("lexical_last", "lexical cosine with the last item alone", "similarity"),
        Feature("lexical_rank", "place among the candidates by lexical, 0 is best", "similarity"),
    ),
    *_by(
        "nn.features.all_features",
        Feature("nearest", "largest cosine of the item's vector with a liked item's", "similarity", BERT),
        Feature("last_liked", "cosine of the item's vector with the last liked item's", "similarity", BERT),
    ),
    *_by(
        "nn.pairs.score_outputs",
        Feature("pair_logit", "logit of the fine-tuned pair scorer, if it read the pair", "similarity", PAIR_SCORER),
        Feature("pair_rank", "place among the candidates by pair_logit, 0 is best", "similarity", PAIR_SCORER),
    ),
    *_by(
        "spark.counts.popularity",
        Feature("popularity", "log of one plus the events on the item, all time", "popularity"),
        Feature("popularity_lately", "log of one plus the events on the item in the popularity window", "popularity"),
    ),
    *_by(
        "spark.counts.popularity_by_segment",
        Feature("segment_popularity", "the same of users of the same segment, 0 if the user has none", "popularity"),
    ),
    *_by(
        "spark.counts.popularity",
        Feature(
            "trend", "log of the share of the events on the item that fall into the popularity window", "popularity"
        ),
        Feature("recency", "log of one plus the days since the last event on the item, if there is any", "popularity"),
    ),
    *_by(
        "pipelines.night.build_catalogue",
        Feature("age", "log of one plus the days since the item became available, if that is known", "popularity"),
    ),
    *_by(
        "spark.counts.popularity",
        Feature("liked_share", "share of liking events among the events on the item, smoothed", "popularity"),
    ),
    *_by(
        "nn.catalogue.Groups",
        Feature(
            "category_match", "share of the recent items with the item's category, the last counting most", "similarity"
        ),
        Feature("attribute_match", "the same by attributes: brand, creator and the like", "similarity"),
    ),
    *_by(
        "nn.sources.open_sources",
        Feature("again", "one over the place among the user's recent items, the last is 1; 0 if not there", "again"),
    ),
    *_by(
        "spark.users.add_supplied",
        Feature("supplied", "source_score of the candidates table, 0 if not there"),
    ),
    *_by(
        "spark.users.gather_users",
        Feature("history_length", "log of one plus the number of items the user has seen"),
        Feature("idle", "log of one plus the days since the user's last event, if there is any"),
    ),
)

NAMES = tuple(feature.name for feature in FEATURES)
COLUMN = {name: place for place, name in enumerate(NAMES)}
"""Column of the feature matrix by feature name."""
PAIR_FEATURES = tuple(feature.name for feature in FEATURES if feature.signal == PAIR_SCORER)
FEATURE_ALONE = {
    "popularity": "popularity_lately", "co-visitation": "covisitation", "user-based": "userbased", "next": "next",
    "ease": "ease", "als": "als", "lexical": "lexical", "similar": "similar", "sequential": "sequential",
    "dense": "dense", "bert": "pair_logit",
}  # fmt: skip
"""What a ranker goes by that is not the hybrid one, by its name."""


def needs_encoder(ranker: str) -> bool:
    """Tell whether the one feature that a ranker of FEATURE_ALONE goes by comes from the encoder."""
    return FEATURES[COLUMN[FEATURE_ALONE[ranker]]].signal in (BERT, PAIR_SCORER)
