from datetime import date, datetime, timezone

from chispa import assert_df_equality
from pyspark.sql import SparkSession

from llmrec.spark.splits import before, likes, split_by_last_events, split_by_time


def at(day: int, hour: int = 0) -> datetime:
    return datetime(2026, 1, day, hour, tzinfo=timezone.utc)


def test_events_on_the_run_date_are_not_read(spark: SparkSession) -> None:
    events = spark.createDataFrame(
        [("a", at(1, 23)), ("b", at(2)), ("c", at(3))], "user_id string, event_time timestamp"
    )
    assert [row["user_id"] for row in before(events, date(2026, 1, 2)).collect()] == ["a"]


def test_a_low_value_is_no_like_and_a_missing_value_is_one(spark: SparkSession) -> None:
    schema = "event string, value double"
    events = spark.createDataFrame([("rating", 3.0), ("rating", 4.0), ("rating", None), ("view", 5.0)], schema)
    said = [row[0] for row in events.select(likes(["rating"], 4.0)).collect()]
    assert said == [False, True, True, False]


def test_time_split_cuts_two_periods_of_equal_length(spark: SparkSession) -> None:
    events = spark.createDataFrame(
        [(1, at(3, 23)), (2, at(4)), (3, at(6, 23)), (4, at(7))], "n int, event_time timestamp"
    )
    parts = split_by_time(events, date(2026, 1, 10), days=3).select("n", "part")
    expected = spark.createDataFrame(
        [(1, "train"), (2, "validation"), (3, "validation"), (4, "test")], "n int, part string"
    )
    assert_df_equality(parts, expected, ignore_row_order=True, ignore_nullable=True)


def test_last_liked_events_are_held_out_with_all_that_follows_them(spark: SparkSession) -> None:
    liked, seen = True, False
    rows = [
        *(("u", f"i{n}", at(n), liked) for n in range(1, 7)),
        ("u", "x3", at(3, 5), seen),  # between the third and fourth like: before the validation period
        ("u", "x5", at(5, 5), seen),  # after the first validation like
        ("u", "x6", at(6, 5), seen),  # after the first test like
        ("few", "i1", at(1), liked),  # too few likes to hold anything out
        ("few", "i2", at(2), liked),
    ]
    events = spark.createDataFrame(rows, "user_id string, item_id string, event_time timestamp, likes boolean")
    parts = split_by_last_events(events, count=1).select("user_id", "item_id", "part")
    found = {(row["user_id"], row["item_id"]): row["part"] for row in parts.collect()}
    assert {item for (user, item), part in found.items() if user == "u" and part == "test"} == {"i6", "x6"}
    assert {item for (user, item), part in found.items() if user == "u" and part == "validation"} == {"i5", "x5"}
    assert all(part == "train" for (user, _), part in found.items() if user == "few")


def test_split_adds_no_column_but_part(spark: SparkSession) -> None:
    schema = "user_id string, item_id string, event_time timestamp, likes boolean"
    events = spark.createDataFrame([("u", "i", at(1), True)], schema)
    assert split_by_last_events(events, count=1).columns == [*events.columns, "part"]
