"""Remove users from everything that llmrec keeps: tables and their history, work folder, report, log.

    spark-submit jobs/erase.py --config conf/demo.yaml --users users.txt [--also candidates denied]

The file has one user id a line. No other job may be at work. Sources are not llmrec's to write: users who are still in
them come back with the next prepare; erase says which hold them. Neither are tables that others write, unless --also
names them. Models learned from users stay, and are marked.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pyspark.sql import DataFrame
from rich.console import Console
from rich.table import Table

from llmrec import columns as C
from llmrec.cli import PSEUDONYMS, Job, Run
from llmrec.errors import ConfigError, InputTableError
from llmrec.models import mark_models
from llmrec.pipelines.erasure import OF_USERS, SUPPLIED, clear_work, drop_report, ours_and_theirs, read_ids, traces_of
from llmrec.spark.erasure import Found, clean_messages, erased_ids, find, forget_history, remove_rows
from llmrec.spark.pseudonyms import ids_of_source, pseudonym
from llmrec.spark.sources import read_source, source_errors
from llmrec.spark.tables import open_delta


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add those of erase alone."""
    parser.add_argument("--users", type=Path, metavar="FILE", help="the users' ids, one a line")
    parser.add_argument(
        "--also", nargs="+", default=[], choices=[*SUPPLIED, C.EVENTS, C.USERS, C.IMPRESSIONS], metavar="TABLE",
        help="clean this table too, though others write it",
    )  # fmt: skip


def main(run: Run) -> None:
    """Mark the models, then clean place by place: any step may be taken again."""
    if run.args.users is None:
        raise ConfigError("--users: missing, expected a file with one user id a line")
    ids = read_ids(run.args.users)
    whose = dict(zip(ids, ids, strict=True))
    if run.config.privacy.pseudonyms:
        key = run.secret(PSEUDONYMS)
        whose |= {pseudonym(one, key): one for one in ids}
    erased = erased_ids(run.spark, list(whose)).persist()
    ours, theirs = ours_and_theirs(run.config, run.args.also)
    shown = Table(title=f"{len(ids):,} users")
    for name in ("place", "removed", "left"):
        shown.add_column(name, justify="left" if name == "place" else "right")

    def show(place: str, removed: str, left: str = "") -> None:
        shown.add_row(run.watch.harmless(place), removed, left)

    marked = _mark(run, erased)
    with run.stage("work") as stage:
        stage.counts = clear_work(Path(run.config.work), erased, run.run_id)
        for what, count in stage.counts.items():
            show(f"{run.config.work}: {what}", f"{count:,}")
    with run.stage("report"):
        dropped = drop_report(Path(run.config.report.path), list(whose))
        show(f"{run.config.report.path}: pages", f"{dropped:,}")
    known: set[str] = set()
    for table in filter(run.has, ours):
        with run.stage(table) as stage:
            found = remove_rows(run.spark, run.table(table), table, erased)
            forget_history(run.spark, run.table(table), run.now)
            left = find(open_delta(run.spark, run.table(table)).toDF(), table, erased).rows
            stage.rows_out, stage.counts = found.rows, {"left": left}
            known |= found.ids
            show(run.table(table), f"{found.rows:,}", f"{left:,}")
    if run.has(C.RUNS):
        with run.stage("messages") as stage:
            stage.rows_out = clean_messages(run.spark, run.table(C.RUNS), list(whose))
            forget_history(run.spark, run.table(C.RUNS), run.now)
            show(f"{run.table(C.RUNS)}: messages", f"{stage.rows_out:,}")
    if run.config.log.file:
        with run.stage("log") as stage:
            stage.rows_out = run.watch.erase(whose)
            show(f"{run.config.log.file}: messages", f"{stage.rows_out:,}")
    with run.stage("not touched") as stage:
        others = _of_others(run, theirs, erased)
        stage.counts = {place: found.rows if found else -1 for place, found in others.items()}
        for place, found_there in others.items():
            known |= found_there.ids if found_there else set()
            show(_where(run, place), "", f"{found_there.rows:,}" if found_there else "not read")
    Console(width=None if sys.stdout.isatty() else 120, markup=False, emoji=False).print(shown)
    still = [_where(run, place) for place, count in stage.counts.items() if count > 0]
    unseen = [run.table(table) for table in theirs if run.has(table)]
    run.say(_said(still, unseen, marked, len(ids) - len({whose[one] for one in known})))


def _mark(run: Run, erased: DataFrame) -> list[str] | None:
    """Mark the models that may have learned from them; None if they are in no table, so nobody can tell which may."""
    with run.stage("models") as stage:
        events, impressions = (run.read(table, optional=True) for table in (C.EVENTS, C.IMPRESSIONS))
        traces = traces_of(events, impressions, erased)
        # Whose events went before: by the tables it is not known since when they were there.
        were_there = traces.first is not None or any(
            find(open_delta(run.spark, run.table(table)).toDF(), table, erased).rows
            for table in filter(run.has, OF_USERS)
        )
        marked = mark_models(run.config, traces, run.now) if were_there else None
        stage.counts = {"models": len(marked or ())}
        stage.message = f"learned from users who were erased: {', '.join(marked)}" if marked else None
    return marked


def _of_others(run: Run, theirs: Sequence[str], erased: DataFrame) -> dict[str, Found | None]:
    """Find the users in places that are not llmrec's to write; None where they cannot be read."""
    found: dict[str, Found | None] = {}
    for table in filter(run.has, theirs):
        found[table] = find(open_delta(run.spark, run.table(table)).toDF(), table, erased)
    for table in (C.EVENTS, C.USERS, C.IMPRESSIONS):
        source = getattr(run.config.sources, table)
        if source is None:
            continue
        place = f"sources.{table}"
        try:
            with source_errors(_where(run, place)):
                rows = ids_of_source(read_source(run.spark, table, **source.model_dump()))
                found[place] = None if rows is None else find(rows, table, erased)
        except InputTableError:  # it is said that it was not read, and an erasure must not wait for a source
            found[place] = None
    return found


def _where(run: Run, place: str) -> str:
    """Return a table's path or name, or a source with its path; only for the console, as it may hold a password."""
    table = place.removeprefix("sources.")
    return run.table(table) if table == place else f"{place}: {getattr(run.config.sources, table).path}"


def _said(still: Sequence[str], unseen: Sequence[str], marked: list[str] | None, unknown: int) -> str:
    lines = []
    if unknown:
        lines.append(f"{unknown:,} of the ids are in no table and no source that was read")
    if unseen:
        lines.append(
            f"history not touched, as others write them: {', '.join(unseen)}; --also TABLE cleans one, history and all"
        )
    if still:
        lines.append(
            f"still there, and not llmrec's to write: {', '.join(still)}; prepare and score bring back what is"
        )
    if marked:
        lines.append(f"learned from them, and marked so: {', '.join(marked)}; run train for a model without them")
    elif marked is None:
        lines.append("models: they are in no table of llmrec, so no model is newly marked")
    return "\n".join(lines)


JOB = Job("erase", main, __doc__, needs_run_date=False, arguments=add_arguments, alone=True)

if __name__ == "__main__":
    sys.exit(JOB.run())
