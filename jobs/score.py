"""The night: scores every eligible user's candidates and replaces one date of recommendations.

spark-submit jobs/score.py --config conf/demo.yaml --run-date 1998-04-23
"""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

from llmrec import columns as C
from llmrec.cli import Job, Run
from llmrec.lock import held
from llmrec.models import open_model
from llmrec.pipelines.night import (
    build_catalogue,
    night_parts,
    open_night,
    relations_needed,
    require_ranker,
    user_rows,
    with_texts_of,
)
from llmrec.pipelines.score import check_lists, published_rows, require_users, scoring_key, users_without
from llmrec.progress import spark_progress
from llmrec.spark.schemas import RECOMMENDATION_CONSTRAINTS
from llmrec.spark.shipping import ship_folder
from llmrec.spark.staging import finished_buckets, stage_lists, staged_lists
from llmrec.spark.tables import create_latest, create_table, replace_date
from llmrec.spark.vector_cache import ensure_vectors


def main(run: Run) -> None:
    """Read tables, score, check, publish."""
    config, spark = run.config, run.spark
    model = open_model(run)
    require_ranker(model.manifest, config)
    config = with_texts_of(model.manifest, config)
    night = open_night(**run.read_night(), config=config, run_date=run.day)
    target = run.table(C.RECOMMENDATIONS)
    create_table(spark, target, C.RECOMMENDATIONS, partition_by=C.RUN_DATE, constraints=RECOMMENDATION_CONSTRAINTS)
    create_latest(spark, target)

    work = run.work_folder()
    shipped = ship_folder(spark, model.folder, f"model-{run.run_id}", work)
    with run.stage("items") as stage:
        vectors, stage.counts = ensure_vectors(
            spark, run.table(C.ITEM_VECTORS), night.items, shipped, model.encoder_version
        )
    with run.stage("histories") as stage:
        liked = config.texts.history_items
        users = user_rows(night, night.events, config, liked=liked, until=run.day).persist()
        eligible = require_users(users, run.table(C.EVENTS))
        stage.rows_in, stage.rows_out = night.events.count(), eligible
        stage.counts = {"events": stage.rows_in, "users": eligible}
    with run.stage("catalogue") as stage:
        catalogue = build_catalogue(
            night, night.events, users, vectors, config, work / "catalogue", run.day,
            relations=relations_needed(config), without_failed=True,
        )  # fmt: skip
        stage.rows_out = len(catalogue)
        stage.counts = {"items": len(catalogue), "available": int(catalogue.available.sum())}
        stage.counts |= {f"{name} pairs": len(related.items) for name, related in catalogue.related.items()}
        counted = dict(stage.counts)
    with run.stage("scores") as stage:
        shelves = ship_folder(spark, work / "catalogue", f"catalogue-{run.run_id}", work)
        parts = night_parts(shipped, shelves, config, run.day)
        key = scoring_key(run.day, model.version, run.table_versions, counted, config)
        folder = run.closing.enter_context(held(Path(config.work, f"score-{key}"), run.run_id))
        if known := len(finished_buckets(folder)):
            print(f"score: goes on from a run that did not end, {known} of {config.score.partitions} buckets are there")
        with spark_progress(spark, "scoring users", config.score.partitions):
            stage_lists(users, replace(parts, without_failed=True), config.score.top_n, config.score.partitions, folder)
        staged = staged_lists(spark, folder)
        rows = published_rows(
            staged, run_date=run.day, scene=config.score.scene, model_version=model.version, run_id=run.run_id
        )
        missing = users_without(staged)
        again_before = config.rules.again_before(run.day)
        try:
            stage.counts = check_lists(
                rows, night, top_n=config.score.top_n, eligible=eligible, again_before=again_before
            )
        except Exception:
            shutil.rmtree(folder)  # or the next run would go on with the same lists
            raise
        stage.rows_out = stage.counts["rows"]
        stage.counts |= {f"users without {source}": count for source, count in missing.items()}
        for source, count in missing.items():
            print(f"candidates: the source {source} failed for {count:,} users, who got lists without it; see the log")
    with run.stage("publish") as stage:
        replace_date(rows, target, run.day)
        shutil.rmtree(folder)
        stage.rows_in = stage.rows_out = stage.counts["rows"] = run.stages[-2].rows_out or 0
    print(f"published {stage.rows_out:,} rows of {run.day} to {target}")


JOB = Job("score", main, __doc__)

if __name__ == "__main__":
    sys.exit(JOB.run())
