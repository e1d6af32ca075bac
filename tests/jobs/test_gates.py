"""score, with nights that went wrong before it: what is too unlike the nights before is not published unasked."""

import contextlib
import hashlib
import importlib
import io
import json
import shutil
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from llmrec.nn.alone import Alone
from tests import planted, tiny

jobs = {name: importlib.import_module(name) for name in ("prepare", "train", "score")}


def run(job: str, folder: Path, *overrides: str, run_date: str = planted.RUN_DATE, more: tuple[str, ...] = ()) -> int:
    named = ["--set", *overrides] if overrides else []
    return jobs[job].JOB.run(["--config", f"{folder}/config.yaml", "--run-date", run_date, *more, *named])


def table(spark: SparkSession, folder: Path, name: str) -> DataFrame:
    return spark.read.format("delta").load(f"{folder}/lake/{name}")


def published(spark: SparkSession, folder: Path) -> set[str]:
    dates = table(spark, folder, "recommendations").select(F.col("run_date").cast("string")).distinct()
    return {row[0] for row in dates.collect()}


def last_gates(spark: SparkSession, folder: Path) -> Row:
    return table(spark, folder, "runs").filter("stage = 'gates'").orderBy(F.desc("started_at")).first()


def changed(spark: SparkSession, folder: Path, tmp_path: Path, name: str, rows: DataFrame) -> str:
    """Return the override that lets ``rows`` stand for the table ``name``."""
    rows.write.format("delta").save(f"{tmp_path}/{name}")
    return f"tables.names.{name}={tmp_path}/{name}"


