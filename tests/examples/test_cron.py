"""examples/cron/nightly.sh: with real jobs, and its lock, logs and exit codes with programs of a moment."""

import importlib
import os
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest
import yaml
from pyspark.sql import SparkSession

from tests import planted, tiny

ROOT = Path(__file__).parents[2]
NIGHTLY = ROOT / "examples" / "cron" / "nightly.sh"
SUBMIT = "--master local[2] --driver-memory 1g --driver-java-options -XX:TieredStopAtLevel=1"
train = importlib.import_module("train")


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """Return what cron gives a command, and the settings of a night in ``folder``."""
    known = {name: os.environ[name] for name in ("HOME", "JAVA_HOME") if name in os.environ}
    here = {"PATH": f"{folder}/bin:/usr/bin:/bin", "LLMREC_HOME": str(folder), "LLMREC_LOGS": f"{folder}/logs"}
    return {**known, **here, **settings}


def run(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(NIGHTLY), *arguments], env=environment(folder, **settings), cwd="/", capture_output=True, text=True,
        check=False,
    )  # fmt: skip


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    """An installation whose spark-submit is a script: it says its arguments, and the job $FAILING ends with $CODE."""
    (tmp_path / "bin").mkdir()
    submit = tmp_path / "bin" / "spark-submit"
    lines = [
        "#!/bin/bash",
        'echo "submitted $*"',
        'sleep "${SECONDS_AT_WORK-0}"',
        'case "$1" in *"/jobs/${FAILING-none}.py") echo "a setting is wrong"; exit "$CODE";; esac',
    ]
    submit.write_text("\n".join(lines))
    submit.chmod(0o755)
    return tmp_path


def test_real_jobs_run_as_under_cron_and_the_message_of_one_that_fails_is_for_the_mail(
    spark: SparkSession, tmp_path: Path
) -> None:
    tiny.encoder_folder(tmp_path / "encoder")
    planted.write_sources(tmp_path)
    config = planted.settings(tmp_path)
    config["train"]["ranker"] = "popularity"
    config["spark"] |= {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    settings = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "LLMREC_HOME": str(ROOT),
        "LLMREC_CONFIG": f"{tmp_path}/config.yaml", "LLMREC_JOBS": "prepare score report",
        "LLMREC_SUBMIT_FLAGS": SUBMIT,
    }  # fmt: skip
    done = run(tmp_path, planted.RUN_DATE, **settings)  # there is no model yet
    assert (done.returncode, done.stdout) == (2, "")
    assert f"llmrec: score for {planted.RUN_DATE} ended with exit code 2" in done.stderr
    assert "holds no manifest.json; expected a folder written by jobs/train.py" in done.stderr
    [log] = (tmp_path / "logs").glob("*.log")
    assert "[prepare] write: done" in log.read_text()
    assert spark.read.format("delta").load(f"{tmp_path}/lake/events").count() == len(planted.events())
    assert not (tmp_path / "report.html").exists()

    assert train.JOB.run(["--config", f"{tmp_path}/config.yaml", "--run-date", planted.RUN_DATE]) == 0
    done = run(tmp_path, planted.RUN_DATE, **settings | {"LLMREC_JOBS": "score"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    lists = spark.read.format("delta").load(f"{tmp_path}/lake/recommendations")
    assert lists.select("user_id").distinct().count() == planted.USERS + 2
    assert {str(row["run_date"]) for row in lists.select("run_date").collect()} == {planted.RUN_DATE}


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])  # in one of them it is another day
def test_a_night_that_goes_well_is_silent_and_its_run_date_is_todays_in_utc(quick: Path, zone: str) -> None:
    before = datetime.now(timezone.utc).date()
    done = run(quick, TZ=zone)
    after = datetime.now(timezone.utc).date()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    [log] = (quick / "logs").glob("*.log")
    lines = [line.split() for line in log.read_text().splitlines()]
    assert {line[-1] for line in lines} <= {str(before), str(after)}
    assert [Path(line[1]).stem for line in lines] == ["prepare", "score", "evaluate", "report"]


@pytest.mark.parametrize("code", [1, 2, 3])
def test_a_job_that_fails_ends_the_night_with_its_exit_code_and_a_message_for_the_mail(quick: Path, code: int) -> None:
    done = run(quick, "2026-02-01", FAILING="score", CODE=str(code))
    assert done.returncode == code
    assert done.stdout == ""
    assert f"llmrec: score for 2026-02-01 ended with exit code {code}" in done.stderr
    assert "a setting is wrong" in done.stderr
    [log] = (quick / "logs").glob("*.log")
    assert "evaluate" not in log.read_text()


def test_a_second_run_at_the_same_time_does_nothing_and_says_so(quick: Path) -> None:
    slow = environment(quick, LLMREC_JOBS="score", SECONDS_AT_WORK="120")
    first = subprocess.Popen([str(NIGHTLY)], env=slow, start_new_session=True)
    deadline = time.monotonic() + 20
    while not list((quick / "logs").glob("*.log")) and time.monotonic() < deadline:
        time.sleep(0.02)
    refused = [run(quick, "2026-02-01")]
    first.kill()
    first.wait()
    refused.append(run(quick, "2026-02-01"))  # the wrapper is gone, its job is at work
    os.killpg(first.pid, signal.SIGKILL)
    assert [done.returncode for done in refused] == [75, 75]
    assert "another run is at work" in refused[0].stderr
    assert len(list((quick / "logs").glob("*.log"))) == 1
    assert wait_until_free(quick).returncode == 0


def wait_until_free(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a night as soon as the lock is gone; killed processes need a moment to go."""
    deadline = time.monotonic() + 20
    while (done := run(folder, "2026-02-02")).returncode == 75 and time.monotonic() < deadline:
        time.sleep(0.05)
    return done


def test_the_latest_logs_are_kept_and_older_ones_go(quick: Path) -> None:
    (quick / "logs").mkdir()
    for day in range(1, 9):
        old = quick / "logs" / f"2026-01-0{day}-021500.log"
        old.touch()
        os.utime(old, (day, day))
    (quick / "logs" / "notes.txt").touch()
    assert run(quick, "2026-02-01", LLMREC_KEEP_LOGS="3").returncode == 0
    logs = sorted(path.name[:10] for path in (quick / "logs").glob("*.log"))
    assert logs == ["2026-01-07", "2026-01-08", "2026-02-01"]
    assert (quick / "logs" / "notes.txt").exists()
