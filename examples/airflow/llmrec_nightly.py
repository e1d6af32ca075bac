r"""The nights of llmrec in Airflow 3.3 or newer, and a training each week.

A night's data interval is one day and its run date the day on which that interval ends: the lists for that day, from
the events before it. What Airflow starts early on 1 February, with the logical date 31 January, has the run date
1 February.

Spark is where the connection spark_default says. Two Variables name what the Airflow workers see:

    llmrec_dist     the folder that `make dist` built
    llmrec_config   the settings

Past nights are made up by themselves from FIRST_NIGHT on. Others, or the same again, are made by a backfill; this one
has the run dates 2 to 31 January, one after the other:

    airflow backfill create --dag-id llmrec_nightly --from-date 2026-01-01 --to-date 2026-01-31 \
        --max-active-runs 1 --reprocess-behavior completed

In a backfill too, prepare takes the sources as they are, and score the model that is champion now. evaluate refuses a
model that was trained later than the night: that task then fails, and the report is made without it.
"""

import logging
import re
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import DAG, CronDataIntervalTimetable, RetryDecision, RetryPolicy, TriggerRule

FIRST_NIGHT = datetime(2026, 1, 1, tzinfo=timezone.utc)
NIGHTLY, WEEKLY = "0 2 * * *", "0 12 * * 1"  # UTC, like run dates; the feeds of the day before should be there
DIST = "{{ var.value.get('llmrec_dist', '/opt/llmrec/dist') }}"
CONFIG = "{{ var.value.get('llmrec_config', '/opt/llmrec/night.yaml') }}"
RUN_DATE = "{{ data_interval_end.strftime('%Y-%m-%d') }}"
SPARK = {
    "spark.driver.memory": "8g",
    # Where the hosts have no Python with the libraries of llmrec:
    # "spark.archives": f"{DIST}/environment.tar.gz#environment",
    # "spark.pyspark.python": "./environment/bin/python",
    # "spark.pyspark.driver.python": "/opt/llmrec/.venv/bin/python",
}


class NotWhatAPersonMustMend(RetryPolicy):
    """Retries what may pass by itself, and fails at once on the exit codes 2 and 3 of a job.

    The operator has the exit code in its message, in client mode. In cluster mode spark-submit does not know it, and
    everything is retried.
    """

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any = None) -> RetryDecision:
        """Read the exit code from the exception."""
        code = re.search(r"Error code is: ([23])\.", str(exception))
        return RetryDecision.fail(f"exit code {code[1]}, see docs/operations.md") if code else RetryDecision.default()


def tell(context: Any) -> None:
    """Say which task of which night failed; put your pager or chat here."""
    task, night = context["task_instance"].task_id, context["data_interval_end"]
    logging.getLogger(__name__).error("llmrec: %s for %s failed: %s", task, f"{night:%F}", context.get("exception"))


def submit(job: str, **arguments: Any) -> SparkSubmitOperator:
    """Return the task that runs one job."""
    return SparkSubmitOperator(
        task_id=job,
        name=f"llmrec-{job}",
        application=f"{DIST}/jobs/{job}.py",
        py_files=f"{DIST}/llmrec.zip",
        application_args=["--config", CONFIG, "--run-date", RUN_DATE],
        conf=SPARK,
        **arguments,
    )


COMMON: dict[str, Any] = {
    "start_date": FIRST_NIGHT,
    "max_active_runs": 1,  # nights are compared with those before them
    "tags": ["llmrec"],
    "default_args": {
        "retries": 2,
        "retry_delay": timedelta(minutes=10),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(hours=1),
        "retry_policy": NotWhatAPersonMustMend(),
        "on_failure_callback": tell,
    },
}

with DAG("llmrec_nightly", schedule=CronDataIntervalTimetable(NIGHTLY, "UTC"), catchup=True, **COMMON):
    score, evaluate = submit("score"), submit("evaluate")
    # A night whose quality could not be measured has its report too, one without lists has none.
    report = submit("report", trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS)
    submit("prepare") >> score >> evaluate
    [score, evaluate] >> report

with DAG("llmrec_weekly", schedule=CronDataIntervalTimetable(WEEKLY, "UTC"), catchup=False, **COMMON):
    submit("prepare") >> submit("train")
