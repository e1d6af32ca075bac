from dataclasses import replace
from pathlib import Path

from pyspark.sql import SparkSession

from llmrec.nn.alone import Alone
from llmrec.nn.artifact import RANKER
from llmrec.spark.staging import finished_buckets, stage_lists, staged_lists
from tests.spark.test_workers import USER, night

BUCKETS = 4


def rows(spark: SparkSession, folder: Path) -> list[tuple]:
    return sorted(tuple(row) for row in staged_lists(spark, folder).collect())


def test_a_night_goes_on_with_the_buckets_it_lacks_and_makes_the_same_lists(
    spark: SparkSession, tmp_path: Path
) -> None:
    parts = replace(night(tmp_path), without_failed=True)
    Alone("popularity", 1.0, 0.0).save(tmp_path / "model" / RANKER)
    people = [(f"user-{n}", [n % 4], [n % 4], [n % 4], [n % 4], "", "", 1.0, [], [], []) for n in range(40)]
    users = spark.createDataFrame(people, USER)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        stage_lists(users, parts, 2, BUCKETS, folder)
        assert finished_buckets(folder) == set(range(BUCKETS))
    expected = rows(spark, whole)
    assert len({row[0] for row in expected}) == 40
    lost, kept = killed / "bucket-00001.parquet", killed / "bucket-00002.parquet"
    (killed / ".bucket-00001.parquet.half").write_bytes(lost.read_bytes()[:100])
    lost.unlink()
    assert rows(spark, killed) != expected
    before = kept.stat().st_mtime_ns
    stage_lists(users, parts, 2, BUCKETS, killed)
    assert rows(spark, killed) == expected
    assert kept.stat().st_mtime_ns == before


def test_without_users_there_are_no_lists(spark: SparkSession, tmp_path: Path) -> None:
    parts = replace(night(tmp_path), without_failed=True)
    stage_lists(spark.createDataFrame([], USER), parts, 2, BUCKETS, tmp_path / "staged")
    assert rows(spark, tmp_path / "staged") == []
