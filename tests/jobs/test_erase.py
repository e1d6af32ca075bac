"""erase after real nights: nothing of the user is in any file, and the others' rows are as they were."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from llmrec.domain.erased import Traces
from llmrec.registry import Address, Registry
from tests import planted, tiny
from tests.scan import files_with

jobs = {name: importlib.import_module(name) for name in ("prepare", "train", "score", "report", "erase")}
GONE, NEXT = "zz-planted-user", "2026-02-02"
"""The largest id, so that it stands in the log's statistics."""
WITH_USERS = ("events", "users", "impressions", "quarantine", "recommendations", "candidates", "denied")
LEFT = {
    "score-0123456789ab": "bucket-00000.parquet",
    "training-0123456789ab": "checkpoint-3/examples.parquet",
    "0123456789ab": "examples/shard-00000.parquet",
}
"""What runs left in the folder work: one that the gates refused, one killed after a checkpoint, one killed before."""


def run(job: str, folder: Path, *overrides: str, run_date: str = planted.RUN_DATE, more: tuple[str, ...] = ()) -> int:
    named = ("model=models:/shop@champion", f"registry.uri=sqlite:///{folder}/mlflow.db", *overrides)
    return jobs[job].JOB.run(
        ["--config", f"{folder}/config.yaml", "--run-date", run_date, *more, "--set", *named]
    )  # fmt: skip


def rows(spark: SparkSession, folder: Path, table: str) -> list[str]:
    read = spark.read.format("delta").load(f"{folder}/lake/{table}")
    return sorted(map(repr, read.filter(f"NOT to_json(struct(*)) LIKE '%{GONE}%'").collect()))


