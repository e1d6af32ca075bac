"""Judges the pipeline by held-out likes, next to other systems and to itself without some of its parts.

spark-submit jobs/evaluate.py --config conf/demo.yaml --run-date 1998-04-23
"""

import sys
from dataclasses import astuple, fields

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table

from llmrec import columns as C
from llmrec.cli import Job, Run
from llmrec.models import open_model
from llmrec.nn.ablations import ABLATIONS
from llmrec.pipelines.evaluate import COMPARED, Metric, measure, require_unseen_holdout
from llmrec.pipelines.holdout import asked_for, counted_until, split
from llmrec.pipelines.night import build_catalogue, night_parts, open_night, require_ranker, user_rows, with_texts_of
from llmrec.progress import spark_progress
from llmrec.spark.schemas import SCHEMAS
from llmrec.spark.shipping import ship_folder
from llmrec.spark.splits import PART, TEST
from llmrec.spark.tables import append_table
from llmrec.spark.users import add_targets, in_tasks, sample_users
from llmrec.spark.vector_cache import ensure_vectors
from llmrec.spark.workers import judge


def main(run: Run) -> None:
    """Hold out, run the pipeline, measure, print, store."""
    config, spark = run.config, run.spark
    model = open_model(run)
    require_ranker(model.manifest, config)
    require_unseen_holdout(model.manifest, config, run.day)
    config = with_texts_of(model.manifest, config)
    night = open_night(**run.read_night(), config=config, run_date=run.day)
    work = run.work_folder()
    with run.stage("holdout") as stage:
        parts = split(night, config).persist()
        past, held_out = parts.filter(F.col(PART) != TEST), parts.filter(F.col(PART) == TEST)
        until = counted_until(run.day, TEST, config)
        rows = user_rows(night, past, config, liked=config.texts.history_items, until=until).persist()
        judges = add_targets(rows, asked_for(held_out, config))
        judges = sample_users(judges, config.evaluate.max_users, "evaluate").persist()
        stage.counts = {"events": past.count(), "held out": held_out.count(), "users": judges.count()}
    with run.stage("catalogue") as stage:
        shipped = ship_folder(spark, model.folder, f"model-{run.run_id}", work)
        vectors, stage.counts = ensure_vectors(
            spark, run.table(C.ITEM_VECTORS), night.items, shipped, model.encoder_version
        )
        catalogue = build_catalogue(night, past, rows, vectors, config, work / "catalogue", until)
    with run.stage("scores") as stage:
        shelves = ship_folder(spark, work / "catalogue", f"catalogue-{run.run_id}", work)
        ready = night_parts(shipped, shelves, config, run.day)
        tasks = config.score.partitions
        with spark_progress(spark, "scoring held-out users", tasks):
            judged = judge(in_tasks(judges, tasks), ready, max(config.evaluate.k)).toPandas()
        stage.counts = {"users": len(judged)}
    with run.stage("metrics") as stage:
        metrics = measure(judged, catalogue, model.manifest["metrics"]["importance"], config)
        append_table(_metric_rows(run, metrics), run.table(C.METRICS))
        stage.rows_out = len(metrics)
    _print(metrics, len(judged), min(config.evaluate.k, key=lambda k: abs(k - 10)))


def _metric_rows(run: Run, metrics: list[Metric]) -> DataFrame:
    constants = {C.RUN_ID: run.run_id, C.RUN_DATE: run.day, C.MODEL_VERSION: run.model_version}
    names = [field.name for field in fields(Metric)]
    values = [[v.item() if isinstance(v, np.generic) else v for v in astuple(metric)] for metric in metrics]
    rows = [{**dict(zip(names, row, strict=True)), **constants} for row in values]
    schema = SCHEMAS[C.METRICS]
    return run.spark.createDataFrame([tuple(row[name] for name in schema.names) for row in rows], schema).coalesce(1)


def _print(metrics: list[Metric], users: int, k: int) -> None:
    found = {(m.system, m.metric): m for m in metrics if m.k in (k, None) and m.segment == "all"}
    shown = ("HR", "precision", "recall", "F1", "NDCG", "MRR", "MAP", "AUC", "coverage", "novelty", "diversity")
    table = Table(title=f"{users:,} users, their held-out likes, k = {k}")
    table.add_column("system")
    for name in shown:
        table.add_column(name, justify="right")
    without = {one.name for one in ABLATIONS}  # their differences stand below
    for system in dict.fromkeys(m.system for m in metrics if m.system not in without):
        cells = [f"{found[system, name].value:.3f}" if (system, name) in found else "" for name in shown]
        table.add_row(system, *cells)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    for other in (name for name in COMPARED if (name, "NDCG difference") in found):
        gain, p = found[other, "NDCG difference"], found[other, "NDCG p-value"]
        console.print(
            f"NDCG@{k} against {other}: {gain.value:+.4f} (95 % interval {gain.low:+.4f} to {gain.high:+.4f}, "
            f"paired bootstrap p = {p.value:.3f})",
            highlight=False,
        )


JOB = Job("evaluate", main, __doc__)

if __name__ == "__main__":
    sys.exit(JOB.run())
