"""Where an erasure looks beside the tables."""

from datetime import date, datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from llmrec import columns as C
from llmrec.config import load_config
from llmrec.domain.erased import Traces
from llmrec.pipelines.erasure import ours_and_theirs, read_ids, traces_of
from llmrec.spark.erasure import erased_ids

OWN = "sources.{0}.path=rows sources.{0}.format=csv sources.{0}.columns.{1}=id"
PREPARED = [*OWN.format("events", "user_id").split(), *OWN.format("items", "item_id").split()]


@pytest.mark.parametrize(
    ("overrides", "also", "expected"),
    [
        ([], (), [C.EVENTS, C.USERS, C.IMPRESSIONS, C.CANDIDATES, C.DENIED]),  # all are written in place of prepare
        (PREPARED[:3], (), [C.USERS, C.IMPRESSIONS, C.CANDIDATES, C.DENIED]),
        (PREPARED, (), [C.CANDIDATES, C.DENIED]),
        ([*PREPARED, "tables.names.users=crm.users"], (), [C.USERS, C.CANDIDATES, C.DENIED]),
        ([*PREPARED, "tables.names.users=crm.users"], (C.USERS, C.DENIED), [C.CANDIDATES]),
        ([*PREPARED, "tables.names.events=lake/clicks"], (), [C.CANDIDATES, C.DENIED]),
    ],
)
def test_a_table_is_of_others_where_prepare_would_not_write_it(
    overrides: list[str], also: tuple[str, ...], expected: list[str]
) -> None:
    ours, theirs = ours_and_theirs(load_config(None, overrides), also)
    assert theirs == expected
    assert sorted(ours + theirs) == sorted(
        [C.EVENTS, C.USERS, C.IMPRESSIONS, C.QUARANTINE, C.RECOMMENDATIONS, C.CANDIDATES, C.DENIED]
    )


def test_a_byte_order_mark_is_no_part_of_the_first_id(tmp_path: Path) -> None:
    (tmp_path / "users.txt").write_text("\ufeffu1\r\n u2\n\nu1\n", encoding="utf-8")
    assert read_ids(tmp_path / "users.txt") == ["u1", "u2"]


def test_traces_are_the_first_event_of_the_erased_and_the_oldest_of_anybody(spark: SparkSession) -> None:
    def rows(*of_users: tuple[str, int]) -> list[tuple[str, datetime]]:
        return [(user, datetime(2026, 1, day, 12)) for user, day in of_users]

    def traces(*users: str) -> Traces:
        return traces_of(events, impressions, erased_ids(spark, list(users)))

    columns = "user_id string, event_time timestamp"
    events = spark.createDataFrame(rows(("other", 2), ("a", 9), ("a", 7), ("b", 5)), columns)
    impressions = spark.createDataFrame(rows(("other", 1), ("b", 4)), columns)
    assert traces("a") == Traces(date(2026, 1, 7), date(2026, 1, 2))
    assert traces("a", "b") == Traces(date(2026, 1, 4), date(2026, 1, 2))
    assert traces("nobody") == Traces(None, date(2026, 1, 2))
    assert traces_of(events.limit(0), impressions.limit(0), erased_ids(spark, ["a"])) == Traces(None, None)
