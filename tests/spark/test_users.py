from datetime import date, datetime, timezone

import numpy as np
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from llmrec.spark.users import (
    add_profiles,
    add_supplied,
    add_targets,
    exclude_denied,
    gather_users,
    sample_users,
    to_users,
)

UNTIL = date(2026, 1, 10)


def events(spark: SparkSession, *rows: tuple[str, int, int, bool]):
    moments = [(user, item, datetime(2026, 1, day, tzinfo=timezone.utc), liked) for user, item, day, liked in rows]
    return spark.createDataFrame(moments, "user_id string, item int, event_time timestamp, likes boolean")


def test_history_is_oldest_first_without_repeats_and_cut_to_the_latest(spark: SparkSession) -> None:
    rows = [("u", 5, 1, True), ("u", 3, 2, True), ("u", 9, 3, False), ("u", 5, 4, False), ("u", 1, 4, True)]
    [user] = gather_users(events(spark, *rows), until=UNTIL, recent=2, counted=3, liked=2).collect()
    assert user["seen"] == [3, 9, 1, 5]  # 5 stands at its last time; the tie of day 4 is ordered by item
    assert user["recent"] == [1, 5]
    assert user["counted"] == [9, 1, 5]
    assert user["liked"] == [1, 5]  # 5 was liked once, so it counts as liked
    assert user["idle_days"] == 6


def test_steps_hold_an_item_as_often_as_it_was_taken(spark: SparkSession) -> None:
    rows = [("u", item, day, True) for day, item in enumerate((5, 3, 3, 5, 9, 9, 5), start=1)]

    def steps(counted: int) -> list[int]:
        [user] = gather_users(events(spark, *rows), until=UNTIL, recent=9, counted=counted, liked=9).collect()
        return user["steps"]

    assert steps(9) == [5, 3, 3, 5, 9, 9, 5]
    assert steps(3) == [9, 9, 5]


def test_items_had_long_ago_are_not_excluded(spark: SparkSession) -> None:
    rows = [("u", 5, 1, True), ("u", 3, 2, True), ("u", 9, 3, False), ("u", 5, 4, False)]

    def excluded(again_before: date | None) -> list[int]:
        sizes = {"until": UNTIL, "recent": 9, "counted": 9, "liked": 9}
        [user] = gather_users(events(spark, *rows), **sizes, again_before=again_before).collect()
        return user["excluded"]

    assert excluded(None) == [3, 9, 5]
    assert excluded(date(2026, 1, 3)) == [9, 5]  # 5 was taken on the first day, and on the fourth
    assert excluded(date(2026, 1, 5)) == []


def test_what_is_denied_to_a_user_is_excluded_for_that_user_alone(spark: SparkSession) -> None:
    users = gather_users(events(spark, ("u", 1, 1, True), ("v", 1, 1, True)), until=UNTIL, recent=5, counted=5, liked=5)
    denied = spark.createDataFrame([("u", 7), ("u", 1), ("gone", 3)], "user_id string, item int")
    found = {row["user_id"]: row["excluded"] for row in exclude_denied(users, denied).collect()}
    assert {user: sorted(items) for user, items in found.items()} == {"u": [1, 7], "v": [1]}


def test_users_known_by_their_profile_alone_are_kept(spark: SparkSession) -> None:
    gathered = gather_users(events(spark, ("u", 1, 1, True)), until=UNTIL, recent=5, counted=5, liked=5)
    profiles = spark.createDataFrame([("new", "likes tea", "gardeners")], "user_id string, text string, segment string")
    candidates = spark.createDataFrame([], "user_id string, item int, source_score double")
    found = {
        u.user_id: u
        for u in to_users(
            add_supplied(add_profiles(gathered, profiles, ["{profile}"], "home"), candidates, 5).toPandas()
        )
    }
    assert found["new"].without_history
    assert found["new"].text == "likes tea"
    assert (found["new"].segment, found["u"].segment, found["u"].text) == ("gardeners", "", "")
    assert (np.isnan(found["new"].idle_days), found["u"].idle_days) == (True, 9)
    assert found["u"].liked.tolist() == [1]


