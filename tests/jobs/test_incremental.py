"""Nights in a row that read only what is new, beside nights that read everything: the rows are the same."""

import importlib
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from tests import planted, tiny

jobs = {name: importlib.import_module(name) for name in ("prepare", "train", "score")}
FIRST = date.fromisoformat(planted.RUN_DATE)
SETTINGS = [
    "train.ranker=bert", "train.max_epochs=1", "candidates.pair_scored=12", "score.precision=float32",
    "gates.nights=0",  # these nights differ more than a shop's
]  # fmt: skip
READ, SCORED, REUSED = "users encoded", "pairs scored", "pairs reused"
Change = Callable[[DataFrame], DataFrame]


def run(job: str, folder: Path, night: date = FIRST, *overrides: str) -> int:
    argv = ["--config", f"{folder}/config.yaml", "--run-date", night.isoformat(), "--set", *SETTINGS, *overrides]
    return jobs[job].JOB.run(argv)


@pytest.fixture(scope="module")
def world(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("incremental")
    tiny.encoder_folder(folder / "encoder")
    planted.write_sources(folder)
    for job in ("prepare", "train"):
        assert run(job, folder) == 0
    return folder


@pytest.fixture
def folder(world: Path) -> Path:
    """The world before its first night."""
    for part in ("work", "lake/recommendations", "lake/runs"):
        shutil.rmtree(world / part, ignore_errors=True)
    return world


def lists(spark: SparkSession, folder: Path, night: date, *overrides: str) -> dict[tuple[str, int], tuple]:
    """Score a night; return its rows by user and rank: item, score, sources, reason."""
    assert run("score", folder, night, *overrides) == 0
    rows = spark.read.format("delta").load(f"{folder}/lake/recommendations").filter(F.col("run_date") == night)
    return {
        (row["user_id"], row["rank"]): (row["item_id"], row["score"], tuple(row["sources"]), row["reason"])
        for row in rows.collect()
    }


def counts(spark: SparkSession, folder: Path) -> dict[str, int]:
    """Return what the last scoring counted."""
    rows = spark.read.format("delta").load(f"{folder}/lake/runs").filter("job = 'score' and stage = 'scores'")
    return rows.orderBy(F.desc("started_at")).head()["counts"]


def assert_same(rows: dict[tuple[str, int], tuple], whole: dict[tuple[str, int], tuple]) -> None:
    assert rows.keys() == whole.keys()
    for place, (item, score, sources, reason) in rows.items():
        assert (item, sources, reason) == (whole[place][0], whole[place][2], whole[place][3])
        assert score == pytest.approx(whole[place][1], abs=1e-6)


def replace(spark: SparkSession, folder: Path, table: str, change: Change) -> None:
    place = f"{folder}/lake/{table}"
    change(spark.read.format("delta").load(place)).write.format("delta").mode("overwrite").save(place)


def take(spark: SparkSession, folder: Path, night: date, *taken: tuple[str, str]) -> None:
    """Let users take items in the hours before ``night``."""
    at = f"{night - timedelta(days=1)} 12:00:00"
    told = spark.createDataFrame(taken, "user_id string, item_id string").selectExpr(
        "*", "'purchase' as event", f"timestamp '{at}' as event_time"
    )
    told.write.format("delta").mode("append").save(f"{folder}/lake/events")


def renamed(item: str, title: str) -> Change:
    return lambda items: items.withColumn("title", F.when(F.col("item_id") == item, title).otherwise(F.col("title")))


def closed(item: str, night: date) -> Change:
    until = F.lit(night - timedelta(days=1)).cast("timestamp")
    return lambda items: items.withColumn(
        "available_until", F.when(F.col("item_id") == item, until).otherwise(F.col("available_until"))
    )


@pytest.mark.slow
def test_over_a_week_of_changes_the_rows_are_those_of_nights_that_read_everything(
    spark: SparkSession, folder: Path
) -> None:
    nights = [FIRST + timedelta(days=day) for day in range(7)]
    new_item = "item_id = 'blue-04'"
    changes: list[Callable[[date], None]] = [
        lambda night: None,
        lambda night: take(spark, folder, night, ("u01", "red-05"), ("u02", "blue-02")),
        lambda night: replace(spark, folder, "items", renamed("red-02", "crimson song")),
        lambda night: replace(spark, folder, "items", closed("blue-07", night)),
        lambda night: replace(spark, folder, "items", lambda items: items.unionByName(
            items.filter(new_item).withColumn("item_id", F.lit("azure-00")).withColumn("title", F.lit("azure book"))
        )),
        lambda night: take(spark, folder, night, ("u40", "azure-00"), ("stranger", "red-01"), ("u07", "azure-00")),
        lambda night: None,
    ]  # fmt: skip
    counted = []
    for night, change in zip(nights, changes, strict=True):
        change(night)
        rows = lists(spark, folder, night)
        counted.append(counts(spark, folder))
        assert_same(rows, lists(spark, folder, night, "score.reuse=false"))
        assert counts(spark, folder)[READ] == counted[-1]["users"]
    everyone, all_pairs = planted.USERS + 2, counted[0][SCORED]
    assert counted[0][READ] == everyone
    assert counted[0][REUSED] == 0
    for now in counted[1:]:
        assert now[READ] < everyone
        assert now[SCORED] < all_pairs / 2
    assert counted[1][READ] >= 2
    assert counted[6][SCORED] < all_pairs / 10


def test_a_night_reads_only_what_is_new_and_goes_on_without_what_was_lost_or_damaged(
    spark: SparkSession, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = FIRST + timedelta(days=1)
    lists(spark, folder, FIRST)
    assert counts(spark, folder)[READ] == planted.USERS + 2
    take(spark, folder, second, ("u01", "red-05"))
    whole = lists(spark, folder, second, "score.reuse=false")
    [kept] = (folder / "work" / "kept").iterdir()
    before = shutil.copytree(kept, folder / "before")

    assert_same(lists(spark, folder, second), whole)
    now = counts(spark, folder)
    assert 1 <= now[READ] < planted.USERS / 2
    assert now[REUSED] > now[SCORED]

    shutil.rmtree(kept)
    shutil.copytree(before, kept)
    damaged, lost = kept / "bucket-00000", kept / "bucket-00001"
    damaged.write_bytes(damaged.read_bytes()[:-40] + bytes(40))
    lost.unlink()
    (kept / ".bucket-00001.of-a-task-that-was-killed").write_bytes(before.joinpath("bucket-00001").read_bytes()[:99])
    capsys.readouterr()
    assert_same(lists(spark, folder, second), whole)
    assert "what nights keep could not be read in 1 tasks, so they read anew" in capsys.readouterr().out
    assert counts(spark, folder)[READ] == planted.USERS + 2
    files = ["bucket-00000", "bucket-00000.states", "bucket-00001", "bucket-00001.states", "items.states", "night"]
    assert sorted(path.name for path in kept.iterdir()) == files
    assert_same(lists(spark, folder, second), whole)
    assert counts(spark, folder)[READ] == counts(spark, folder)[SCORED] == 0


@pytest.mark.slow
def test_another_model_or_other_numbers_reuse_nothing(spark: SparkSession, folder: Path) -> None:
    lists(spark, folder, FIRST)
    other = [f"model={folder}/other", "train.seed=2"]
    assert run("train", folder, FIRST, *other) == 0
    rows = lists(spark, folder, FIRST, *other)
    assert counts(spark, folder)[REUSED] == 0
    assert_same(rows, lists(spark, folder, FIRST, *other, "score.reuse=false"))
    assert len(list((folder / "work" / "kept").iterdir())) == 2
    lists(spark, folder, FIRST)
    assert counts(spark, folder)[SCORED] == 0
    lists(spark, folder, FIRST, "score.precision=bfloat16")
    assert counts(spark, folder)[REUSED] == 0
    lists(spark, folder, FIRST + timedelta(days=20), "score.reuse_gigabytes=1e-6")
    assert len(list((folder / "work" / "kept").iterdir())) == 1


def test_where_nothing_can_be_kept_the_night_says_so_and_goes_on(
    spark: SparkSession, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "work").mkdir()
    (folder / "work" / "kept").write_text("in the way")
    lists(spark, folder, FIRST)
    said = capsys.readouterr().out
    assert "what nights keep could not be read in 2 tasks" in said
    assert "what nights keep could not be written in 2 tasks, so the next night lacks it" in said
