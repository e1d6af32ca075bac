"""The manifest of examples/k8s says what score and this Spark understand."""

from pathlib import Path

import pyspark
import yaml

from llmrec.cli import parse_args
from llmrec.spark.session import DELTA_PACKAGE

ROOT = Path(__file__).parents[2]


def test_the_manifest_starts_a_job_of_ours_with_arguments_that_it_takes() -> None:
    text = (ROOT / "examples" / "k8s" / "score.yaml").read_text()
    manifest = yaml.safe_load(text.replace("${RUN_DATE}", "2026-01-31"))
    assert (manifest["apiVersion"], manifest["kind"]) == ("sparkoperator.k8s.io/v1beta2", "SparkApplication")
    assert manifest["metadata"]["name"] == "llmrec-score-2026-01-31"
    spec = manifest["spec"]
    assert (ROOT / "jobs" / Path(spec["mainApplicationFile"]).name).is_file()
    args = parse_args("score", "", lambda parser: None, spec["arguments"])
    assert (args.run_date.isoformat(), args.config) == ("2026-01-31", Path("/mnt/llmrec/night.yaml"))
    assert spec["sparkVersion"] == pyspark.__version__
    assert spec["deps"]["packages"] == [DELTA_PACKAGE]