@pytest.fixture(scope="module")
def folder(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop with two published nights, and what was said of them."""
    folder = tmp_path_factory.mktemp("gates")
    tiny.encoder_folder(folder / "encoder")
    planted.write_sources(folder)
    assert run("prepare", folder) == 0
    assert run("train", folder, "train.max_epochs=1") == 0
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert run("score", folder) == 0
        assert run("score", folder, run_date="2026-02-02") == 0
    (folder / "said").write_text(said.getvalue())
    return folder


def test_the_first_night_has_none_to_compare_with_and_the_same_date_again_does_not_compare_with_itself(
    spark: SparkSession, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = [line for line in (folder / "said").read_text().splitlines() if line.startswith("gates: ")]
    assert first == "gates: there is no earlier night of scene default to compare with"
    assert second == "gates: compared with 2026-02-01"
    assert run("score", folder, run_date="2026-02-02") == 0
    assert "gates: compared with 2026-02-01\n" in capsys.readouterr().out
    kept = table(spark, folder, "nights").orderBy("run_date").collect()
    assert [(str(row["run_date"]), row["forced"]) for row in kept] == [("2026-02-01", False), ("2026-02-02", False)]
    assert kept[0]["counts"]["eligible users"] == planted.USERS + 2
    assert kept[0]["counts"]["events"] == len(planted.events())
    assert kept[0]["counts"]["available items"] == 2 * planted.PER_COLOUR - 2
    assert kept[0]["counts"]["candidates per user"] > 4
    assert kept[0]["shares"]["share of fallback users"] == 2 / (planted.USERS + 2)
    assert kept[0]["columns"]["events.event_time"] == kept[0]["columns"]["items.available_from"] == "timestamp"


def test_half_of_the_events_stop_the_night_until_someone_forces_it_and_nothing_is_scored_twice(
    spark: SparkSession,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    half = table(spark, folder, "events").filter("user_id < 'u24'")
    night = changed(spark, folder, tmp_path, "events", half)
    before = table(spark, folder, "recommendations").count()
    assert run("score", folder, night, run_date="2026-02-03") == 3
    said = capsys.readouterr().err
    assert "2026-02-03: nothing is published" in said
    assert (
        "\n  eligible users: 26, expected 35 to 100; 2 nights, 2026-02-01 to 2026-02-02, had 50 in the median" in said
    )
    assert "\n  events: 192, expected 268.8 to 768; " in said
    assert "Traceback" not in said
    assert published(spark, folder) == {"2026-02-01", "2026-02-02"}
    assert table(spark, folder, "recommendations").count() == before
    assert table(spark, folder, "nights").count() == 2
    failed = last_gates(spark, folder)
    assert failed["status"] == "failed"
    assert "eligible users: 26, expected 35 to 100" in failed["message"]

    for name, value in {"DAG_ID": "nightly", "TASK_ID": "score", "DAG_OWNER": "ann"}.items():
        monkeypatch.setenv(f"AIRFLOW_CTX_{name}", value)
    # Wider bounds change no list either, and the night is out of them still.
    forced = run(
        "score", folder, night, "gates.max_rise=3", run_date="2026-02-03", more=("--force", "half of the shops closed")
    )
    assert forced == 0
    assert "2 of 2 buckets are there" in capsys.readouterr().out
    assert published(spark, folder) == {"2026-02-01", "2026-02-02", "2026-02-03"}
    recorded = last_gates(spark, folder)
    assert recorded["status"] == "done"
    assert recorded["message"].startswith(
        "forced by ann (Airflow, nightly.score): half of the shops closed; out of bounds:\n  "
    )
    assert not list((folder / "work").glob("score-*"))
    kept = {str(row["run_date"]): row["forced"] for row in table(spark, folder, "nights").collect()}
    assert kept == {"2026-02-01": False, "2026-02-02": False, "2026-02-03": True}


def test_a_model_that_scores_all_alike_is_refused_by_its_quantiles_and_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(folder / "model", model)
    Alone("history_length", 1e-9, -2.0).save(model / "ranker.json")
    manifest = json.loads((model / "manifest.json").read_text())
    manifest["files"]["ranker.json"] = hashlib.sha256((model / "ranker.json").read_bytes()).hexdigest()
    (model / "manifest.json").write_text(json.dumps(manifest))
    assert run("score", folder, f"model={model}", run_date="2026-02-02") == 3
    said = capsys.readouterr().err
    assert "\n  score spread, quantile 0.9 less 0.1: " in said
    assert "; the model is " in said


def test_a_catalogue_that_lost_most_items_and_a_column_is_refused(
    spark: SparkSession, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = table(spark, folder, "items").filter("item_id rlike '-0[0-6]'").drop("available_until", "category")
    assert run("score", folder, changed(spark, folder, tmp_path, "items", few), run_date="2026-02-02") == 3
    said = capsys.readouterr().err
    assert "\n  available items: 14, expected 18.2 to 52; the night of 2026-02-01 had 26\n" in said
    assert "\n  share of rows without items.category: 100.0%, expected at most 20.0%; " in said
    assert "\n  items.category: is missing, expected array<string> as in the night of 2026-02-01\n" in said


def test_a_force_without_a_reason_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run("score", folder, more=("--force", " "))
    assert ended.value.code == 2
    assert "argument --force: is blank, expected the reason in words" in capsys.readouterr().err


def test_who_forces_is_the_task_of_airflow_or_the_user_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    score = jobs["score"]
    assert score.who({"AIRFLOW_CTX_DAG_ID": "nightly"}) == "unknown (Airflow, nightly)"
    monkeypatch.setenv("LOGNAME", "ann")
    assert score.who({}) == "ann"

    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 1000650000")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert score.who({}).startswith("user ")


def test_the_lists_of_another_scene_stand_beside_those_of_a_date(spark: SparkSession, folder: Path) -> None:
    def count(name: str) -> dict[str, int]:
        rows = table(spark, folder, name).filter("run_date = '2026-02-02'").groupBy("scene").count().collect()
        return {row["scene"]: row["count"] for row in rows}

    lists = count("recommendations")["default"]
    assert run("score", folder, "score.scene=it's a cart", run_date="2026-02-02") == 0
    assert count("recommendations") == {"default": lists, "it's a cart": lists}
    assert count("nights") == {"default": 1, "it's a cart": 1}


def test_a_date_whose_figures_cannot_be_written_is_said_to_be_published_and_the_same_line_again_adds_them(
    spark: SparkSession, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    day, wide = "2026-02-05", "gates.nights=0"
    in_the_way = folder / "lake" / "nights" / f"run_date={day}"
    in_the_way.write_text("a file where a folder must be")
    assert run("score", folder, wide, run_date=day) == 2
    last = capsys.readouterr().err.rstrip().rpartition("\n")[2]
    assert f"recommendations: {day} is published, but not its figures, so run it again: " in last
    lists = table(spark, folder, "recommendations").filter(F.col("run_date") == day)
    figures = table(spark, folder, "nights").filter(F.col("run_date") == day)
    rows = lists.count()
    assert (rows > 0, figures.count()) == (True, 0)
    in_the_way.unlink()
    assert run("score", folder, wide, run_date=day) == 0
    assert (lists.count(), figures.count()) == (rows, 1)
