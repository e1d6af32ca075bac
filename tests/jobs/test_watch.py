"""What is told of a run: on the console, in the log, in ``runs``, in the metrics, and to whoever is called."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from llmrec.cli import Job, Run
from llmrec.errors import InputTableError
from tests.watch.test_metrics import samples
from tests.watch.test_webhook import TOKEN, Server


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    monkeypatch.setenv("LLMREC_FAILURE_WEBHOOK", server.address)
    yield server
    server.shutdown()
    server.server_close()


def log(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def arguments(folder: Path) -> list[str]:
    places = [f"tables.location={folder}/lake", f"log.file={folder}/log.jsonl", f"log.metrics_folder={folder}/metrics"]
    return ["--run-date", "2026-02-01", "--set", *places]


def recorded(spark: SparkSession, folder: Path) -> list[dict]:
    rows = spark.read.format("delta").load(f"{folder}/lake/runs").orderBy("started_at").collect()
    return [row.asDict() for row in rows]


def test_log_runs_console_and_metrics_have_the_same_figures_while_a_run_goes_on(
    spark: SparkSession, tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(run: Run) -> None:
        run.model_version = "feedc0ffee12"
        with run.stage("read") as stage:
            assert log(tmp_path)[-1]["stage"] == "read"
            assert log(tmp_path)[-1]["status"] == "running"
            stage.rows_in, stage.rows_out = 9, 7
        assert log(tmp_path)[-1]["status"] == "done"
        with run.stage("scores") as stage:
            stage.counts = {"pairs scored": 4000, "users": 3}

    assert Job("probe", main, "Works.").run(arguments(tmp_path)) == 0
    told, rows = log(tmp_path), recorded(spark, tmp_path)
    assert [(line["stage"], line["status"]) for line in told] == [
        ("read", "running"), ("read", "done"), ("scores", "running"), ("scores", "done"), (None, "done"),
    ]  # fmt: skip
    assert {(line["run_id"], line["job"], line["run_date"]) for line in told} == {
        (rows[0]["run_id"], "probe", "2026-02-01")
    }
    shown, metrics = capsys.readouterr().err, samples(tmp_path / "metrics", "probe")
    for line, row in zip((told[1], told[3]), rows, strict=True):
        for name in ("stage", "status", "rows_in", "rows_out", "counts", "model_version", "message", "config_sha"):
            assert line[name] == row[name]
        assert line["seconds"] == pytest.approx(row["seconds"], abs=0.001)
        assert line["pairs_per_second"] == row["pairs_per_second"]
        assert f"[probe] {row['stage']}: done, {row['seconds']:.1f} s" in shown
        assert metrics["llmrec_stage_duration_seconds", "probe", row["stage"]] == row["seconds"]
    assert rows[1]["pairs_per_second"] == pytest.approx(4000 / rows[1]["seconds"])
    assert rows[0]["pairs_per_second"] is None
    assert told[4]["exit_code"] == metrics["llmrec_last_run_exit_code", "probe"] == 0
    assert server.calls == []


def test_a_table_of_an_older_version_gets_the_pairs_per_second(spark: SparkSession, tmp_path: Path) -> None:
    for _ in range(2):
        assert Job("probe", _one_stage, "Works.").run(arguments(tmp_path)) == 0
        runs = spark.read.format("delta").load(f"{tmp_path}/lake/runs").drop("pairs_per_second")
        older = spark.createDataFrame(runs.collect(), runs.schema)
        older.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(f"{tmp_path}/lake/runs")
    assert len(recorded(spark, tmp_path)) == 2


def test_wrong_arguments_are_told_too(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        Job("probe", _one_stage, "Works.").run(["--run-date", "yesterday"])
    assert ended.value.code == 2
    assert "argument --run-date: invalid" in capsys.readouterr().err
    [(_, _, body)] = server.calls
    assert json.loads(body)["exit_code"] == 2
    with pytest.raises(SystemExit):
        Job("probe", _one_stage, "Works.").run(["--help"])
    assert len(server.calls) == 1


def _one_stage(run: Run) -> None:
    with run.stage("read"):
        pass


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [(InputTableError("events: is empty \x1b[31m"), 2, "InputTableError"), (KeyError("red"), 1, "KeyError")],
)
def test_a_failure_is_told_to_all_and_one_is_called(
    spark: SparkSession, tmp_path: Path, server: Server, error: Exception, code: int, kind: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def main(run: Run) -> None:
        with run.stage("read"):
            raise error

    assert Job("probe", main, "Fails.").run(arguments(tmp_path)) == code
    [(_, _, body)] = server.calls
    called, told, [row] = json.loads(body), log(tmp_path), recorded(spark, tmp_path)
    assert called["exit_code"] == told[-1]["exit_code"] == code
    assert called["message"] == told[-1]["message"] == told[-2]["message"] == row["message"]
    assert called["message"].startswith(f"{kind}: ")
    assert (called["job"], called["run_date"], called["stage"]) == ("probe", "2026-02-01", "read")
    assert called["run_id"] == row["run_id"]
    assert called["text"].startswith(f"probe of 2026-02-01 ended with exit code {code}: {kind}")
    assert "\x1b" not in called["text"]
    assert samples(tmp_path / "metrics", "probe")["llmrec_last_run_exit_code", "probe"] == code
    said = capsys.readouterr()
    assert TOKEN not in said.out + said.err + str(row) + str(told)


def test_wrong_settings_are_told_before_spark_starts(server: Server) -> None:
    assert Job("probe", lambda _: None, "Starts.").run(["--run-date", "2026-02-01", "--set", "score.top_n=0"]) == 2
    [(_, _, body)] = server.calls
    assert "score.top_n" in json.loads(body)["message"]
    assert json.loads(body)["run_id"] is None


def test_nothing_watched_is_in_the_way_when_nobody_asked_for_it(tmp_path: Path, spark: SparkSession) -> None:
    assert (
        Job("probe", lambda _: None, "Works.").run(
            ["--run-date", "2026-02-01", "--set", f"tables.location={tmp_path}/l"]
        )
        == 0
    )
    assert [path.name for path in tmp_path.iterdir()] == ["l"]


def test_a_log_in_a_place_that_cannot_be_written_ends_with_2_and_metrics_there_are_only_missed(
    tmp_path: Path, spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    job, lake = Job("probe", lambda _: None, "Works."), f"tables.location={tmp_path}/l"
    assert job.run(["--run-date", "2026-02-01", "--set", lake, f"log.file={tmp_path}/file/log"]) == 2
    assert "file/log cannot be written" in capsys.readouterr().err
    assert job.run(["--run-date", "2026-02-01", "--set", lake, f"log.metrics_folder={tmp_path}/file/metrics"]) == 0
    assert "log.metrics_folder: " in capsys.readouterr().err
