"""One row per user: what was liked, taken and seen, as arrays of item indexes."""

from collections.abc import Sequence
from datetime import date

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from llmrec import columns as C
from llmrec.domain.templates import names
from llmrec.domain.users import User
from llmrec.spark.items import AVAILABLE, INDEX
from llmrec.spark.splits import LIKES, days_before, first_moment
from llmrec.spark.texts import user_text

COUNTED = "counted"
STEPS = "steps"
TARGETS = "targets"
MOMENTS = "moments"
WORDS = "words"
_LIKED, _LATELY = "liked_item", "late_item"
"""Of an event: its item if the user liked it, and if it was taken too lately to be recommended again; else null."""
_READ = (C.USER, "liked", "recent", "seen", "excluded", C.TEXT, "supplied", C.SEGMENT, "idle_days", MOMENTS)


def gather_users(
    events: DataFrame,
    *,
    until: date,
    recent: int,
    counted: int,
    liked: int,
    again_before: date | None = None,
    words: int | None = None,
) -> DataFrame:
    """Gather each user's events.

    Input:  user_id, item, event_time, likes; scene and text if ``words`` is given.
    Output: user_id, liked (the latest ``liked`` liked items), recent (the latest ``recent`` items), counted (distinct
            among the latest ``counted``), seen (all items, distinct), excluded (those not last taken before the day
            ``again_before``; all, if that is None); oldest first, an item taken twice stands at its last time.
            steps: the items of the latest ``counted`` events, as often as they were taken. idle_days: from the last
            event to ``until``.
            moments: empty, or of each liked item, in their order, the time (microseconds) and scene of its last event
            and the first ``words`` characters that the user last wrote on liking it.
    """
    # Events of one moment are ordered by item, so that a run repeated reads the same history.
    told = () if words is None else (C.SCENE, F.substring(C.TEXT, 1, words).alias(WORDS))
    # An array's field is read at once, where a function of each event would be called so many times.
    named = [F.when(F.col(LIKES), F.col(INDEX)).alias(_LIKED)]
    if again_before is not None:
        named.append(F.when(F.col(C.EVENT_TIME) >= first_moment(again_before), F.col(INDEX)).alias(_LATELY))
    ordered = F.array_sort(F.collect_list(F.struct(F.col(C.EVENT_TIME).alias("at"), INDEX, *named, *told)))
    gathered = events.groupBy(C.USER).agg(ordered.alias("_events"))
    taken = gathered.withColumn("_items", items_of("_events")).withColumn("seen", at_last_time("_items"))
    liked_items = F.array_intersect("seen", items_of("_events", _LIKED))
    excluded = F.col("seen") if again_before is None else F.array_intersect("seen", items_of("_events", _LATELY))
    return taken.withColumn("liked", latest(liked_items, liked)).select(
        C.USER,
        "liked",
        latest(F.col("seen"), recent).alias("recent"),
        latest(F.col("seen"), counted).alias(COUNTED),
        latest(F.col("_items"), counted).alias(STEPS),
        "seen",
        excluded.alias("excluded"),
        days_before(until, F.element_at("_events", -1)["at"]).alias("idle_days"),
        (no_moments() if words is None else F.transform("liked", _moment)).alias(MOMENTS),
    )


def no_moments() -> Column:
    """Return the moments of who wrote nothing that is read."""
    return F.array().cast(f"array<struct<item:int,at:bigint,{C.SCENE}:string,{WORDS}:string>>")


def _moment(item: Column) -> Column:
    """Say of a liked item when and where it was last taken, and what the user wrote on it."""
    own = F.filter("_events", lambda event: event[INDEX] == item)
    wrote = F.filter(own, lambda event: event[_LIKED].isNotNull() & (event[WORDS] != ""))
    last = F.element_at(own, -1)
    return F.struct(
        item.alias(INDEX),
        F.unix_micros(last["at"]).alias("at"),
        last[C.SCENE].alias(C.SCENE),
        F.try_element_at(wrote, F.lit(-1))[WORDS].alias(WORDS),
    )


def words_before(history: Column, at: Column) -> Column:
    """Return what was written on each item of ``history`` before the moment ``at``, "" for nothing; empty if nothing.

    What is written at that very moment may be about what was taken then, so it does not count.
    """
    told = F.filter(MOMENTS, lambda one: (one["at"] < at) & (one[WORDS] != ""))
    said = F.transform(
        history, lambda item: F.try_element_at(F.filter(told, lambda one: one[INDEX] == item), F.lit(-1))[WORDS]
    )
    none = F.array().cast("array<string>")
    return F.when(F.size(told) > 0, F.transform(said, lambda text: F.coalesce(text, F.lit("")))).otherwise(none)


def items_of(events: Column | str, named: str = INDEX) -> Column:
    """Return the items of an array of events, or what they are ``named``."""
    return (F.col(events) if isinstance(events, str) else events).getField(named)


def at_last_time(items: Column | str) -> Column:
    """Return distinct items, each where it stands for the last time."""
    return F.reverse(F.array_distinct(F.reverse(items)))


def latest(items: Column, count: int) -> Column:
    """Return the last ``count`` of an array."""
    return F.slice(items, F.greatest(F.size(items) - count + 1, F.lit(1)), F.lit(count))


def add_profiles(gathered: DataFrame, users: DataFrame, template: Sequence[str], scene: str) -> DataFrame:
    """Add what users' texts begin with, by ``template``, and segments; and the users without events.

    Arrays and texts are empty if there is nothing. Input of users: as of `add_texts`.
    """
    joined = add_texts(gathered, users, template, F.lit(scene), how="full")
    nothing = F.array().cast("array<int>")
    filled = {name: F.coalesce(name, nothing) for name in ("liked", "recent", COUNTED, STEPS, "seen", "excluded")}
    empty = {MOMENTS: F.coalesce(MOMENTS, no_moments()), C.SEGMENT: F.coalesce(C.SEGMENT, F.lit(""))}
    return joined.withColumns({**filled, **empty})


def add_texts(
    rows: DataFrame, users: DataFrame, template: Sequence[str], scene: Column, *, how: str = "left"
) -> DataFrame:
    """Join to ``rows`` the segment of the user and ``text``, what the user's text begins with in ``scene``.

    Input of users: user_id, text, segment, and attributes if ``template`` names one.
    """
    told = [C.USER, C.TEXT, C.SEGMENT, *([C.ATTRIBUTES] if names(template, C.ATTRIBUTES) else [])]
    joined = rows.join(users.select(*told), on=C.USER, how=how)
    return joined.withColumn(C.TEXT, user_text(template, scene)).drop(C.ATTRIBUTES)


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


def bucket_of(buckets: int) -> Column:
    """Return the task, of so many as there are ``buckets``, to which `in_tasks` deals out a user_id."""
    return F.pmod(F.hash(C.USER), F.lit(buckets))


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
            words={int(moment["item"]): moment[WORDS] for moment in moments if moment[WORDS]},
        )
        for user_id, liked, recent, seen, excluded, text, supplied, segment, idle, moments in zip(
            *(rows[name] for name in _READ), strict=True
        )
    ]