@pytest.fixture(scope="module")
def folder(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two nights with a user who is in every place where one can be, and who then leaves the sources."""
    folder = tmp_path_factory.mktemp("erase")
    tiny.encoder_folder(folder / "encoder")
    planted.write_sources(folder)
    events, users, shown = folder / "events.csv", folder / "users.json", folder / "impressions.csv"
    shown.write_text(f"request_id,user_id,item_id,clicked,event_time\nr1,u00,red-01,true,{planted.FIRST.isoformat()}")
    before = {path.name: path.read_text() for path in (events, users, shown)}
    taken = [f"{GONE},red-{n:02d},purchase,{planted.FIRST.replace(day=2 + n).isoformat()}" for n in range(6)]
    refused = f"  {GONE} ,no-such-item,purchase,{planted.FIRST.isoformat()}"
    profile = json.dumps({"id": GONE, "profile": "blue old song", "segment": "old"})
    events.write_text("\n".join([events.read_text(), *taken, refused, f"purchase,{GONE},red-01"]))
    users.write_text("\n".join([users.read_text(), profile]))
    shown.write_text("\n".join([shown.read_text(), f"r2,{GONE},red-02,false,{planted.FIRST.isoformat()}"]))
    settings = planted.settings(folder)
    columns = {name: name for name in ("request_id", "user_id", "item_id", "clicked", "event_time")}
    settings["sources"]["impressions"] = {**settings["sources"]["events"], "path": str(shown), "columns": columns}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    assert run("prepare", folder) == 0
    assert run("train", folder, "train.max_epochs=1") == 0
    assert run("score", folder) == 0
    assert run("score", folder, run_date=NEXT) == 0
    assert run("report", folder, "report.sample_users=60") == 0
    for other, content in before.items():
        (folder / f"with-{other}").write_text((folder / other).read_text())
        (folder / other).write_text(content)
    for run_folder, file in LEFT.items():
        path = folder / "work" / run_folder / file
        path.parent.mkdir(parents=True)
        pq.write_table(pa.table({"user_id": [GONE], "item_id": ["red-02"]}), path)
    for table, whose in (("denied", [GONE]), ("candidates", [GONE, "u00"])):
        supplied = spark.createDataFrame([(user, "red-02") for user in whose], "user_id string, item_id string")
        supplied.write.format("delta").save(f"{folder}/lake/{table}")
    with_message = spark.read.format("delta").load(f"{folder}/lake/runs").limit(1)
    with_message.withColumn("message", F.lit(f"cannot cast '{GONE}' to a number")).write.format("delta").mode(
        "append"
    ).save(f"{folder}/lake/runs")
    (folder / "log.jsonl").write_text(json.dumps({"message": f"cannot cast '{GONE}' to a number"}) + "\n")
    (folder / "users.txt").write_text(f"{GONE}\n\n")
    yield folder


def test_nothing_of_an_erased_user_is_in_any_file_and_the_others_rows_are_as_they_were(
    spark: SparkSession, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {name.split("/")[1] for name in files_with(folder, GONE) if name.startswith("lake/")}
    assert places == {*WITH_USERS, "runs"}
    assert {name.split("/")[1] for name in files_with(folder, GONE) if name.startswith("work/")} == set(LEFT)
    assert "report.html" in files_with(folder, GONE)
    assert [name for name in files_with(folder, GONE) if "_delta_log" in name]
    tables = (*WITH_USERS, "items", "nights")
    before = {table: rows(spark, folder, table) for table in tables}
    kept = {path.name for path in (folder / "work" / "kept").rglob("bucket-*")}

    capsys.readouterr()
    named = ("--users", f"{folder}/users.txt", "--also", "candidates", "denied")
    assert run("erase", folder, f"log.file={folder}/log.jsonl", more=named) == 0
    said = capsys.readouterr().out
    left = files_with(folder, GONE)
    assert left == {"users.txt", "with-events.csv", "with-users.json", "with-impressions.csv"}
    assert {table: rows(spark, folder, table) for table in tables} == before
    # Their own bucket alone is forgotten, and all of a killed run.
    gone = kept - {path.name for path in (folder / "work" / "kept").rglob("bucket-*")}
    assert len(gone) == 2 and {path.removesuffix(".states") for path in gone} < gone
    assert sorted(path.name for path in (folder / "work").iterdir()) == [".at-work", "kept", "locks"]
    told = spark.read.format("delta").load(f"{folder}/lake/runs").filter("job = 'erase'").collect()
    counts = {row["stage"]: row["rows_out"] for row in told}
    assert {row["counts"]["left"] for row in told if row["stage"] in WITH_USERS and row["rows_out"]} == {0}
    assert (counts["events"], counts["users"], counts["quarantine"]) == (6, 1, 1)  # of the torn line, lengths
    assert (counts["impressions"], counts["recommendations"], counts["messages"]) == (1, 8, 1)
    assert (counts["candidates"], counts["denied"]) == (1, 1)
    assert "version 1 of shop" in said
    assert "still there" not in said
    assert "of the ids are in no table" not in said

    # Once more changes nothing, and a night goes on as ever.
    capsys.readouterr()
    assert run("erase", folder, more=("--users", f"{folder}/users.txt")) == 0
    said = capsys.readouterr().out
    assert "1 of the ids are in no table and no source that was read" in said
    assert f"history not touched, as others write them: {folder}/lake/candidates, {folder}/lake/denied;" in said
    assert {table: rows(spark, folder, table) for table in tables} == before
    assert run("score", folder, run_date="2026-02-03") == 0
    assert run("prepare", folder) == 0
    assert files_with(folder, GONE) == left


def test_models_that_learned_from_an_erased_user_are_marked_and_later_ones_are_not(
    spark: SparkSession, folder: Path, tmp_path: Path
) -> None:
    registry = Registry(f"sqlite:///{folder}/mlflow.db")
    tags = registry._client.get_model_version("shop", "1").tags
    assert "learned_from_erased_users" in tags
    [row] = (
        spark.read.format("delta").load(f"{folder}/lake/runs")
        .filter("job = 'erase' AND stage = 'models' AND message IS NOT NULL").collect()
    )  # fmt: skip
    assert row["message"].endswith(f"version 1 of shop ({tags['sha']})")
    found = registry.find(Address("shop", None, "1"))
    assert found
    manifest: dict[str, Any] = json.loads((found.fetch(tmp_path) / "manifest.json").read_text())
    assert manifest["tables"]["events"] == 0
    clear, before = Traces(date(2026, 2, 1), date(2026, 1, 1)), Traces(date(2026, 1, 31), date(2026, 1, 1))
    assert registry.mark_learned("shop", clear.may_be_in, "never") == []
    assert registry.mark_learned("shop", before.may_be_in, "later")
    assert registry._client.get_model_version("shop", "1").tags["learned_from_erased_users"] != "later"


def test_a_source_that_still_holds_the_user_is_named_and_its_path_is_in_no_table(
    spark: SparkSession, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = f"sources.events.path={folder}/with-events.csv"
    others = (f"tables.location={folder}/no-others", f"tables.names.denied={folder}/lake/denied")
    assert run("erase", folder, source, *others, more=("--users", f"{folder}/users.txt")) == 0
    said = capsys.readouterr().out
    assert f"still there, and not llmrec's to write: sources.events: {folder}/with-events.csv;" in said
    [told] = spark.read.format("delta").load(f"{folder}/no-others/runs").filter("stage = 'not touched'").collect()
    assert told["counts"] == {"denied": 0, "sources.events": 7, "sources.users": 0, "sources.impressions": 0}


BESIDE = "import sys, time; from pathlib import Path; from llmrec.lock import at_work\n"
BESIDE += "with at_work(Path(sys.argv[1]), alone=False): print('there', flush=True); time.sleep(600)"


def test_erase_beside_another_job_is_refused_and_changes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(str(path) for path in folder.rglob("*"))
    other = subprocess.Popen([sys.executable, "-c", BESIDE, f"{folder}/work"], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout
        assert other.stdout.readline() == "there\n"
        assert run("erase", folder, more=("--users", f"{folder}/users.txt")) == 2
        assert "another job is at work, and this one must be alone" in capsys.readouterr().err
    finally:
        other.kill()
        other.wait()
    assert sorted(str(path) for path in folder.rglob("*")) == before


def test_a_file_without_an_id_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none").write_text(" \n\n")
    assert run("erase", folder, more=("--users", f"{tmp_path}/none")) == 2
    assert "holds no id, expected one a line" in capsys.readouterr().err
    assert run("erase", folder) == 2
    assert "--users: missing" in capsys.readouterr().err
