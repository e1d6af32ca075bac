"""A real Airflow loads the DAGs of examples/airflow and runs a week's training and a night on local Spark."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from pyspark.sql import SparkSession

from tests import planted, tiny
from tools import pack_code

pytestmark = pytest.mark.airflow
ROOT = Path(__file__).parents[2]
AIRFLOW = ROOT / ".venv-airflow" / "bin"
MONDAY = "2026-02-02"


class Airflow:
    """Airflow with its database and settings in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        programs = Path(sys.executable).parent
        self.environment = {
            **{name: os.environ[name] for name in ("JAVA_HOME", "HOME", "LANG") if name in os.environ},
            "PATH": f"{programs}:/usr/bin:/bin",  # spark-submit is that of the jobs
            "AIRFLOW_HOME": str(folder / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "examples" / "airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps({"conn_type": "spark", "host": "local[2]"}),
            "AIRFLOW_VAR_LLMREC_DIST": str(folder / "dist"),
            "AIRFLOW_VAR_LLMREC_CONFIG": str(folder / "config.yaml"),
        }

    def __call__(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(AIRFLOW / "airflow"), *arguments], cwd=self.folder, env={**self.environment, **variables},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def states(self, dag: str) -> dict[str, tuple[str, int, str]]:
        """Return state, tries and end of the data interval of each task of the latest run, by task."""
        query = """
            SELECT task_id, task_instance.state, try_number, substr(data_interval_end, 1, 10)
            FROM task_instance JOIN dag_run USING (dag_id, run_id)
            WHERE dag_id = ? AND dag_run.id = (SELECT max(id) FROM dag_run WHERE dag_id = ?)
        """
        with sqlite3.connect(self.folder / "airflow" / "airflow.db") as database:
            return {task: tuple(rest) for task, *rest in database.execute(query, (dag, dag))}


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    """An Airflow beside a world without tables and model."""
    folder = tmp_path_factory.mktemp("airflow")
    tiny.encoder_folder(folder / "encoder")
    planted.write_sources(folder)
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    settings["train"]["max_epochs"] = 1
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    pack_code.main(folder / "dist")
    airflow = Airflow(folder)
    done = airflow("db", "migrate")
    assert done.returncode == 0, done.stdout + done.stderr
    return airflow


def test_both_dags_are_loaded_without_an_error(airflow: Airflow) -> None:
    done = airflow("dags", "reserialize")
    assert done.returncode == 0, done.stdout + done.stderr
    *_, errors = airflow("dags", "list-import-errors", "--output", "json").stdout.splitlines()  # warnings before it
    assert json.loads(errors) == []
    *_, dags = airflow("dags", "list", "--output", "json").stdout.splitlines()
    listed = json.loads(dags)
    assert {dag["dag_id"] for dag in listed} == {"llmrec_nightly", "llmrec_weekly"}
    *_, details = airflow("dags", "details", "llmrec_nightly", "--output", "json").stdout.splitlines()
    assert '"max_active_runs": "1"' in details


def test_a_backfill_makes_the_run_dates_after_its_first_day_up_to_its_last(airflow: Airflow) -> None:
    days = ["--from-date", "2026-01-01", "--to-date", "2026-01-04", "--max-active-runs", "1", "--dry-run"]
    said = airflow("backfill", "create", "--dag-id", "llmrec_nightly", *days).stdout
    starts = [line.split()[1] for line in said.splitlines() if line.startswith("| 2")]
    assert starts == ["2026-01-01", "2026-01-02", "2026-01-03"]  # a night's run date is the day after its start


def test_a_training_and_a_night_publish_the_day_on_which_their_interval_ends(
    airflow: Airflow, spark: SparkSession
) -> None:
    for dag, tasks in {
        "llmrec_weekly": ["prepare", "train"],
        "llmrec_nightly": ["prepare", "score", "evaluate", "report"],
    }.items():
        done = airflow("dags", "test", dag, f"{MONDAY}T13:00:00+00:00")
        states = airflow.states(dag)
        print(f"{dag}: {states}")
        assert states == {task: ("success", 1, MONDAY) for task in tasks}, done.stdout + done.stderr
    lake = airflow.folder / "lake"
    dates = spark.read.format("delta").load(f"{lake}/recommendations").groupBy("run_date").count().collect()
    assert [(str(row["run_date"]), row["count"]) for row in dates] == [(MONDAY, 4 * (planted.USERS + 2))]
    jobs = spark.read.format("delta").load(f"{lake}/runs").select("job").distinct().collect()
    assert {row["job"] for row in jobs} == {"prepare", "train", "score", "evaluate", "report"}
    assert (airflow.folder / "report.html").is_file()


def test_what_a_person_must_mend_is_not_retried_and_is_told(airflow: Airflow) -> None:
    done = airflow(
        "dags", "test", "llmrec_nightly", f"{MONDAY}T13:00:00+00:00", AIRFLOW_VAR_LLMREC_CONFIG="nowhere.yaml"
    )
    said = done.stdout + done.stderr
    states = {task: state for task, (state, *_) in airflow.states("llmrec_nightly").items()}
    assert states["prepare"] == "failed", said  # rather than up_for_retry
    assert "success" not in states.values()
    assert f"llmrec: prepare for {MONDAY} failed" in said


def test_what_may_pass_by_itself_is_tried_again_later(airflow: Airflow) -> None:
    """spark-submit ends with 1 where there is no such cluster; dags test would then wait for the retry."""
    nowhere = {"AIRFLOW_CONN_SPARK_DEFAULT": json.dumps({"conn_type": "spark", "host": "no-cluster"})}
    command = [str(AIRFLOW / "airflow"), "dags", "test", "llmrec_nightly", f"{MONDAY}T14:00:00+00:00"]
    with subprocess.Popen(
        command, cwd=airflow.folder, env={**airflow.environment, **nowhere}, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as trying:  # fmt: skip
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and trying.poll() is None:
            if (state := airflow.states("llmrec_nightly").get("prepare", ("",))[0]) == "up_for_retry":
                break
            time.sleep(0.2)
        trying.kill()
    assert state == "up_for_retry"
