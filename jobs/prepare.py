"""Check the user's own tables row by row and write them as events, items, users and impressions.

    spark-submit jobs/prepare.py --config conf/demo.yaml

Rows that cannot be used go to the table quarantine, each with its reasons. No table changes before every source has
been read and checked.
"""

import sys
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from llmrec import columns as C
from llmrec.cli import PSEUDONYMS, Job, Run
from llmrec.errors import ConfigError
from llmrec.lock import LOCKS, PREPARE, held
from llmrec.pipelines.prepare import ORDER, Prepared, all_refused, prepare_source, require_good_rows
from llmrec.spark.pseudonyms import pseudonymous
from llmrec.spark.schemas import SCHEMAS
from llmrec.spark.sources import read_source, source_errors
from llmrec.spark.tables import append_table, overwrite_table, table_exists

_PATIENCE = 3600.0
"""Seconds to wait for another prepare, such as that of a weekly training: tables of two would not fit each other."""


def main(run: Run) -> None:
    """Read and check all sources, then write the tables."""
    sources = {table: source for table in ORDER if (source := getattr(run.config.sources, table))}
    for needed in (C.EVENTS, C.ITEMS):
        if needed not in sources:
            raise ConfigError(f"sources.{needed}: missing, expected path, format and columns (see conf/default.yaml)")
    lock = Path(run.config.work, LOCKS, f"{PREPARE}.lock")
    run.closing.enter_context(held(lock, run.run_id, patience=_PATIENCE))

    with run.stage("read"):
        mapped = {table: read_source(run.spark, table, **source.model_dump()) for table, source in sources.items()}
        if run.config.privacy.pseudonyms:
            key = run.secret(PSEUDONYMS)
            mapped = {table: pseudonymous(rows, key) for table, rows in mapped.items()}

    checked: dict[str, Prepared] = {}
    with ExitStack() as cached:
        for table, rows in mapped.items():
            with run.stage(table) as stage, source_errors(f"sources.{table}: {sources[table].path}"):
                items = checked[C.ITEMS].good if C.ITEMS in checked else None
                prepared = prepare_source(
                    rows, table, run.config.prepare, items=items, now=run.now, run_id=run.run_id,
                    keep_text=run.config.privacy.keep_text,
                )  # fmt: skip
                cached.callback(prepared.release)
                stage.rows_in, stage.rows_out = prepared.counts["read"], prepared.counts["used"]
                stage.counts = prepared.counts
                require_good_rows(prepared)
                checked[table] = prepared
        with run.stage("write") as stage:
            write(run, checked)
            stage.rows_out = sum(prepared.counts["used"] for prepared in checked.values())
    show(list(checked.values()))


def write(run: Run, checked: dict[str, Prepared]) -> None:
    """Replace the tables and add to quarantine."""
    refused = sum(prepared.counts["quarantined"] for prepared in checked.values())
    if refused or not table_exists(run.spark, run.table(C.QUARANTINE)):
        append_table(all_refused(list(checked.values())), run.table(C.QUARANTINE))
    for table in ORDER:
        if table in checked:
            overwrite_table(checked[table].good, run.table(table))
        # A source that is gone must not live on in its table; a table named in the settings may be the user's own.
        elif table not in run.config.tables.names and table_exists(run.spark, run.table(table)):
            overwrite_table(run.spark.createDataFrame([], SCHEMAS[table]), run.table(table))


def show(checked: list[Prepared]) -> None:
    """Print what became of the rows, then why rows were quarantined."""
    outcomes = Table()
    outcomes.add_column("source")
    for count in ("read", "used", "quarantined", "duplicates"):
        outcomes.add_column(count, justify="right")
    reasons = Table()
    reasons.add_column("source")
    reasons.add_column("reason for quarantine", overflow="fold")
    reasons.add_column("rows", justify="right")
    for prepared in checked:
        outcomes.add_row(prepared.table, *(f"{rows:,}" for rows in prepared.counts.values()))
        for reason, rows in prepared.reasons.items():
            reasons.add_row(prepared.table, reason, f"{rows:,}")
    console = Console()
    console.print(outcomes)
    if reasons.row_count:
        console.print(reasons)


JOB = Job("prepare", main, __doc__, needs_run_date=False)

if __name__ == "__main__":
    sys.exit(JOB.run())
