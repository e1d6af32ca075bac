"""train and evaluate where a day divides the past from what is held out."""

import importlib
import json
from pathlib import Path

from pyspark.sql import SparkSession

from tests import planted, tiny

OVERRIDES = ["holdout.by=time", "holdout.days=7"]


def run(job: str, folder: Path) -> int:
    argv = ["--config", f"{folder}/config.yaml", "--run-date", planted.RUN_DATE, "--set", *OVERRIDES]
    return importlib.import_module(job).JOB.run(argv)


def test_a_model_of_events_before_a_day_is_evaluated_on_those_after_it(spark: SparkSession, tmp_path: Path) -> None:
    tiny.encoder_folder(tmp_path / "encoder")
    planted.write_sources(tmp_path)
    assert run("prepare", tmp_path) == run("train", tmp_path) == run("evaluate", tmp_path) == 0
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    assert manifest["events"]["last"] < "2026-01-18"  # a week to validate by, a week to test by
    rows = spark.read.format("delta").load(f"{tmp_path}/lake/metrics").filter("segment = 'all' and k = 4").collect()
    found = {(row["system"], row["metric"]): row for row in rows}
    late = {user for user, _, _, at in planted.events() if at.date().isoformat() >= "2026-01-25"}
    assert found["llmrec", "HR"]["users"] == len(late)
    assert found["llmrec", "NDCG"]["value"] > found["popularity", "NDCG"]["value"]