def test_supplied_candidates_keep_the_best_scores(spark: SparkSession) -> None:
    users = spark.createDataFrame([("u",), ("v",)], "user_id string")
    rows = [("u", 4, 0.1), ("u", 2, 0.9), ("u", 2, 0.3), ("u", 2, float("nan")), ("u", 7, None), ("gone", 1, 1.0)]
    candidates = spark.createDataFrame(rows, "user_id string, item int, source_score double")
    found = {row["user_id"]: row["supplied"] for row in add_supplied(users, candidates, 2).collect()}
    assert [(c["item"], round(c["score"], 3)) for c in found["u"]] == [(2, 0.9), (4, 0.1)]
    assert found["v"] == []


def test_targets_are_liked_held_out_items_that_are_not_excluded(spark: SparkSession) -> None:
    users = gather_users(events(spark, ("u", 1, 1, True), ("v", 1, 1, True)), until=UNTIL, recent=5, counted=5, liked=5)
    rows = [("u", 1, 5, True), ("u", 2, 5, True), ("u", 3, 5, False), ("u", 4, 5, True), ("v", 1, 5, True)]
    held_out = events(spark, *rows).withColumn("available", F.col("item") != 4)
    found = {row["user_id"]: row["targets"] for row in add_targets(users, held_out).collect()}
    assert found == {"u": [2]}
    users = users.withColumn("excluded", F.array().cast("array<int>"))
    found = {row["user_id"]: row["targets"] for row in add_targets(users, held_out).collect()}
    assert found == {"u": [1, 2], "v": [1]}


def test_samples_are_stable_bounded_and_disjoint_by_slice(spark: SparkSession) -> None:
    users = spark.createDataFrame([(f"u{n}",) for n in range(200)], "user_id string")

    def chosen(at_most: int, share: tuple[float, float]) -> set[str]:
        return {row["user_id"] for row in sample_users(users, at_most, "salt", share).collect()}

    first, rest = chosen(1000, (0.0, 0.3)), chosen(1000, (0.3, 1.0))
    assert not first & rest
    assert len(first | rest) == 200
    assert chosen(20, (0.0, 1.0)) == chosen(20, (0.0, 1.0))
    assert len(chosen(20, (0.0, 1.0))) == 20


SAID = "user_id string, item int, day int, likes boolean, scene string, text string"


def test_moments_tell_what_was_last_written_on_a_liked_item_and_where_it_was_last_taken(spark: SparkSession) -> None:
    rows = [
        ("u", 5, 1, True, "home", "long ago"), ("u", 5, 2, True, "shop", "well made, indeed"),
        ("u", 5, 3, False, "cart", "seen"), ("u", 3, 4, True, None, None), ("u", 9, 5, False, "home", "awful"),
        ("v", 1, 1, False, None, "awful"),
    ]  # fmt: skip
    said = spark.createDataFrame(rows, SAID).withColumn("event_time", F.timestamp_seconds("day"))
    sizes = {"until": UNTIL, "recent": 9, "counted": 9, "liked": 9}
    found = {row["user_id"]: row["moments"] for row in gather_users(said, **sizes, words=9).collect()}
    assert [tuple(one) for one in found["u"]] == [(5, 3_000_000, "cart", "well made"), (3, 4_000_000, None, None)]
    assert found["v"] == []
    unread = gather_users(said.drop("scene", "text"), **sizes).collect()
    assert [row["moments"] for row in unread] == [[], []]


def test_a_user_is_told_with_attributes_scene_and_own_words(spark: SparkSession) -> None:
    rows = [("u", 5, 1, True, "home", "well made"), ("u", 3, 4, True, None, None)]
    said = spark.createDataFrame(rows, SAID).withColumn("event_time", F.timestamp_seconds("day"))
    gathered = gather_users(said, until=UNTIL, recent=9, counted=9, liked=9, words=20)
    schema = "user_id string, text string, segment string, attributes map<string,string>"
    profiles = spark.createDataFrame([("new", "likes tea", None, {"age": "30"})], schema)
    known = add_profiles(gathered, profiles, ["{attributes[age]}", "at {scene}", "{profile}"], "home")
    candidates = spark.createDataFrame([], "user_id string, item int, source_score double")
    found = {one.user_id: one for one in to_users(add_supplied(known, candidates, 5).toPandas())}
    assert (found["new"].text, found["u"].text) == ("30. at home. likes tea", "at home")
    assert (found["new"].words, found["u"].words) == ({}, {5: "well made"})
