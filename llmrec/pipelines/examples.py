"""What fine-tuning learns from, as the configuration says."""

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from llmrec import columns as C
from llmrec.errors import InputTableError
from llmrec.nn.negatives import NEAR
from llmrec.nn.ratings import RatingScale
from llmrec.pipelines.night import Night
from llmrec.settings.config import Config
from llmrec.spark import examples
from llmrec.spark.items import INDEX
from llmrec.spark.splits import PART, TRAIN, first_moment
from llmrec.spark.users import add_texts


def choose_examples(
    parts: DataFrame,
    users: DataFrame,
    impressions: DataFrame | None,
    night: Night,
    until: date,
    config: Config,
    since: date | None = None,
) -> DataFrame:
    """Return the examples of the training period; see spark.examples.

    Where the user's text names the scene, it is that of each example.

    Args:
        parts: events with ``part``.
        users: user rows of the training events.
        impressions: the table, needed where the configuration learns from it.
        night: gives the items and the profiles.
        until: the day before which the training period ends for all.
        config: says what is learned from.
        since: if given, only what was taken or shown from this day on is asked for, and ``train.replay`` of the rest.

    Raises ValueError if the table of impressions is needed and not given.
    """
    settings, texts = config.train, config.texts
    history = max(texts.history_items, NEAR)
    learning = parts.filter(F.col(PART) == TRAIN)
    taken = learning
    if settings.learn_from == "likes":
        chosen = examples.of_likes(users, positives=settings.positives, history=history)
    elif settings.learn_from == "events":
        chosen = examples.of_events(
            learning, users, counted=config.candidates.covisitation_events, positives=settings.positives,
            history=history, by_scene=texts.by_scene,
        )  # fmt: skip
    elif impressions is None:
        raise ValueError("train.learn_from is impressions, expected the table of them")
    else:
        taken = _shown_in_training(parts, impressions, night.items, until)
        chosen = examples.of_impressions(taken, learning, users, history=history)
    if since is not None:
        chosen = examples.newer(chosen, since, taken, replay=settings.replay, seed=settings.seed)
    if not texts.by_scene:
        return chosen
    in_scene = add_texts(chosen.drop(C.TEXT), night.users, texts.user_template, F.col(C.SCENE))
    return in_scene.select(*chosen.columns)


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
    found = rating.agg(F.avg("rating"), F.stddev_pop("rating"), F.min("rating"), F.max("rating")).head()
    if found is None or not found[1]:
        raise InputTableError(
            f"events: ratings are all {found[0] if found else None}, expected different ones to learn"
        )
    return RatingScale(*(float(one) for one in found))
