"""What upkeep takes away, and what it must leave."""

import os
import time
from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from llmrec.spark.tables import replace_night
from llmrec.spark.upkeep import Size, compact, drop_days, latest_day, vacuum

DAY = 24 * 3600


def publish(spark: SparkSession, name: str, day: int, items: str) -> None:
    rows = [(date(2026, 1, day), "home", item) for item in items]
    lists = spark.createDataFrame(rows, "run_date date, scene string, item_id string")
    if not Path(name).exists():
        lists.limit(0).write.format("delta").partitionBy("run_date").save(name)
    replace_night(lists.repartition(2), name, date(2026, 1, day), "home")


def grow_old(name: str, days: int) -> None:
    """Let all files look as if they were written so many days ago."""
    then = time.time() - days * DAY
    for path in Path(name).rglob("*.parquet"):
        os.utime(path, (then, then))


def items(spark: SparkSession, name: str, version: int | None = None) -> set[tuple[int, str]]:
    reader = spark.read.format("delta")
    rows = (reader if version is None else reader.option("versionAsOf", version)).load(name).collect()
    return {(row["run_date"].day, row["item_id"]) for row in rows}


@pytest.fixture
def name(spark: SparkSession, tmp_path: Path) -> str:
    name = str(tmp_path / "lists")
    for day, listed in ((1, "abcd"), (2, "bcde"), (5, "cdef"), (5, "defg")):
        publish(spark, name, day, listed)
    return name


def test_dates_are_dropped_by_the_last_one_there_and_never_that(spark: SparkSession, name: str) -> None:
    assert latest_day(spark, name, "run_date") == date(2026, 1, 5)
    assert drop_days(spark, name, "run_date", 3) == 4
    assert {day for day, _ in items(spark, name)} == {2, 5}
    assert drop_days(spark, name, "run_date", 3) == 0
    assert drop_days(spark, name, "run_date", 1) == 4
    assert items(spark, name) == {(5, item) for item in "defg"}


def test_a_date_years_ahead_makes_no_other_old(spark: SparkSession, name: str) -> None:
    publish(spark, name, 7, "abcd")
    ahead = spark.createDataFrame([(date(2126, 1, 1), "home", "z")], "run_date date, scene string, item_id string")
    replace_night(ahead, name, date(2126, 1, 1), "home")
    assert latest_day(spark, name, "run_date") == date(2026, 1, 7)
    assert drop_days(spark, name, "run_date", 3) == 8
    kept = {row["run_date"] for row in spark.read.format("delta").load(name).collect()}
    assert kept == {date(2026, 1, 5), date(2026, 1, 7), date(2126, 1, 1)}


def test_merging_files_changes_no_row_and_leaves_the_partitions_that_are_not_named(
    spark: SparkSession, name: str
) -> None:
    before, rows = Size.of(spark, name), items(spark, name)
    compact(spark, name, "run_date < '2026-01-05'")
    after = Size.of(spark, name)
    assert items(spark, name) == rows
    assert (before.files, after.files) == (6, 4)
    compact(spark, name)
    assert Size.of(spark, name).files == 3


def test_files_go_when_no_version_within_the_days_needs_them(spark: SparkSession, name: str) -> None:
    held = items(spark, name)
    grow_old(name, days=8)
    publish(spark, name, 2, "xyz")  # just now: a reader of the version before it may still be at work
    publish(spark, name, 6, "xyz")
    strays = [Path(name, "run_date=2026-01-05", f"part-{age}.parquet") for age in ("old", "new")]
    for stray in strays:
        stray.write_bytes(b"of a run that was killed")
    os.utime(strays[0], (time.time() - 8 * DAY,) * 2)
    version = spark.sql(f"DESCRIBE HISTORY delta.`{name}`").agg({"version": "max"}).collect()[0][0]
    kept = len(list(Path(name).rglob("*.parquet")))
    vacuum(spark, name, days=7)
    assert items(spark, name, version - 2) == held
    assert len(list(Path(name).rglob("*.parquet"))) == kept - 1
    assert [stray.exists() for stray in strays] == [False, True]
