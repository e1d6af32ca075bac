import math
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from llmrec.nn.examples import Shards, cut_examples
from llmrec.nn.negatives import Negatives
from llmrec.spark import examples
from llmrec.spark.examples import newer, of_events, of_impressions, of_likes, write_examples
from llmrec.spark.users import gather_users
from tests import tiny

MOMENTS = "moments array<struct<item:int,at:bigint,scene:string,words:string>>"


def learners(spark: SparkSession, count: int, tasks: int) -> tuple[list, object]:
    """Users with 0 to 9 liked items, and the same as a frame of so many tasks."""
    rng = np.random.default_rng(0)
    users = [tiny.user(f"u{n}", rng.permutation(20)[: n % 10].tolist(), text=f"of {n}") for n in range(count)]
    rows = [(user.user_id, user.text, user.liked.tolist(), user.seen.tolist(), []) for user in users]
    schema = f"user_id string, text string, liked array<int>, seen array<int>, {MOMENTS}"
    return users, spark.createDataFrame(rows, schema).repartition(tasks)


def read(folder: Path) -> list[tuple]:
    shop = tiny.catalogue(folder.parent / f"{folder.name}-catalogue", ["red tea"] * 20)
    shards = Shards(folder, lambda _: Negatives(shop, 0, {"random": 1.0}), seed=1)
    return [(e.text, e.history.tolist(), e.positives.tolist(), e.seen.tolist()) for e in shards]


def test_spark_cuts_the_same_examples_as_the_function_for_those_without_it(spark: SparkSession, tmp_path: Path) -> None:
    users, rows = learners(spark, 30, tasks=3)
    count = write_examples(of_likes(rows, positives=2, history=5), tmp_path / "all", at_most=1000, seed=1)
    expected = [
        (e.text, e.history.tolist(), e.positives.tolist(), e.seen.tolist())
        for e in cut_examples(users, positives=2, history=5)
    ]
    assert sorted(read(tmp_path / "all")) == sorted(expected)
    assert count == len(expected)


def test_too_many_examples_are_sampled_and_the_tasks_of_the_input_do_not_matter(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examples, "_ROWS_OF_SHARD", 50)
    counts, samples = [], []
    for tasks in (1, 4):
        _, rows = learners(spark, 300, tasks)
        folder = tmp_path / f"{tasks}"
        counts.append(write_examples(of_likes(rows, positives=2, history=5), folder, at_most=200, seed=1))
        samples.append(read(folder))
    assert counts[0] == counts[1] == len(samples[0])
    assert abs(counts[0] - 200) < 45  # three standard deviations of a sample by hash
    assert samples[0] == samples[1]


def rows(examples: DataFrame) -> list[tuple]:
    names = ("user_id", "part", "text", "history", "positives", "others", "ratings", "seen", "positions")
    return sorted(tuple(row[name] for name in names) for row in examples.collect())


def test_of_events_what_was_not_liked_is_kept_apart_and_both_come_with_ratings(spark: SparkSession) -> None:
    events = spark.createDataFrame(
        [("a", 1, 1, True, 5.0), ("a", 2, 2, False, 1.0), ("a", 3, 3, True, None), ("a", 4, 4, False, 2.0),
         ("a", 5, 5, True, 4.0), ("a", 1, 6, True, 3.0), ("b", 1, 1, False, 1.0), ("b", 2, 2, True, 5.0)],
        "user_id string, item int, day int, likes boolean, value double",
    ).withColumn("event_time", F.timestamp_seconds("day"))  # fmt: skip
    users = spark.createDataFrame(
        [("a", "of a", [1, 2], []), ("b", "", [1, 2], [])], f"user_id string, text string, seen array<int>, {MOMENTS}"
    )
    found = rows(of_events(events, users, counted=9, positives=2, history=2))
    # Item 1 of a stands at its last time; b has liked nothing before the cut.
    assert [row[:6] for row in found] == [("a", "3", "of a", [3], [5, 1], [])]
    assert found[0][6:] == ([4.0, 3.0], [1, 2], [])
    [first, second] = rows(of_events(events.filter("day < 6"), users, counted=9, positives=2, history=2))
    assert (first[3], first[4], first[5]) == ([1], [3], [2])
    assert math.isnan(first[6][0])
    assert first[6][1] == 1.0
    assert (second[3], second[4], second[5], second[6]) == ([1, 3], [5], [4], [4.0, 2.0])


