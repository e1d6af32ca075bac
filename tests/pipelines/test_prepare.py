from datetime import datetime, timezone
from pathlib import Path

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from llmrec.errors import InputTableError
from llmrec.pipelines.prepare import (
    Prepared,
    all_refused,
    prepare_source,
    require_complete,
    require_good_rows,
)
from llmrec.settings.tables import Prepare
from llmrec.spark.schemas import SCHEMAS
from llmrec.spark.sources import read_source

NOW = datetime(2024, 1, 1, tzinfo=timezone.utc)
WHEN = datetime(1997, 12, 4, 15, 55, 49, tzinfo=timezone.utc)


def run(source, table: str, items=None) -> Prepared:
    return prepare_source(source, table, Prepare(), items=items, now=NOW, run_id="run")


def test_items_then_events_are_split_and_every_row_is_accounted_for(spark: SparkSession) -> None:
    items = run(
        spark.createDataFrame(
            [("1", "Film"), ("1", "Film"), ("2", ""), ("3", "Zoo"), ("3", "Ape")], "item_id string, title string"
        ),
        "items",
    )
    events = run(
        spark.createDataFrame(
            [
                ("u", "1", "view", 881250949),
                ("u", "1", "view", 881250949),
                ("v", "3", "view", 881250949),
                ("v", "2", "view", 881250949),  # its item was refused
                (None, "9", "view", 1),
            ],
            "user_id string, item_id string, event string, event_time long",
        ),
        "events",
        items.good,
    )
    assert items.counts == {"read": 5, "used": 2, "quarantined": 2, "duplicates": 1}
    assert events.counts == {"read": 5, "used": 2, "quarantined": 2, "duplicates": 1}
    assert items.reasons == {"title: null or empty": 1, "item_id: another row has it too": 1}
    assert events.reasons == {
        "item_id: unknown item": 2,
        "user_id: null or empty": 1,
        "event_time: before prepare.earliest_event": 1,
    }
    expected_items = spark.createDataFrame([("1", "Film"), ("3", "Ape")], "item_id string, title string")
    found_items = items.good.select("item_id", "title")  # chispa cannot sort maps
    expected_events = spark.createDataFrame(
        [("u", "1", "view", WHEN, None, None, None), ("v", "3", "view", WHEN, None, None, None)], SCHEMAS["events"]
    )
    expected_refused = spark.createDataFrame(
        [
            ("items", "item_id: another row has it too", '{"item_id":"3","title":"Zoo"}', "run", NOW),
            ("items", "title: null or empty", '{"item_id":"2","title":""}', "run", NOW),
            (
                "events",
                "item_id: unknown item",
                '{"user_id":"v","item_id":"2","event":"view","event_time":881250949}',
                "run",
                NOW,
            ),
            (
                "events",
                "user_id: null or empty; event_time: before prepare.earliest_event; item_id: unknown item",
                '{"user_id":null,"item_id":"9","event":"view","event_time":1}',
                "run",
                NOW,
            ),
        ],
        SCHEMAS["quarantine"],
    )
    refused = all_refused([items, events])
    for found, expected in [(found_items, expected_items), (events.good, expected_events), (refused, expected_refused)]:
        assert_df_equality(found, expected, ignore_row_order=True, ignore_nullable=True)
    assert items.good.schema.simpleString() == SCHEMAS["items"].simpleString()
    items.release()
    events.release()
    assert not items.checked.is_cached and not events.checked.is_cached


def test_a_file_that_grew_between_two_passes_is_read_once_more(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "users.csv"
    path.write_text("u\n1\n2\n")
    source = read_source(
        spark, "users", path=str(path), format="csv", options={"header": "true"}, columns={"user_id": "u"}
    )
    count, counted = type(source).count, []

    def grown(rows: DataFrame) -> int:
        if not counted:
            path.write_text(path.read_text() + "3\n4\n")
        counted.append(count(rows))
        return counted[-1]

    monkeypatch.setattr(type(source), "count", grown)
    users = run(source, "users")
    assert len(counted) == 2
    assert users.counts == {"read": 3, "used": 3, "quarantined": 0, "duplicates": 0}
    assert sorted(row["user_id"] for row in users.good.collect()) == ["1", "2", "3"]
    users.release()


def test_a_lost_row_is_a_bug() -> None:
    require_complete("events", {"read": 6, "used": 3, "quarantined": 2, "duplicates": 1})
    with pytest.raises(RuntimeError, match="events: 7 rows read, but 6 accounted for"):
        require_complete("events", {"read": 7, "used": 3, "quarantined": 2, "duplicates": 1})


def test_events_and_items_need_a_good_row_and_users_do_not(spark: SparkSession) -> None:
    bad = spark.createDataFrame([(None, "1"), (None, ""), ("3", None)], "item_id string, title string")
    items = run(bad, "items")
    with pytest.raises(
        InputTableError,
        match=r"sources\.items: none of the 3 rows can be used; expected at least one; commonest reasons: "
        r"(title: null or empty|item_id: null or empty) \(2\), ",
    ):
        require_good_rows(items)
    users = run(bad.select(bad.item_id.substr(9, 1).alias("user_id")), "users")
    require_good_rows(users)
    assert users.counts == {"read": 3, "used": 0, "quarantined": 3, "duplicates": 0}
    items.release()
    users.release()
