"""The night: scores every eligible user's candidates and replaces one date of recommendations.

spark-submit jobs/score.py --config conf/demo.yaml --run-date 1998-04-23
"""

import argparse
import getpass
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pyspark.sql import DataFrame

from llmrec import columns as C
from llmrec.cli import PSEUDONYMS, Job, Run
from llmrec.domain.bounds import out_of_bounds
from llmrec.errors import InputTableError, OutputError
from llmrec.lock import LOCKS, held
from llmrec.models import open_model
from llmrec.nn.artifact import ModelInfo
from llmrec.pipelines.night import (
    Night,
    build_catalogue,
    counts_needed,
    night_parts,
    open_night,
    require_ranker,
    user_rows,
    with_texts_of,
)
from llmrec.pipelines.publication import admit, bounds_of, columns_read, compared_with, figures_of_night
from llmrec.pipelines.reuse import kept_files, tidy
from llmrec.pipelines.score import (
    WrongListsError,
    check_lists,
    published_rows,
    require_users,
    scoring_key,
    users_without,
)
from llmrec.progress import spark_progress
from llmrec.spark.figures import event_figures
from llmrec.spark.nights import earlier_nights, night_row
from llmrec.spark.pseudonyms import fingerprint, with_identities
from llmrec.spark.schemas import RECOMMENDATION_CONSTRAINTS
from llmrec.spark.shipping import ship_folder
from llmrec.spark.sources import read_source, source_errors
from llmrec.spark.staging import damaged_dropped, finished_buckets, stage_lists, staged_lists
from llmrec.spark.tables import create_latest, create_table, replace_night
from llmrec.spark.vector_cache import ensure_vectors
from llmrec.spark.workers import NightParts


@dataclass(frozen=True)
class _Lists:
    """What is about to be published."""

    folder: Path
    """Where it is staged."""
    staged: DataFrame
    rows: DataFrame
    """As recommendations holds them."""
    counts: dict[str, int]


def main(run: Run) -> None:
    """Read tables, score, check, compare with earlier nights, publish."""
    spark, model = run.spark, open_model(run)
    require_ranker(model.manifest, run.config)
    run.config = config = with_texts_of(model.manifest, run.config)
    run.closing.enter_context(held(Path(config.work, LOCKS, f"{run.day}.lock"), run.run_id))
    tables = run.read_night()
    night = open_night(**tables, config=config, run_date=run.day)
    target = run.table(C.RECOMMENDATIONS)
    create_table(spark, target, C.RECOMMENDATIONS, partition_by=C.RUN_DATE, constraints=RECOMMENDATION_CONSTRAINTS)
    create_latest(spark, target)
    create_table(spark, run.table(C.NIGHTS), C.NIGHTS, partition_by=C.RUN_DATE)

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
        of_events = event_figures(night.events, run.day, columns_read(config)[C.EVENTS])
        stage.rows_in, stage.rows_out = of_events.total, eligible
        stage.counts = {"events": stage.rows_in, "users": eligible}
    with run.stage("catalogue") as stage:
        failed = list[str]()

        def left_out(name: str, error: Exception) -> None:
            failed.append(name)
            run.say(f"candidates.{name}: failed, the night goes on without it ({' '.join(str(error).split())[:300]})")

        catalogue = build_catalogue(
            night, night.events, users, vectors, config, work / "catalogue", run.day,
            wanted=counts_needed(config), left_out=left_out,
        )  # fmt: skip
        stage.rows_out = len(catalogue)
        stage.counts = {"items": len(catalogue), "available": int(catalogue.available.sum())}
        stage.counts |= {f"{name} pairs": len(related.items) for name, related in catalogue.related.items()}
        stage.counts |= {f"{name} failed": 1 for name in failed}
    shelves = ship_folder(spark, work / "catalogue", f"catalogue-{run.run_id}", work)
    parts = replace(night_parts(shipped, shelves, config, run.day), without_failed=True)
    secret = fingerprint(run.secret(PSEUDONYMS)) if config.privacy.pseudonyms else None
    key = scoring_key(run.day, model.version, run.commits, stage.counts, config, secret)
    lists = _score(run, model, parts, night, users, eligible, key)
    with run.stage("gates") as stage, damaged_dropped(lists.folder):
        if config.privacy.pseudonyms:
            lists = _with_ids(run, lists)
        tonight = figures_of_night(
            tables, lists.staged, lists.counts, config, run_date=run.day, model_version=model.version,
            eligible=eligible, available=int(catalogue.available.sum()), events=of_events,
            columns=run.column_types(C.EVENTS, C.ITEMS, C.USERS, C.CANDIDATES, C.RECOMMENDATIONS),
        )  # fmt: skip
        earlier = earlier_nights(run.read(C.NIGHTS), config.score.scene, run.day, config.gates.nights)
        run.say(compared_with(earlier, config.score.scene))
        reasons = out_of_bounds(tonight, earlier, bounds_of(config))
        stage.counts = {"nights": len(earlier), "out of bounds": len(reasons)}
        stage.message = admit(reasons, f"{target}: {run.day}", forced_by=who(os.environ), why=run.args.force)
        if stage.message:
            run.say(f"gates: {stage.message}")
    with run.stage("publish") as stage:
        with damaged_dropped(lists.folder):
            replace_night(lists.rows, target, run.day, config.score.scene)
        row = night_row(spark, replace(tonight, forced=bool(reasons)), config.score.scene, run.run_id)
        with _published(f"{target}: {run.day}"):
            replace_night(row, run.table(C.NIGHTS), run.day, config.score.scene)
        shutil.rmtree(lists.folder, ignore_errors=True)
        stage.rows_in = stage.rows_out = stage.counts["rows"] = lists.counts["rows"]
    run.say(f"published {stage.rows_out:,} rows of {run.day} to {target}")


