"""maintain on tables of its own."""

import importlib
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from llmrec import columns as C
from llmrec.lock import held
from llmrec.spark.schemas import SCHEMAS
from llmrec.spark.tables import append_table, create_table, replace_night

NIGHTS = 5
maintain = importlib.import_module("maintain")


def test_old_dates_go_small_files_are_merged_and_tables_of_others_are_left(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lists, runs, events, items = (f"{tmp_path}/{name}" for name in (C.RECOMMENDATIONS, C.RUNS, C.EVENTS, C.ITEMS))
    create_table(spark, lists, C.RECOMMENDATIONS, partition_by=C.RUN_DATE)
    for night in range(NIGHTS):
        day = date(2026, 1, 1) + timedelta(days=night)
        started = datetime(2026, 1, 1 + night, 3, tzinfo=timezone.utc)
        rows = [
            (day, user, "home", 1, f"i{night}", 0.5, ["dense"], "m", "r", None, 1.0, None) for user in ("a", "b", "c")
        ]
        replace_night(spark.createDataFrame(rows, SCHEMAS[C.RECOMMENDATIONS]).repartition(3), lists, day, "home")
        ran = [("r", "score", "publish", "done", started, 1.0, "sha", day, 1, 1, {}, "m", {}, None, None)]
        append_table(spark.createDataFrame(ran, SCHEMAS[C.RUNS]), runs)
        append_table(spark.range(1).selectExpr("'theirs' AS user_id"), events)
        append_table(spark.range(1).selectExpr("'ours' AS item_id"), items)
    argv = ["--set", "sources.items={path: p, format: json, columns: {item_id: i, title: t}}"]
    argv += [f"tables.location={tmp_path}", f"work={tmp_path}/work", "maintain.keep_days=2"]
    with held(tmp_path / "work" / "locks" / "2026-01-04.lock", "a run that scores it"):
        assert maintain.JOB.run(argv) == 0
    kept = spark.read.format("delta").load(lists)
    assert {row["run_date"].day for row in kept.collect()} == {3, 4, 5}
    assert kept.count() == 9
    read = spark.read.format("delta").load(runs)
    assert sorted(row["started_at"].day for row in read.filter("job = 'score'").collect()) == [3, 4, 5]
    files = {
        name: spark.sql(f"DESCRIBE DETAIL delta.`{tmp_path}/{name}`").collect()[0]["numFiles"]
        for name in (C.RECOMMENDATIONS, C.RUNS, C.EVENTS, C.ITEMS)
    }
    # Dates that may be replaced now and what prepare replaces keep their files; so do tables of others. One of runs is
    # this run's.
    assert files == {C.RECOMMENDATIONS: 1 + 3 + 3, C.RUNS: 1 + 1, C.EVENTS: NIGHTS, C.ITEMS: NIGHTS}
    said = capsys.readouterr().out
    assert "recommendations" in said
    assert "events" not in said
    stages = {row["stage"]: row["counts"] for row in read.filter("job = 'maintain'").collect()}
    assert stages[C.RECOMMENDATIONS]["dropped"] == 6
    assert maintain.JOB.run([*argv, "maintain.keep_files_days=6"]) == 2
