"""Keep the tables small: drop old dates and vectors, merge small files, delete files that no reader needs any more.

    spark-submit jobs/maintain.py --config conf/demo.yaml

It may run beside any other job, so it merges no file of what another may be replacing: the last date, and those that
are being scored now. Tables that are not llmrec's to write, such as events where no source is named, are left alone.
What killed runs left in the folder work goes too.
"""

import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.table import Table

from llmrec import columns as C
from llmrec.cli import Job, Run
from llmrec.leftovers import remove_leftovers
from llmrec.lock import LOCKS, PREPARE, names_held
from llmrec.pipelines.prepare import ORDER
from llmrec.spark.items import text_shas
from llmrec.spark.upkeep import Size, compact, drop_days, latest_day, vacuum
from llmrec.spark.vector_cache import drop_gone_texts, drop_old_encoders

_DAYS = {
    **dict.fromkeys((C.RECOMMENDATIONS, C.NIGHTS, C.METRICS), C.RUN_DATE),
    C.QUARANTINE: "time",
    C.RUNS: "started_at",
}
"""Tables that grow from night to night, and the column that tells the day."""
_ADDED_TO = (C.ITEM_VECTORS, C.METRICS, C.QUARANTINE, C.RUNS)
"""Tables that jobs add rows to. Merging files of one whose rows a job replaces could make that job's commit fail."""
_MEGABYTE = 1e6


@dataclass(frozen=True)
class _Kept:
    """What became of a table."""

    table: str
    dropped: int
    before: Size
    after: Size


def main(run: Run) -> None:
    """Go over the tables one by one."""
    prepared = [table for table in ORDER if getattr(run.config.sources, table)]
    tables = [table for table in (*prepared, C.ITEM_VECTORS, *_DAYS) if run.has(table)]
    found = []
    for table in tables:
        with run.stage(table) as stage:
            kept = _keep(run, table)
            stage.rows_out = kept.dropped
            stage.counts = {"dropped": kept.dropped, "files": kept.after.files, "bytes": kept.after.size}
        found.append(kept)
    with run.stage("work") as stage:
        stage.counts = {"dropped": remove_leftovers(Path(run.config.work), run.config.maintain.keep_files_days)}
    _show(found, run)


def _keep(run: Run, table: str) -> _Kept:
    spark, name, settings = run.spark, run.table(table), run.config.maintain
    before, dropped = Size.of(spark, name), 0
    if table in _DAYS:
        dropped = drop_days(spark, name, _DAYS[table], settings.keep_days)
    elif table == C.ITEM_VECTORS:
        dropped = drop_old_encoders(spark, name, settings.keep_days)
        if run.has(C.ITEMS):
            texts = text_shas(run.read(C.ITEMS), run.config.texts.item_template)
            dropped += drop_gone_texts(spark, name, texts, settings.keep_days)
    if table == C.RECOMMENDATIONS:
        last = latest_day(spark, name, C.RUN_DATE)
        scored = {date.fromisoformat(day) for day in names_held(Path(run.config.work, LOCKS)) if day != PREPARE}
        left = " AND ".join(f"{C.RUN_DATE} <> '{day}'" for day in sorted(scored | ({last} if last else set())))
        compact(spark, name, left or None)
    elif table in _ADDED_TO:
        compact(spark, name)
    vacuum(spark, name, settings.keep_files_days)
    return _Kept(table, dropped, before, Size.of(spark, name))


def _show(found: list[_Kept], run: Run) -> None:
    table = Table(
        title=f"kept: {run.config.maintain.keep_days} days, files of {run.config.maintain.keep_files_days} days"
    )
    table.add_column("table")
    for name in ("rows dropped", "files", "after", "MB", "after"):
        table.add_column(name, justify="right")
    for kept in found:
        sizes = [f"{one.size / _MEGABYTE:,.2f}" for one in (kept.before, kept.after)]
        table.add_row(kept.table, f"{kept.dropped:,}", f"{kept.before.files:,}", f"{kept.after.files:,}", *sizes)
    Console(width=None if sys.stdout.isatty() else 100).print(table)


JOB = Job("maintain", main, __doc__, needs_run_date=False)

if __name__ == "__main__":
    sys.exit(JOB.run())
