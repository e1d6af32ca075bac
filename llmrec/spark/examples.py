"""Training examples of all users, as nn.examples says, written as Parquet shards that training reads one by one.

An example has user_id, part (which of the user's), text, history, words, positives, others, ratings, positions, seen
and scene (of the first event after the history; null where that is not known). Words come from the ``moments`` of
users.
"""

import math
from collections.abc import Callable
from datetime import date
from pathlib import Path

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from llmrec import columns as C
from llmrec.nn.examples import POSITIONS, RATINGS
from llmrec.nn.positions import UNKNOWN
from llmrec.spark.items import INDEX
from llmrec.spark.paths import place as place_of
from llmrec.spark.splits import LIKES, first_moment
from llmrec.spark.users import MOMENTS, WORDS, at_last_time, items_of, latest, words_before

_ROWS_OF_SHARD = 4096
_SHARD = "shard"
PART = "part"
"""Which of a user's examples one is."""
_HASHES = 1 << 30


def of_likes(users: DataFrame, *, positives: int, history: int) -> DataFrame:
    """Cut each user's liked items into the last ``history`` ones and up to ``positives`` next, all along the way.

    Input: user_id, text, liked, seen, moments; oldest first.
    """
    cuts = _cut(users, "liked", positives)
    next_ = F.get(MOMENTS, F.col("_cut"))
    return _examples(
        cuts,
        history=latest(F.slice("liked", 1, F.col("_cut")), history),
        positives=F.slice("liked", F.col("_cut") + 1, positives),
        at=next_["at"],
        scene=next_[C.SCENE],
    )


def of_events(
    events: DataFrame, users: DataFrame, *, counted: int, positives: int, history: int, by_scene: bool = False
) -> DataFrame:
    """Cut each user's latest ``counted`` items in the same way, whether they were liked or not.

    The history is those that were liked; who has none yet gives no example.

    Input of events: user_id, item, event_time, likes, value, and scene if the examples are wanted ``by_scene``. Input
    of users: user_id, text, seen, moments.
    """
    told = (LIKES, C.VALUE, *([C.SCENE] if by_scene else []))
    last = events.groupBy(C.USER, INDEX).agg(F.max(F.struct(C.EVENT_TIME, *told)).alias("_last"))
    of_last = (F.col("_last")[name].alias(name) for name in told)
    each = F.struct(F.col("_last")[C.EVENT_TIME].alias("at"), INDEX, *of_last)
    taken = last.groupBy(C.USER).agg(latest(F.array_sort(F.collect_list(each)), counted).alias("_events"))
    known = taken.join(users.select(C.USER, C.TEXT, "seen", MOMENTS), on=C.USER, how="inner")
    cuts = _cut(known, "_events", positives)
    before, after = F.slice("_events", 1, F.col("_cut")), F.slice("_events", F.col("_cut") + 1, positives)
    liked, others = F.filter(after, lambda e: e[LIKES]), F.filter(after, lambda e: ~e[LIKES])
    rating = F.transform(F.concat(liked, others), lambda e: F.coalesce(e[C.VALUE].cast("float"), F.lit(math.nan)))
    return _examples(
        cuts,
        history=latest(items_of(F.filter(before, lambda e: e[LIKES])), history),
        positives=items_of(liked),
        others=items_of(others),
        ratings=rating,
        at=F.unix_micros(F.get(after, F.lit(0))["at"]),
        scene=F.get(after, F.lit(0))[C.SCENE] if by_scene else None,
    ).filter(F.size("history") > 0)


def of_impressions(impressions: DataFrame, events: DataFrame, users: DataFrame, *, history: int) -> DataFrame:
    """Make an example of each request: what was clicked, and what was shown and not.

    The history is what the user had liked before; it may be empty.

    Positions count from the smallest of the table. An item that was shown twice stands where it was clicked, or else
    where it came first.

    Input of impressions: request_id, user_id, item, clicked, event_time, position. Input of events: user_id, item,
    event_time, likes. Input of users: user_id, text, seen, moments.
    """
    first = impressions.agg(F.min(C.POSITION).alias("_first"))
    placed = impressions.crossJoin(F.broadcast(first)).withColumn("_place", F.col(C.POSITION) - F.col("_first"))
    clicked_at = F.min(F.when(F.col(C.CLICKED), F.col("_place")))
    once = placed.groupBy(C.REQUEST, C.USER, INDEX).agg(
        F.min(C.EVENT_TIME).alias(C.EVENT_TIME), (~F.max(C.CLICKED)).alias("_passed"),
        F.coalesce(clicked_at, F.min("_place"), F.lit(UNKNOWN)).alias("_place"),
    )  # fmt: skip
    shown = once.groupBy(C.REQUEST, C.USER).agg(
        F.min(C.EVENT_TIME).alias("_at"),
        F.array_sort(F.collect_list(F.struct("_passed", INDEX, "_place"))).alias("_shown"),  # what was clicked first
    )
    liked = events.filter(LIKES).groupBy(C.USER).agg(
        F.array_sort(F.collect_list(F.struct(F.col(C.EVENT_TIME).alias("at"), INDEX))).alias("_liked")
    )  # fmt: skip
    told = users.select(C.USER, C.TEXT, "seen", MOMENTS)
    known = shown.join(liked, on=C.USER, how="left").join(told, on=C.USER, how="left")
    nothing = F.array().cast("array<int>")
    before = F.coalesce(items_of(F.filter("_liked", lambda e: e["at"] < F.col("_at"))), nothing)
    ready = known.withColumns({
        PART: F.col(C.REQUEST), C.TEXT: F.coalesce(C.TEXT, F.lit("")),
        # none of them may be drawn as a negative
        "seen": F.array_union(F.coalesce("seen", nothing), items_of("_shown")),
    })  # fmt: skip
    return _examples(
        ready,
        history=latest(at_last_time(before), history),
        positives=items_of(F.filter("_shown", lambda e: ~e["_passed"])),
        others=items_of(F.filter("_shown", lambda e: e["_passed"])),
        positions=F.transform("_shown", lambda e: e["_place"]),
        at=F.unix_micros("_at"),
    )