def test_of_impressions_clicks_are_set_against_what_was_shown_with_the_history_before(spark: SparkSession) -> None:
    impressions = spark.createDataFrame(
        [("r1", "a", 7, True, 5, 3), ("r1", "a", 8, False, 5, 2), ("r1", "a", 9, False, 5, None),
         ("r1", "a", 7, False, 5, 1), ("r2", "a", 8, False, 9, 4), ("r2", "a", 8, False, 9, 2),
         ("r3", "new", 7, True, 9, 1)],
        "request_id string, user_id string, item int, clicked boolean, second int, position int",
    ).withColumn("event_time", F.timestamp_seconds("second"))  # fmt: skip
    events = spark.createDataFrame(
        [("a", 1, 1, True), ("a", 2, 2, False), ("a", 3, 3, True), ("a", 1, 4, True), ("a", 4, 5, True)],
        "user_id string, item int, second int, likes boolean",
    ).withColumn("event_time", F.timestamp_seconds("second"))  # fmt: skip
    users = spark.createDataFrame(
        [("a", "of a", [1, 2], [])], f"user_id string, text string, seen array<int>, {MOMENTS}"
    )
    # Item 7 of r1 stands where it was clicked, item 8 of r2 where it came first; places count from the smallest, 1.
    assert rows(of_impressions(impressions, events, users, history=2)) == [
        ("a", "r1", "of a", [3, 1], [7], [8, 9], [], [1, 2, 7, 8, 9], [2, 1, -1]),
        ("a", "r2", "of a", [1, 4], [], [8], [], [1, 2, 8], [1]),
        ("new", "r3", "", [], [7], [], [], [7], [0]),
    ]
    unplaced = impressions.withColumn("position", F.lit(None).cast("int"))
    found = rows(of_impressions(unplaced, events, users, history=2))
    assert [row[-1] for row in found] == [[-1, -1, -1], [-1], [-1]]


def kept_of(spark: SparkSession, replay: float, seed: int = 1) -> list[tuple[str, bool]]:
    """Which examples of 40 users are kept, and whether they ask for what was taken since the 5th."""
    ask = [(f"u{n:02d}", f"{part}", [10 * part + n % 7], [99]) for n in range(40) for part in (1, 2)]
    taken = [(f"u{n:02d}", 10 * part + n % 7, f"2026-01-0{3 * part}") for n in range(40) for part in (1, 2)]
    rows = spark.createDataFrame(ask, "user_id string, part string, positives array<int>, others array<int>")
    events = spark.createDataFrame(taken, "user_id string, item int, day string")
    moments = events.withColumn("event_time", F.col("day").cast("timestamp"))
    kept = newer(rows, date(2026, 1, 5), moments, replay=replay, seed=seed).collect()
    assert all(set(row.asDict()) == {"user_id", "part", "positives", "others"} for row in kept)
    return sorted((row.user_id + row.part, row.part == "2") for row in kept)


def test_what_is_new_is_kept_whole_and_of_the_rest_about_the_share_to_replay(spark: SparkSession) -> None:
    alone, some = kept_of(spark, replay=0.0), kept_of(spark, replay=0.2)
    assert alone == [(f"u{n:02d}2", True) for n in range(40)]
    assert [one for one in some if one[1]] == alone
    assert 2 <= len(some) - len(alone) <= 18  # 10 are wanted, three standard deviations of a sample by hash
    assert kept_of(spark, replay=0.2) == some
    assert len(kept_of(spark, replay=0.99)) == 80


def test_examples_of_a_user_who_took_nothing_lately_are_old(spark: SparkSession) -> None:
    rows = spark.createDataFrame(
        [("a", "1", [1], [])], "user_id string, part string, positives array<int>, others array<int>"
    )
    nothing = spark.createDataFrame([], "user_id string, item int, event_time timestamp")
    assert newer(rows, date(2026, 1, 5), nothing, replay=0.5, seed=1).count() == 0


def test_only_what_was_written_before_the_target_is_read(spark: SparkSession) -> None:
    said = "user_id string, item int, second int, likes boolean, value double, scene string, text string"
    events = spark.createDataFrame(
        [("a", 1, 1, True, None, "x", "one"), ("a", 2, 2, True, None, "x", None),
         ("a", 3, 3, True, None, "x", "three"), ("a", 4, 3, True, None, "y", "four"),
         ("a", 5, 5, True, None, "z", "five"), ("a", 1, 6, True, None, "z", "again")],
        said,
    ).withColumn("event_time", F.timestamp_seconds("second"))  # fmt: skip
    gathered = gather_users(events, until=date(2026, 1, 1), recent=9, counted=9, liked=9, words=50)
    users = gathered.withColumn("text", F.lit(""))

    def told(examples: DataFrame) -> list[tuple]:
        names = ("history", "words", "positives", "scene")
        return sorted(tuple(row[name] for name in names) for row in examples.collect())

    # 3 and 4 were written on at one moment, so neither says anything of the other; 1 stands where it was taken again.
    expected = [
        ([2], [], [3], "x"),
        ([2, 3], [], [4], "y"),
        ([2, 3, 4], ["", "three", "four"], [5], "z"),
        ([2, 3, 4, 5], ["", "three", "four", "five"], [1], "z"),
    ]
    assert told(of_likes(users, positives=1, history=9)) == expected
    assert told(of_events(events, users, counted=9, positives=1, history=9, by_scene=True)) == expected
    shown = spark.createDataFrame(
        [("r1", "a", 7, True, 3, 1), ("r2", "a", 7, True, 4, 1), ("r3", "new", 7, True, 4, 1)],
        "request_id string, user_id string, item int, clicked boolean, second int, position int",
    ).withColumn("event_time", F.timestamp_seconds("second"))  # fmt: skip
    assert told(of_impressions(shown, events, users, history=9)) == [
        ([], [], [7], None),
        ([1, 2], [], [7], None),
        ([1, 2, 3, 4], ["", "", "three", "four"], [7], None),
    ]
