"""Passwords and hostile text in what jobs print, log, record and report."""

import importlib
from datetime import date, datetime, timezone
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from llmrec import columns as C
from llmrec.cli import Job, Run
from llmrec.spark.schemas import SCHEMAS
from llmrec.spark.tables import append_table

SECRET = "gr33n-tea%2Fleaf"
ADDRESS = "http://night:${oc.env:REGISTRY_PASSWORD}@127.0.0.1:9"
train, report = (importlib.import_module(name) for name in ("train", "report"))


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Settings with a registry that nobody serves, whose password is in the environment."""
    monkeypatch.setenv("REGISTRY_PASSWORD", SECRET)
    path = tmp_path / "config.yaml"
    path.write_text(f"registry: {{uri: '{ADDRESS}'}}\ntables: {{location: {tmp_path}/lake}}\nwork: {tmp_path}/work\n")
    return ["--config", str(path), "--run-date", "2026-02-01"]


def recorded(spark: SparkSession, tmp_path: Path) -> list[str]:
    return [str(row.asDict()) for row in spark.read.format("delta").load(f"{tmp_path}/lake/runs").collect()]


def require_untold(*texts: str) -> None:
    for text in texts:
        assert "gr33n-tea" not in text


def test_the_password_of_a_registry_is_in_no_message_and_no_record(
    spark: SparkSession, tmp_path: Path, config: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.JOB.run(config) == 2
    said, [row] = capsys.readouterr(), recorded(spark, tmp_path)
    assert "registry: http://127.0.0.1:9 failed" in said.err
    assert "registry: http://127.0.0.1:9 failed" in row
    require_untold(said.out, said.err, row)

    publish_one_list(spark, tmp_path)
    page = tmp_path / SECRET / "report.html"
    assert report.JOB.run([*config, "--set", f"report.path={page}"]) == 0
    said, rows = capsys.readouterr(), recorded(spark, tmp_path)
    assert f"{tmp_path}/***/report.html" in said.out
    assert "<strong>train</strong>" in page.read_text()
    require_untold(page.read_text(), said.out, said.err, *rows)


def publish_one_list(spark: SparkSession, tmp_path: Path) -> None:
    """Make the tables that a report is made of."""
    bought = datetime(2026, 1, 5, tzinfo=timezone.utc)
    tables = {
        C.RECOMMENDATIONS: [
            (date(2026, 2, 1), "u1", "default", 1, "i1", 0.25, ["dense"], "model1", "night1", "Why", 1.0, None)
        ],
        C.EVENTS: [("u1", "i2", "buy", bought, None, None, None)],
        C.ITEMS: [(item, item, *[None] * 6) for item in ("i1", "i2")],
    }
    for name, rows in tables.items():
        append_table(spark.createDataFrame(rows, SCHEMAS[name]).coalesce(1), f"{tmp_path}/lake/{name}")


def test_print_config_hides_it(config: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert train.JOB.run([*config, "--print-config"]) == 0
    said = capsys.readouterr().out
    assert '  uri: "http://***@127.0.0.1:9"' in said
    require_untold(said)


def test_a_traceback_tells_neither_passwords_nor_the_terminal_what_to_do(
    spark: SparkSession, tmp_path: Path, config: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def main(run: Run) -> None:
        with run.stage("quoting"):
            try:
                raise OSError(f"GET {run.config.registry.uri} for \x1b[31mred tea\u202e")
            except OSError as error:
                raise RuntimeError(f"no answer to night:{SECRET}") from error

    assert Job("probe", main, "Fails.").run(config) == 1
    said, [row] = capsys.readouterr(), recorded(spark, tmp_path)
    assert "Traceback" in said.err
    assert r"GET http://***@127.0.0.1:9 for \x1b[31mred tea\u202e" in said.err
    assert "RuntimeError: no answer to night:***" in row
    require_untold(said.out, said.err, row)


def test_the_password_in_a_path_is_in_no_count_no_metric_and_nothing_that_is_said(
    spark: SparkSession, tmp_path: Path, config: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = f"ftp://night:{SECRET}@127.0.0.1/clicks.csv"

    def main(run: Run) -> None:
        with run.stage("counting") as stage:
            stage.counts = {path: 3}
        run.say(f"read {path}\x1b[31m")

    places = [f"log.file={tmp_path}/log", f"log.metrics_folder={tmp_path}/metrics"]
    assert Job("probe", main, "Counts.").run([*config, "--set", *places]) == 0
    said, [row] = capsys.readouterr(), recorded(spark, tmp_path)
    assert said.out == "read ftp://***@127.0.0.1/clicks.csv\\x1b[31m\n"
    for told in (
        said.err,
        (tmp_path / "log").read_text(),
        (tmp_path / "metrics" / "llmrec_probe.prom").read_text(),
        row,
    ):
        assert "ftp://***@127.0.0.1/clicks.csv" in told
        require_untold(told)
