"""A night with pseudonyms: ids are in the sources and in what is published, and in no other file."""

import hashlib
import hmac
import importlib
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests import planted, tiny
from tests.scan import files_with

jobs = {name: importlib.import_module(name) for name in ("prepare", "train", "score", "report", "erase")}
KEY = b"a key of thirty-two bytes or so."
ONE, DENIED = "planted-user", "blue-12"
"""Who stands in for u07, and an item the user would be given else."""
HIDDEN = hmac.new(KEY, ONE.encode(), hashlib.sha256).hexdigest()


def run(job: str, folder: Path, *overrides: str, run_date: str = planted.RUN_DATE, more: tuple[str, ...] = ()) -> int:
    named = ("train.ranker=popularity", "privacy.pseudonyms=true", *overrides)
    argv = ["--config", f"{folder}/config.yaml", "--run-date", run_date, *more, "--set", *named]
    return jobs[job].JOB.run(argv)


@pytest.fixture
def folder(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMREC_SECRET", KEY.decode())
    tiny.encoder_folder(tmp_path / "encoder")
    planted.write_sources(tmp_path)
    events = tmp_path / "events.csv"
    taken = events.read_text().replace("u07,", f"{ONE},")
    events.write_text(f"{taken}\n{ONE},no-such-item,purchase,{planted.FIRST.isoformat()}")
    denied = spark.createDataFrame([(DENIED, ONE)], "item_id string, user_id string")
    denied.write.format("delta").save(f"{tmp_path}/denied")
    return tmp_path


@pytest.mark.slow
def test_ids_are_only_where_they_must_be_and_erase_finds_both(
    spark: SparkSession, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    supplied = f"tables.names.denied={folder}/denied"
    for job in ("prepare", "train", "score"):
        assert run(job, folder, supplied) == 0
    assert run("report", folder, "report.sample_users=60") == 0

    places = {name.split("/")[1] for name in files_with(folder, ONE) if name.startswith("lake/")}
    assert places == {"recommendations"}
    assert not [name for name in files_with(folder, ONE) if name.startswith(("work", "report.html"))]
    events = spark.read.format("delta").load(f"{folder}/lake/events")
    assert events.filter(f"user_id = '{HIDDEN}'").count() == 8
    assert not files_with(folder, KEY.decode())
    lists = spark.read.format("delta").load(f"{folder}/lake/recommendations")
    everyone = {f"u{n:02d}" for n in range(planted.USERS)} - {"u07"} | {ONE, "new-red", "new-quiet"}
    assert {row["user_id"] for row in lists.select("user_id").distinct().collect()} == everyone
    had = {item for user, item, *_ in planted.events() if user == "u07"}
    given = {row["item_id"] for row in lists.filter(f"user_id = '{ONE}'").collect()}
    assert given
    assert not given & {*had, DENIED}
    assert HIDDEN in (folder / "report.html").read_text()

    (folder / "users.txt").write_text(ONE)
    assert run("erase", folder, supplied, more=("--users", f"{folder}/users.txt", "--also", "denied")) == 0
    assert files_with(folder, ONE) == {"events.csv", "users.txt"}
    assert files_with(folder, HIDDEN) == set()
    assert (folder / "model" / "learned-from-erased-users.txt").is_file()
    assert f"learned from them, and marked so: {folder}/model" in capsys.readouterr().out
    assert run("score", folder, supplied) == 0


def test_another_key_publishes_nothing_and_none_is_refused(
    spark: SparkSession, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for job in ("prepare", "train"):
        assert run(job, folder) == 0
    monkeypatch.setenv("LLMREC_SECRET", "another key that has enough bytes")
    assert run("score", folder) == 2
    assert "nobody in the lists is in the sources under this key" in capsys.readouterr().err
    assert spark.read.format("delta").load(f"{folder}/lake/recommendations").isEmpty()
    monkeypatch.setenv("LLMREC_SECRET", KEY.decode())
    assert run("score", folder) == 0
    assert "goes on" not in capsys.readouterr().out
    monkeypatch.delenv("LLMREC_SECRET")
    assert run("prepare", folder) == 2
    assert "privacy.pseudonyms: needs a secret key" in capsys.readouterr().err


def test_who_has_left_the_sources_gets_no_list_and_where_many_have_the_night_is_not_published(
    spark: SparkSession, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for job in ("prepare", "train"):
        assert run(job, folder) == 0
    events = folder / "events.csv"
    events.write_text("\n".join(line for line in events.read_text().splitlines() if not line.startswith(ONE)))
    assert run("score", folder) == 0
    lists = spark.read.format("delta").load(f"{folder}/lake/recommendations")
    users = {row["user_id"] for row in lists.select("user_id").distinct().collect()}
    assert len(users) == planted.USERS + 1
    assert ONE not in users
    said = capsys.readouterr().out
    assert "1 users are no longer in the sources and get no list" in said
    assert f"published {lists.count():,} rows" in said
    runs = spark.read.format("delta").load(f"{folder}/lake/runs").filter("stage = 'publish' and job = 'score'")
    assert [row["rows_out"] for row in runs.collect()] == [lists.count()]

    kept = [line for line in events.read_text().splitlines() if not line.startswith(("u0", "u1", "u2"))]
    events.write_text("\n".join(kept))
    before = lists.count()
    assert run("score", folder, run_date="2026-02-02") == 3
    assert "\n  share of users without a list: " in capsys.readouterr().err
    assert lists.count() == before
