"""What fine-tuning learns from, as the configuration says."""

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from llmrec import columns as C
from llmrec.errors import InputTableError
from llmrec.nn.negatives import NEAR
from llmrec.nn.ratings import RatingScale
from llmrec.settings import Config
from llmrec.spark import examples
from llmrec.spark.items import INDEX
from llmrec.spark.splits import PART, TRAIN, first_moment


def choose_examples(
    parts: DataFrame,
    users: DataFrame,
    impressions: DataFrame | None,
    items: DataFrame,
    until: date,
    config: Config,
    since: date | None = None,
) -> DataFrame:
    """Return the examples of the training period; see spark.examples.

    Args:
        parts: events with ``part``.
        users: user rows of the training events.
        impressions: the table, needed where the configuration learns from it.
        items: the night's.
        until: the day before which the training period ends for all.
        config: says what is learned from.
        since: if given, only what was taken or shown from this day on is asked for, and ``train.replay`` of the rest.

    Raises ValueError if the table of impressions is needed and not given.
    """
    settings, history = config.train, max(config.texts.history_items, NEAR)
    learning = parts.filter(F.col(PART) == TRAIN)
    taken = learning
    if settings.learn_from == "likes":
        chosen = examples.of_likes(users, positives=settings.positives, history=history)
    elif settings.learn_from == "events":
        counted = config.candidates.covisitation_events
        chosen = examples.of_events(learning, users, counted=counted, positives=settings.positives, history=history)
    elif impressions is None:
        raise ValueError("train.learn_from is impressions, expected the table of them")
    else:
        taken = _shown_in_training(parts, impressions, items, until)
        chosen = examples.of_impressions(taken, learning, users, history=history)
    if since is None:
        return chosen
    return examples.newer(chosen, since, taken, replay=settings.replay, seed=settings.seed)


def _shown_in_training(parts: DataFrame, impressions: DataFrame, items: DataFrame, until: date) -> DataFrame:
    """Keep what was shown before the training period ended, for all and for each user."""
    held_out = parts.filter(F.col(PART) != TRAIN).groupBy(C.USER).agg(F.min(C.EVENT_TIME).alias("_held_out"))
    end = F.least(F.coalesce("_held_out", first_moment(until)), first_moment(until))
    shown = impressions.join(items.select(C.ITEM, INDEX), on=C.ITEM, how="inner")
    return shown.join(held_out, on=C.USER, how="left").filter(F.col(C.EVENT_TIME) < end)


def rating_scale(chosen: DataFrame) -> RatingScale:
    """Return the scale of the ratings of examples.

    Raises InputTableError if there are not two different ones.
    """
    rating = chosen.select(F.explode("ratings").alias("rating")).filter(~F.isnan("rating"))
    found = rating.agg(F.avg("rating"), F.stddev_pop("rating")).head()
    if found is None or not found[1]:
        raise InputTableError(
            f"events: ratings are all {found[0] if found else None}, expected different ones to learn"
        )
    return RatingScale(*(float(one) for one in found))