@contextmanager
def _published(what: str) -> Iterator[None]:
    """Say of an error that ``what`` is published all the same."""
    try:
        yield
    except OutputError as error:
        raise OutputError(f"{what} is published, but not its figures, so run it again: {error}") from error


def _with_ids(run: Run, lists: _Lists) -> _Lists:
    """Return lists with ids for pseudonyms; whom the sources no longer know gets none."""
    sources = {table: getattr(run.config.sources, table) for table in (C.EVENTS, C.USERS)}
    read = [read_source(run.spark, table, **source.model_dump()) for table, source in sources.items() if source]
    with source_errors("sources"):
        rows = with_identities(lists.rows, read, run.secret(PSEUDONYMS)).persist()
        run.closing.callback(rows.unpersist)
        found = {"rows": rows.count(), "users": rows.select(C.USER).distinct().count()}
    counts = lists.counts
    if gone := counts["users"] - found["users"]:
        run.say(f"privacy.pseudonyms: {gone:,} users are no longer in the sources and get no list")
    return replace(lists, rows=rows, counts={**counts, **found, "empty": counts["empty"] + gone})


def _score(
    run: Run, model: ModelInfo, parts: NightParts, night: Night, users: DataFrame, eligible: int, key: str
) -> _Lists:
    """Make the lists that no run of the same ``key`` has made yet, and check all of them."""
    config = run.config
    with run.stage("scores") as stage:
        folder = Path(config.work, f"score-{key}")
        folder.mkdir(exist_ok=True)
        if known := len(finished_buckets(folder)):
            print(f"score: goes on from a run that did not end, {known} of {config.score.partitions} buckets are there")
        kept = kept_files(config, model.encoder_version, run.day)
        with spark_progress(run.spark, "scoring users", config.score.partitions):
            read = stage_lists(users, parts, config.score.top_n, config.score.partitions, folder, kept)
        if kept:
            tidy(kept, config, read)
        staged = staged_lists(run.spark, folder)
        rows = published_rows(
            staged, run_date=run.day, scene=config.score.scene, model_version=model.version, run_id=run.run_id
        )
        again_before = config.rules.again_before(run.day)
        try:
            with damaged_dropped(folder):
                missing = users_without(staged)
                stage.counts = check_lists(
                    rows, night, top_n=config.score.top_n, eligible=eligible, again_before=again_before
                )
        except (WrongListsError, InputTableError):
            shutil.rmtree(folder, ignore_errors=True)  # or the next run would go on with the same lists
            raise
        stage.rows_out = stage.counts["rows"]
        stage.counts |= read
        stage.counts |= {f"users without {source}": count for source, count in missing.items()}
        for source, count in missing.items():
            print(f"candidates: the source {source} failed for {count:,} users, who got lists without it; see the log")
    return _Lists(folder, staged, rows, stage.counts)


def who(environment: Mapping[str, str]) -> str:
    """Return who started this run: the system's user, or the task of Airflow with its owner."""
    task = [environment[name] for name in ("AIRFLOW_CTX_DAG_ID", "AIRFLOW_CTX_TASK_ID") if environment.get(name)]
    if task:
        return f"{environment.get('AIRFLOW_CTX_DAG_OWNER') or 'unknown'} (Airflow, {'.'.join(task)})"
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return f"user {os.getuid()}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add those of score alone."""
    parser.add_argument(
        "--force", type=_reason, metavar="WHY", help="publish although figures are out of bounds (gates); say why"
    )


def _reason(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("is blank, expected the reason in words")
    return text.strip()


JOB = Job("score", main, __doc__, arguments=add_arguments)

if __name__ == "__main__":
    sys.exit(JOB.run())
