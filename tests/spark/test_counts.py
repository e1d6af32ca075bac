from datetime import date, datetime, timezone

import numpy as np
import pytest
from pyspark.sql import SparkSession

from llmrec.spark.counts import (
    count_takers,
    covisitation,
    followers,
    popularity,
    popularity_by_segment,
    taken_by_alike,
    together,
)


def test_popularity_counts_all_events_recent_ones_and_likes(spark: SparkSession) -> None:
    rows = [(0, day, liked) for day, liked in ((1, True), (20, False), (25, True))] + [(1, 2, False)]
    events = spark.createDataFrame(
        [(item, datetime(2026, 1, day, tzinfo=timezone.utc), liked) for item, day, liked in rows],
        "item int, event_time timestamp, likes boolean",
    )
    found = {row["item"]: row for row in popularity(events, date(2026, 1, 31), window_days=14).collect()}
    assert (found[0]["taken"], found[0]["taken_lately"], found[0]["liked"]) == (3, 2, 2)
    assert (found[1]["taken"], found[1]["taken_lately"], found[1]["liked"]) == (1, 0, 0)
    assert [found[item]["idle"] for item in (0, 1)] == [6, 29]


def test_popularity_of_a_segment_counts_its_own_users_lately(spark: SparkSession) -> None:
    taken = [("a", 0, 1), ("a", 1, 20), ("b", 1, 25), ("b", 2, 25), ("c", 3, 25), ("gone", 4, 25), ("a", 5, 25)]
    events = spark.createDataFrame(
        [(user, item, datetime(2026, 1, day, tzinfo=timezone.utc)) for user, item, day in taken],
        "user_id string, item int, event_time timestamp",
    )
    users = spark.createDataFrame([("a", "x"), ("b", "x"), ("c", "y"), ("d", None)], "user_id string, segment string")
    found = popularity_by_segment(events, users, date(2026, 1, 31), window_days=14, most=2).collect()
    assert sorted((row["segment"], row["item"], round(float(np.expm1(row["weight"])))) for row in found) == [
        ("x", 1, 2), ("x", 2, 1), ("y", 3, 1),
    ]  # fmt: skip


def test_covisitation_is_the_cosine_of_the_sets_of_users(spark: SparkSession) -> None:
    rng = np.random.default_rng(0)
    taken = rng.random((40, 12)) < 0.3
    users = spark.createDataFrame([(np.flatnonzero(row).tolist(),) for row in taken], "counted array<int>").repartition(
        3
    )
    found = {
        (r["item"], r["neighbour"]): r["weight"]
        for r in covisitation(users, count_takers(users, 12), neighbours=12).collect()
    }
    both = taken.T.astype(float) @ taken
    expected = both / np.sqrt(np.outer(taken.sum(0), taken.sum(0)))
    assert set(found) == {(a, b) for a in range(12) for b in range(12) if a != b and both[a, b]}
    for (item, neighbour), weight in found.items():
        assert abs(weight - expected[item, neighbour]) < 1e-6


def test_summed_over_a_users_items_it_is_user_based_filtering(spark: SparkSession) -> None:
    taken = np.random.default_rng(3).random((40, 12)) < 0.3
    taken = taken[taken.any(1)]
    rows = [(np.flatnonzero(row).tolist(),) for row in taken]
    users = spark.createDataFrame(rows, "counted array<int>").repartition(3)
    weights = np.zeros((12, 12))
    for row in taken_by_alike(users, neighbours=12).collect():
        weights[row["item"], row["neighbour"]] = row["weight"]
    lengths = np.sqrt(taken.sum(1))
    for user in taken.astype(float):
        alike = (taken @ user) / (lengths * np.sqrt(user.sum()))  # (users,) cosine with each
        others = user == 0
        expected = (alike @ taken)[others]
        assert (user @ weights)[others] / np.sqrt(user.sum()) == pytest.approx(expected, abs=1e-5)


def test_covisitation_keeps_the_strongest_neighbours_and_orders_ties_by_item(spark: SparkSession) -> None:
    users = spark.createDataFrame([([0, 1, 2],), ([0, 3],), ([0, 3],)], "counted array<int>")
    rows = covisitation(users, count_takers(users, 4), neighbours=2).filter("item = 0").collect()
    assert [row["neighbour"] for row in rows] == [3, 1]  # 1 and 2 tie


def test_followers_are_weighed_by_distance_and_by_the_share_of_takers(spark: SparkSession) -> None:
    rng = np.random.default_rng(1)
    rows = [rng.permutation(9)[: rng.integers(0, 9)].tolist() for _ in range(30)]
    users = spark.createDataFrame([(row, row) for row in rows], "counted array<int>, steps array<int>").repartition(3)
    expected = np.zeros((9, 9))
    for row in rows:
        for at, item in enumerate(row):
            for step, other in enumerate(row[at + 1 : at + 6]):
                expected[item, other] += 0.7**step
    expected /= np.maximum(np.bincount(np.concatenate(rows).astype(int), minlength=9), 1)[:, None]
    found = np.zeros((9, 9))
    for row in followers(users, count_takers(users, 9), neighbours=9, itself=True).collect():
        found[row["item"], row["neighbour"]] = row["weight"]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_an_item_taken_several_times_in_a_row_follows_itself_or_counts_once(spark: SparkSession) -> None:
    def found(*steps: list[int], itself: bool) -> dict[tuple[int, int], float]:
        users = spark.createDataFrame([(row, row) for row in steps], "counted array<int>, steps array<int>")
        rows = followers(users, np.ones(10), neighbours=9, itself=itself).collect()
        return {(row["item"], row["neighbour"]): row["weight"] for row in rows}

    twice, once = ([5, 3, 3, 5, 9, 9, 5], [5, 2, 2]), ([5, 3, 5, 9, 5], [5, 2])
    assert found(*twice, itself=False) == found(*once, itself=False) == found(*once, itself=True)
    assert found([3, 3], [3], itself=True) == {(3, 3): 1.0}
    assert found([3, 3], [3], itself=False) == {}


def test_nothing_follows_a_single_event(spark: SparkSession) -> None:
    users = spark.createDataFrame([([3], [3]), ([1], [1])], "counted array<int>, steps array<int>")
    takers = count_takers(users, 4)
    after = followers(users, takers, neighbours=2, itself=True)
    assert after.collect() == covisitation(users, takers, neighbours=2).collect() == []


def test_together_counts_users_of_pairs_and_of_items(spark: SparkSession) -> None:
    taken = np.random.default_rng(2).random((40, 8)) < 0.3
    users = spark.createDataFrame([(np.flatnonzero(row).tolist(),) for row in taken], "counted array<int>")
    found = np.zeros((8, 8))
    for row in together(users.repartition(3)).collect():
        found[row["item"], row["neighbour"]] = row["weight"]
    np.testing.assert_array_equal(found, taken.T.astype(float) @ taken)
