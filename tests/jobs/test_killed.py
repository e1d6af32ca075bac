"""score, killed in the middle of a night and run again."""

import importlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

from llmrec.errors import OutputError
from llmrec.spark.staging import finished_buckets
from tests import planted, tiny

_BUCKETS, _TASKS = 24, 2
ROOT = Path(__file__).parents[2]
jobs = {name: importlib.import_module(name) for name in ("prepare", "train", "score")}


def arguments(folder: Path, *overrides: str) -> list[str]:
    return ["--config", f"{folder}/config.yaml", "--run-date", planted.RUN_DATE, "--set", *overrides]


def published(spark: SparkSession, lake: str) -> list[tuple]:
    table: DataFrame = spark.read.format("delta").load(f"{lake}/recommendations").drop("run_id")
    return sorted(map(repr, table.collect()))


@pytest.fixture(scope="module")
def folder(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    tiny.encoder_folder(folder / "encoder")
    planted.write_sources(folder)
    for job in ("prepare", "train"):
        assert jobs[job].JOB.run(arguments(folder, "train.max_epochs=1")) == 0
    return folder


def test_a_night_killed_while_it_scores_goes_on_and_publishes_what_it_would_have(
    spark: SparkSession, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = f"score.partitions={_BUCKETS}"
    assert jobs["score"].JOB.run(arguments(folder, many)) == 0
    expected = published(spark, f"{folder}/lake")
    night = arguments(folder, many)
    driver = subprocess.Popen(
        [sys.executable, "jobs/score.py", *night], cwd=ROOT, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and driver.poll() is None:
        if any(finished_buckets(left) for left in (folder / "work").glob("score-*")):
            break
        time.sleep(0.02)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    [left] = (folder / "work").glob("score-*")
    finished = len(finished_buckets(left))
    assert 0 < finished < _BUCKETS
    capsys.readouterr()
    assert jobs["score"].JOB.run(night) == 0
    said = capsys.readouterr().out
    known = re.search(rf"goes on from a run that did not end, (\d+) of {_BUCKETS} buckets are there", said)
    assert known
    assert finished <= int(known[1]) <= finished + _TASKS  # Python workers that were left finish what they are at
    assert published(spark, f"{folder}/lake") == expected
    assert not list((folder / "work").glob("score-*"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def garble_reasons(path: Path) -> None:
    """Write zeros over a column that only the publication reads."""
    group = pq.ParquetFile(path).metadata.row_group(0)
    [column] = [one for one in map(group.column, range(group.num_columns)) if one.path_in_schema == "reason"]
    start = column.dictionary_page_offset or column.data_page_offset
    whole = bytearray(path.read_bytes())
    whole[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    path.write_bytes(whole)


@pytest.mark.parametrize("damage", [cut, garble_reasons])
def test_lists_that_wait_and_are_damaged_meanwhile_are_made_anew_by_the_run_after_the_next(
    damage: Callable[[Path], None],
    spark: SparkSession,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    night = arguments(folder, "score.partitions=3")
    assert jobs["score"].JOB.run(night) == 0
    expected = published(spark, f"{folder}/lake")

    def refuse(*_: object) -> None:
        raise OutputError("no room to publish")

    with monkeypatch.context() as patched:
        patched.setattr(jobs["score"], "replace_night", refuse)
        assert jobs["score"].JOB.run(night) == 2
    [left] = (folder / "work").glob("score-*")
    damaged, whole = left / "bucket-00000.parquet", left / "bucket-00001.parquet"
    damage(damaged)
    made = whole.stat().st_mtime_ns
    capsys.readouterr()
    assert jobs["score"].JOB.run(night) == 2
    said = capsys.readouterr().err.rstrip().rpartition("\n")[2]
    assert "bucket-00000.parquet could not be read and is removed; expected lists as they were staged" in said
    assert finished_buckets(left) == {1, 2}
    assert whole.stat().st_mtime_ns == made
    assert jobs["score"].JOB.run(night) == 0
    assert published(spark, f"{folder}/lake") == expected
