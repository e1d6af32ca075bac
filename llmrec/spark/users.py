"""One row per user: what was liked, taken and seen, as arrays of item indexes."""

from datetime import date

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from llmrec import columns as C
from llmrec.domain.users import User
from llmrec.spark.items import AVAILABLE, INDEX
from llmrec.spark.splits import LIKES, days_before, first_moment

COUNTED = "counted"
STEPS = "steps"
TARGETS = "targets"
_READ = (C.USER, "liked", "recent", "seen", "excluded", C.TEXT, "supplied", C.SEGMENT, "idle_days")


def gather_users(
    events: DataFrame, *, until: date, recent: int, counted: int, liked: int, again_before: date | None = None
) -> DataFrame:
    """Gather each user's events.

    Input:  user_id, item, event_time, likes.
    Output: user_id, liked (the latest ``liked`` liked items), recent (the latest ``recent`` items), counted (distinct
            among the latest ``counted``), seen (all items, distinct), excluded (those not last taken before the day
            ``again_before``; all, if that is None); oldest first, an item taken twice stands at its last time.
            steps: the latest ``counted`` events, an item as often as it was taken; if items are not recommended again
            (``again_before`` is None), several in a row count once. idle_days: from the last event to ``until``.
    """
    # Events of one moment are ordered by item, so that a run repeated reads the same history.
    ordered = F.array_sort(F.collect_list(F.struct(F.col(C.EVENT_TIME).alias("at"), INDEX, LIKES)))
    gathered = events.groupBy(C.USER).agg(ordered.alias("_events"))
    taken = gathered.withColumn("_items", items_of("_events")).withColumn("seen", at_last_time("_items"))
    liked_items = F.array_intersect("seen", items_of(F.filter("_events", lambda event: event[LIKES])))
    excluded = F.col("seen")
    if again_before is not None:
        lately = F.filter("_events", lambda event: event["at"] >= first_moment(again_before))
        excluded = F.array_intersect("seen", items_of(lately))
    return taken.select(
        C.USER,
        latest(liked_items, liked).alias("liked"),
        latest(F.col("seen"), recent).alias("recent"),
        latest(F.col("seen"), counted).alias(COUNTED),
        latest(_in_a_row_once("_items") if again_before is None else F.col("_items"), counted).alias(STEPS),
        "seen",
        excluded.alias("excluded"),
        days_before(until, F.element_at("_events", -1)["at"]).alias("idle_days"),
    )


def items_of(events: Column | str) -> Column:
    """Return the items of an array of events."""
    return F.transform(events, lambda event: event[INDEX])


def at_last_time(items: Column | str) -> Column:
    """Return distinct items, each where it stands for the last time."""
    return F.reverse(F.array_distinct(F.reverse(items)))


def _in_a_row_once(items: str) -> Column:
    # Compared with the column itself: what is computed would be computed again for each item.
    return F.filter(
        items, lambda item, place: (place == 0) | (item != F.element_at(items, F.greatest(place, F.lit(1))))
    )


def latest(items: Column, count: int) -> Column:
    """Return the last ``count`` of an array."""
    return F.slice(items, F.greatest(F.size(items) - count + 1, F.lit(1)), F.lit(count))


def add_profiles(gathered: DataFrame, users: DataFrame) -> DataFrame:
    """Add profile texts and segments, and the users without events; arrays and texts are empty if there is nothing."""
    joined = gathered.join(users.select(C.USER, C.TEXT, C.SEGMENT), on=C.USER, how="full")
    nothing = F.array().cast("array<int>")
    filled = {name: F.coalesce(name, nothing) for name in ("liked", "recent", COUNTED, STEPS, "seen", "excluded")}
    return joined.withColumns({**filled, **{name: F.coalesce(name, F.lit("")) for name in (C.TEXT, C.SEGMENT)}})


def add_supplied(users: DataFrame, candidates: DataFrame, at_most: int) -> DataFrame:
    """Add ``supplied``: each user's best candidates of the user-supplied table, as structs of item and score.

    Input of candidates: user_id, item, source_score. No score, or NaN, is 0. Users without candidates get an
    empty array.
    """
    best = F.array_sort(F.collect_list(F.struct((-F.col("score")).alias("order"), INDEX, "score")))
    supplied = (
        candidates.groupBy(C.USER, INDEX)
        .agg(F.max(F.nanvl(F.coalesce(C.SOURCE_SCORE, F.lit(0.0)), F.lit(0.0))).cast("float").alias("score"))
        .groupBy(C.USER)
        .agg(F.slice(best, 1, at_most).alias("_best"))
        .select(C.USER, F.transform("_best", lambda c: F.struct(c[INDEX], c["score"])).alias("supplied"))
    )
    empty = F.array().cast("array<struct<item:int,score:float>>")
    return users.join(supplied, on=C.USER, how="left").withColumn("supplied", F.coalesce("supplied", empty))


def exclude_denied(users: DataFrame, denied: DataFrame) -> DataFrame:
    """Add to ``excluded`` what a user is never to be given; input of denied: user_id, item."""
    lists = denied.groupBy(C.USER).agg(F.collect_set(INDEX).alias("_denied"))
    both = F.array_union("excluded", F.coalesce("_denied", F.array().cast("array<int>")))
    return users.join(lists, on=C.USER, how="left").withColumn("excluded", both).drop("_denied")


def add_targets(users: DataFrame, held_out: DataFrame) -> DataFrame:
    """Keep the users with held-out liked items that may be recommended to them; add these as ``targets``.

    Input of held_out: user_id, item, likes, available: what may not be recommended cannot be asked for.
    """
    liked = (
        held_out.filter(F.col(LIKES) & F.col(AVAILABLE))
        .groupBy(C.USER)
        .agg(F.array_sort(F.collect_set(INDEX)).alias("_held_out"))
    )
    with_targets = users.join(liked, on=C.USER, how="inner").withColumn(
        TARGETS, F.array_except("_held_out", "excluded")
    )
    return with_targets.filter(F.size(TARGETS) > 0).drop("_held_out")


def sample_users(users: DataFrame, at_most: int, salt: str, share: tuple[float, float] = (0.0, 1.0)) -> DataFrame:
    """Keep at most ``at_most`` users, chosen by a hash of their id, from one slice of the hash's range.

    Disjoint slices give disjoint samples, and the same user falls into the same slice on every run.
    """
    place = F.pmod(F.xxhash64(F.lit(salt), C.USER), F.lit(1_000_000)) / 1_000_000
    low, high = share
    within = users.withColumn("_place", place).filter((F.col("_place") >= low) & (F.col("_place") < high))
    return within.orderBy("_place", C.USER).limit(at_most).drop("_place")


def in_tasks(users: DataFrame, tasks: int) -> DataFrame:
    """Spread users over ``tasks``; each task reads them in the same order on every run, whatever shuffle came first."""
    return users.repartition(tasks, C.USER).sortWithinPartitions(C.USER)


def to_users(rows: pd.DataFrame) -> list[User]:
    """Turn rows of the frames above into users."""
    return [
        User(
            user_id=user_id,
            liked=np.asarray(liked, np.int32),
            recent=np.asarray(recent, np.int32),
            seen=np.asarray(seen, np.int32),
            excluded=np.asarray(excluded, np.int32),
            text=text,
            supplied={int(candidate["item"]): float(candidate["score"]) for candidate in supplied},
            segment=segment,
            idle_days=float("nan") if idle is None else float(idle),
        )
        for user_id, liked, recent, seen, excluded, text, supplied, segment, idle in zip(
            *(rows[name] for name in _READ), strict=True
        )
    ]