def newer(examples: DataFrame, since: date, taken: DataFrame, *, replay: float, seed: int) -> DataFrame:
    """Keep the examples that ask for what users took on the day ``since`` or later, and some of the others.

    Args:
        examples: see above.
        since: the day.
        taken: user_id, item, event_time: what each user took, or was shown.
        replay: the share of the others among what is kept; all of them where they are too few. They are sampled by
            hash, so the share is met about.
        seed: of the sample.
    """
    lately = taken.filter(F.col(C.EVENT_TIME) >= first_moment(since)).groupBy(C.USER).agg(
        F.collect_set(INDEX).alias("_lately")
    )  # fmt: skip
    asked = F.array_union("positives", "others")
    marked = examples.join(lately, on=C.USER, how="left").withColumn(
        "_new", F.coalesce(F.arrays_overlap(asked, "_lately"), F.lit(False))
    )
    counts = {row["_new"]: row["count"] for row in marked.groupBy("_new").count().collect()}
    wanted = counts.get(True, 0) * replay / (1 - replay)
    share = min(wanted / max(counts.get(False, 0), 1), 1.0)
    place = F.pmod(F.xxhash64(F.lit(f"replay-{seed}"), C.USER, PART), F.lit(_HASHES))
    return marked.filter(F.col("_new") | (place < math.ceil(share * _HASHES))).drop("_lately", "_new")


def write_examples(
    examples: DataFrame,
    folder: Path,
    *,
    at_most: int,
    seed: int,
    change: Callable[[DataFrame], DataFrame] | None = None,
) -> int:
    """Write ``examples``, which are read more than once, to ``folder``; return how many there are.

    More than ``at_most`` are sampled by hash: about as many are left. The same examples give the same shards, whatever
    tasks they come from. ``change`` may add columns to those that are left.
    """
    place = F.pmod(F.xxhash64(F.lit(f"examples-{seed}"), C.USER, PART), F.lit(_HASHES))
    placed = examples.withColumn("_place", place)
    share = min(at_most / max(placed.count(), 1), 1.0)
    kept = placed.filter(F.col("_place") < math.ceil(share * _HASHES))
    rows = kept.count()
    kept = change(kept) if change else kept
    shards = max(1, math.ceil(rows / _ROWS_OF_SHARD))
    spread = kept.withColumn(_SHARD, (F.col("_place") % shards).cast("int")).repartition(shards, _SHARD)
    ordered = spread.sortWithinPartitions(_SHARD, "_place", C.USER, PART).drop(C.USER, PART, C.SCENE, "_place")
    ordered.write.partitionBy(_SHARD).parquet(place_of(folder))
    return rows


def _cut(users: DataFrame, items: str, step: int) -> DataFrame:
    """Repeat each user for every ``step``-th place of the array ``items`` at which it can be cut."""
    places = F.sequence(F.lit(1), F.size(items) - 1, F.lit(step))
    return users.filter(F.size(items) > 1).withColumn("_cut", F.explode(places)).withColumn(
        PART, F.col("_cut").cast("string")
    )  # fmt: skip


def _examples(
    rows: DataFrame,
    *,
    history: Column,
    positives: Column,
    at: Column,
    others: Column | None = None,
    ratings: Column | None = None,
    positions: Column | None = None,
    scene: Column | None = None,
) -> DataFrame:
    def array(values: Column | None, kind: str) -> Column:
        return (F.array() if values is None else values).cast(f"array<{kind}>")

    return rows.withColumns({"_moment": at, "_history": history}).select(
        C.USER, PART, C.TEXT, F.col("_history").alias("history"), positives.alias("positives"), "seen",
        words_before(F.col("_history"), F.col("_moment")).alias(WORDS),
        (F.lit(None).cast("string") if scene is None else scene).alias(C.SCENE),
        array(others, "int").alias("others"), array(ratings, "float").alias(RATINGS),
        array(positions, "int").alias(POSITIONS),
    )  # fmt: skip
