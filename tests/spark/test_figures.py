from datetime import date, datetime, timezone

import pytest
from pyspark.sql import SparkSession

from llmrec.domain.bounds import MIDDLE, SPREAD
from llmrec.spark.figures import event_figures, list_figures, missing_shares
from llmrec.spark.nights import earlier_nights, night_row
from tests.domain.test_bounds import night

DAY = date(2026, 1, 9)
EVENTS = "user_id string, event_time timestamp, value double, text string, likes boolean"


def at(day: int, hour: int = 12) -> datetime:
    return datetime(2026, 1, day, hour, tzinfo=timezone.utc)


def test_a_column_that_is_null_since_yesterday_shows_in_the_share_of_the_last_day(spark: SparkSession) -> None:
    old = [("u", at(3), 1.0, " ", True) for _ in range(300)]
    new = [("u", at(8, hour), None, "good", False) for hour in (0, 1, 23, 23) for _ in range(25)]
    found = event_figures(spark.createDataFrame(old + new, EVENTS), DAY, ["value", "text"])
    assert (found.total, found.last_day) == (400, 100)
    assert found.shares == {
        "share of events that are likes": 0.75, "share of events that are likes, last day": 0.0,
        "share of rows without events.value": 0.25, "share of rows without events.value, last day": 1.0,
        "share of rows without events.text": 0.75, "share of rows without events.text, last day": 0.0,
    }  # fmt: skip


def test_a_few_events_of_the_last_day_tell_no_share(spark: SparkSession) -> None:
    rows = [("u", at(3), 1.0, "a", True)] * 9 + [("u", at(8), None, None, True)] * 99
    found = event_figures(spark.createDataFrame(rows, EVENTS), DAY, ["value"])
    assert found.last_day == 99
    assert set(found.shares) == {"share of events that are likes", "share of rows without events.value"}
    assert event_figures(spark.createDataFrame([], EVENTS), DAY, ["value"]).shares == {}


def test_empty_text_empty_lists_and_empty_maps_count_as_missing(spark: SparkSession) -> None:
    kinds = "title string, category array<string>, attributes map<string,string>, available_from timestamp"
    rows = [("a", ["x"], {"k": "v"}, at(1)), ("", [], {}, None), (None, None, None, None), ("b", ["y"], None, at(2))]
    found = missing_shares(
        spark.createDataFrame(rows, kinds), "items", ["title", "category", "attributes", "available_from"]
    )
    assert found == {
        "share of rows without items.title": 0.5, "share of rows without items.category": 0.5,
        "share of rows without items.attributes": 0.75, "share of rows without items.available_from": 0.5,
    }  # fmt: skip
    assert missing_shares(spark.createDataFrame([], kinds), "items", ["title"]) == {}


def test_lists_are_measured_by_user_where_that_is_meant_and_by_row_elsewhere(spark: SparkSession) -> None:
    rows = [(user, proposed, rank, f"i{rank + start}", rank / 10)
            for user, proposed, length, start in [("u", 100, 9, 0), ("v", 20, 1, 0), ("w", 30, 1, 5)]
            for rank in range(1, length + 1)]  # fmt: skip
    staged = spark.createDataFrame(rows, "user_id string, proposed int, rank int, item_id string, score double")
    counts, scores = list_figures(staged)
    assert counts == {"candidates per user": 50.0, "items in lists": 9.0}
    ordered = sorted(row[-1] for row in rows)
    assert scores["score quantile 0.1"] == ordered[1]  # of eleven, the least with a tenth of them at or below
    assert scores[MIDDLE] == ordered[5]
    assert scores[SPREAD] == pytest.approx(ordered[9] - ordered[1])


def test_nights_come_back_as_they_were_kept_the_latest_of_the_scene_before_the_date(spark: SparkSession) -> None:
    kept = [night(day, users=float(day), forced=day == 2) for day in range(4)]
    rows = night_row(spark, night(3, users=99.0), "other", "run")
    for one in kept:
        rows = rows.union(night_row(spark, one, "home", f"run-{one.run_date}"))
    assert earlier_nights(rows, "home", date(2026, 1, 4), 2) == kept[1:3]
    assert earlier_nights(rows, "home", date(2026, 1, 5), 7) == kept
    assert earlier_nights(rows, "home", date(2026, 1, 1), 7) == []
    assert earlier_nights(rows, "home", date(2026, 1, 5), 0) == []
