"""Metrics of a job's last run, as a text file that Prometheus' node exporter collects."""

import time
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile
from prometheus_client.parser import text_string_to_metric_families

from llmrec.watch.stage import Stage

_LAST_SUCCESS = "llmrec_last_success_timestamp_seconds"


def write_metrics(
    folder: Path, job: str, *, exit_code: int, seconds: float, stages: Sequence[Stage], info: dict[str, str]
) -> None:
    """Replace ``folder``/llmrec_JOB.prom, whole or not at all; raises OSError if it cannot be written.

    Args:
        folder: of the textfile collector.
        job: name of the job.
        exit_code: what the run ended with; the time of the last one that ended with 0 is kept.
        seconds: how long the run took.
        stages: those that ended.
        info: labels of llmrec_run_info.
    """
    path, now, registry = folder / f"llmrec_{job}.prom", time.time(), CollectorRegistry()

    def gauge(name: str, meaning: str, value: float | None, **labels: str) -> None:
        if value is not None:
            known = gauges.get(name) or Gauge(name, meaning, ["job_name", *labels], registry=registry)
            gauges.setdefault(name, known).labels(job, *labels.values()).set(value)

    gauges: dict[str, Gauge] = {}
    gauge("llmrec_last_run_timestamp_seconds", "When the last run ended.", now)
    gauge("llmrec_last_run_exit_code", "What the last run ended with (README, exit codes).", exit_code)
    gauge("llmrec_last_run_duration_seconds", "How long the last run took.", seconds)
    succeeded = now if exit_code == 0 else _last_success(path)
    gauge(_LAST_SUCCESS, "When the last run that ended with 0 did.", succeeded)
    gauge("llmrec_run_info", "Which run it was.", 1, **info)
    for stage in stages:
        labels = {"stage": stage.name}
        gauge("llmrec_stage_duration_seconds", "How long the stage took.", stage.seconds, **labels)
        gauge("llmrec_stage_rows_in", "Rows that the stage read.", stage.rows_in, **labels)
        gauge("llmrec_stage_rows_out", "Rows that the stage made.", stage.rows_out, **labels)
        speed = stage.pairs_per_second
        gauge("llmrec_stage_pairs_per_second", "Pairs that the model scored per second.", speed, **labels)
        for name, count in stage.counts.items():
            gauge("llmrec_stage_counts", "What the stage counted, as in the table runs.", count, **labels, count=name)
    folder.mkdir(parents=True, exist_ok=True)
    write_to_textfile(str(path), registry)


def _last_success(path: Path) -> float | None:
    try:
        families = list(text_string_to_metric_families(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    return next((s.value for family in families for s in family.samples if s.name == _LAST_SUCCESS), None)
