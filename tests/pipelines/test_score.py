from collections.abc import Sequence
from datetime import date, datetime, timezone
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from llmrec.pipelines.night import Night
from llmrec.pipelines.score import check_lists, scoring_key, users_without
from llmrec.settings.config import Config
from llmrec.settings.lists import Gates, Score
from llmrec.spark.tables import Commit

DAY = date(2026, 1, 9)


def night(spark: SparkSession) -> Night:
    """One user took item a on the first and on the fifth of January, and is denied d; item c is not available."""
    taken = [("u", "a", datetime(2026, 1, day, tzinfo=timezone.utc)) for day in (1, 5)]
    nobody = spark.createDataFrame([], "user_id string")
    return Night(
        items=spark.createDataFrame([(name, name != "c") for name in "abcd"], "item_id string, available boolean"),
        events=spark.createDataFrame(taken, "user_id string, item_id string, event_time timestamp"),
        users=nobody, candidates=nobody, run_date=DAY,
        denied=spark.createDataFrame([("u", "d"), ("v", "b")], "user_id string, item_id string"),
    )  # fmt: skip


def lists(spark: SparkSession, rows: Sequence[tuple[int, str]]) -> DataFrame:
    named = [("u", rank, item, ["popularity"]) for rank, item in rows]
    return spark.createDataFrame(named, "user_id string, rank int, item_id string, sources array<string>")


@pytest.mark.parametrize(("again_before", "fine"), [(None, False), (date(2026, 1, 4), False), (date(2026, 1, 6), True)])
def test_what_a_user_had_before_is_published_only_where_it_may_be(
    spark: SparkSession, again_before: date | None, fine: bool
) -> None:
    rows = lists(spark, [(1, "a"), (2, "b")])
    if fine:
        counts = check_lists(rows, night(spark), top_n=3, eligible=2, again_before=again_before)
        assert counts == {"users": 1, "rows": 2, "short": 1, "fallback": 0, "empty": 1}
    else:
        with pytest.raises(RuntimeError, match="1 rows of items had before"):
            check_lists(rows, night(spark), top_n=3, eligible=2, again_before=again_before)


@pytest.mark.parametrize(
    "rows", [[(1, "b"), (2, "c")], [(1, "b"), (3, "a")], [(1, "b"), (2, "b")], [(2, "b")], [(1, "d")]]
)
def test_lists_with_a_closed_or_denied_item_a_gap_or_an_item_twice_are_not_published(
    spark: SparkSession, rows: list[tuple[int, str]]
) -> None:
    with pytest.raises(RuntimeError, match="lists to publish are wrong"):
        check_lists(lists(spark, rows), night(spark), top_n=3, eligible=1, again_before=DAY)


def test_users_whose_lists_lack_a_source_are_counted_by_source_once_each(spark: SparkSession) -> None:
    rows = [("u", ["dense", "als"]), ("u", ["dense", "als"]), ("v", ["dense"]), ("w", [])]
    staged = spark.createDataFrame(rows, "user_id string, failed array<string>")
    assert users_without(staged) == {"dense": 2, "als": 1}


READ = {"events": Commit(5, datetime(2026, 2, 1, 3)), "users": Commit(0, datetime(2026, 1, 1))}
NIGHT: dict[str, Any] = {
    "run_date": DAY, "model_version": "m", "tables": READ, "counted": {"items": 3}, "config": Config(),
}  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        {"run_date": date(2026, 2, 2)},
        {"model_version": "n"},
        {"tables": {**READ, "events": Commit(6, READ["events"].time)}},
        {"tables": {**READ, "users": Commit(0, datetime(2026, 2, 1))}},  # made anew, with the same number
        {"counted": {"items": 4}},
        {"config": Config(score=Score(top_n=3))},
        {"pseudonyms": "of another key"},
    ],
)
def test_lists_of_a_night_are_gone_on_with_only_where_nothing_they_depend_on_is_another(other: dict[str, Any]) -> None:
    assert scoring_key(**NIGHT) == scoring_key(**NIGHT | {"config": Config(gates=Gates(nights=0))})
    assert scoring_key(**NIGHT) != scoring_key(**NIGHT | other)
