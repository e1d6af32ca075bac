"""Which events are history, and which are held out to learn or judge from."""

from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F

from llmrec import columns as C

LIKES = "likes"
PART = "part"
TRAIN, VALIDATION, TEST = "train", "validation", "test"

_ENOUGH = 3
"""A user is held out from only with this many times the held-out events, so that training and validation keep some."""


def likes(events: list[str], min_value: float | None) -> Column:
    """Say whether an event tells that the user likes the item; a null value counts."""
    liking = F.col(C.EVENT).isin(events) if events else F.lit(True)
    if min_value is not None:
        liking = liking & (F.col(C.VALUE).isNull() | (F.col(C.VALUE) >= min_value))
    return liking


def before(events: DataFrame, run_date: date) -> DataFrame:
    """Keep the events that a run of ``run_date`` may read: those before its first moment, UTC."""
    return events.filter(F.col(C.EVENT_TIME) < first_moment(run_date))


def first_moment(day: date) -> Column:
    """Return the first moment of a day, UTC."""
    return F.lit(day.isoformat()).cast("timestamp")


def days_before(day: date, moment: Column) -> Column:
    """Return the days from a moment to the first of a day, fractions too; 0 if it is later."""
    seconds = first_moment(day).cast("double") - moment.cast("double")
    return (F.greatest(seconds, F.lit(0.0)) / 86_400).cast("float")


def split_by_time(events: DataFrame, run_date: date, days: int) -> DataFrame:
    """Add ``part``: the last ``days`` before the run date are test, as many before them validation."""
    test_from = first_moment(run_date - timedelta(days=days))
    validation_from = first_moment(run_date - timedelta(days=2 * days))
    return events.withColumn(PART, _part(validation_from, test_from))


def split_by_last_events(events: DataFrame, count: int) -> DataFrame:
    """Add ``part``: from each user's ``count``-th last liking event on test, as many before them validation.

    Users with fewer than 3 * ``count`` liking events are all training. ``events`` has the column ``likes``.
    """
    latest_first = W.partitionBy(C.USER).orderBy(F.col(LIKES).desc(), F.col(C.EVENT_TIME).desc(), F.col(C.ITEM).desc())
    everything = W.partitionBy(C.USER)
    number = F.when(F.col(LIKES), F.row_number().over(latest_first))
    numbered = events.withColumn("_number", number).withColumn(
        "_liked", F.sum(F.col(LIKES).cast("int")).over(everything)
    )
    starts = {
        "_test_from": F.min(F.when(F.col("_number") <= count, F.col(C.EVENT_TIME))).over(everything),
        "_validation_from": F.min(F.when(F.col("_number") <= 2 * count, F.col(C.EVENT_TIME))).over(everything),
    }
    enough = F.col("_liked") >= _ENOUGH * count
    part = F.when(enough, _part(F.col("_validation_from"), F.col("_test_from"))).otherwise(TRAIN)
    return numbered.withColumns(starts).withColumn(PART, part).drop("_number", "_liked", *starts)


def _part(validation_from: Column, test_from: Column) -> Column:
    moment = F.col(C.EVENT_TIME)
    return F.when(moment < validation_from, TRAIN).when(moment < test_from, VALIDATION).otherwise(TEST)
