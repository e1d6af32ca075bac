"""From mapped source rows to the tables everything else reads: good rows, quarantined rows, and what became of each."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from llmrec import columns as C
from llmrec.errors import InputTableError
from llmrec.settings.tables import Prepare
from llmrec.spark.checks import (
    DUPLICATE,
    SEPARATOR,
    Limits,
    good_rows,
    mark_repeats,
    parse_rows,
    refuse_unknown_items,
    refused_rows,
)

ORDER = (C.ITEMS, C.USERS, C.EVENTS, C.IMPRESSIONS)
"""Items first: events and impressions are checked against them."""
WITHOUT_GOOD_ROWS_NOTHING_WORKS = (C.ITEMS, C.EVENTS)


@dataclass
class Prepared:
    """What became of one source. Its rows are cached until `release`."""

    table: str
    good: DataFrame
    """Columns of the contract."""
    quarantine: DataFrame
    counts: dict[str, int]
    """Rows read, used, quarantined, duplicates; the first is the sum of the others."""
    reasons: dict[str, int]
    """Rows by reason, commonest first; a row with two reasons counts for both."""
    checked: DataFrame

    def release(self) -> None:
        """Forget the cached rows."""
        self.checked.unpersist()


def prepare_source(
    source: DataFrame,
    table: str,
    settings: Prepare,
    *,
    items: DataFrame | None,
    now: datetime,
    run_id: str,
    keep_text: bool = False,
) -> Prepared:
    """Check every row of ``source``, the mapped source of ``table``.

    Args:
        source: columns mapped to ours, of any type (see `llmrec.spark.sources.read_source`).
        table: events, items, users or impressions.
        settings: limits of what is accepted.
        items: the good items, which events and impressions must refer to; not needed for the others.
        now: events after this have an impossible time.
        run_id: written to quarantine.
        keep_text: whether quarantine keeps what users wrote.

    Raises InputTableError if a source column can never be of the contract's type.
    """
    limits = Limits(settings.earliest_event, now, settings.max_text_chars)
    prepared = _prepare(source, table, limits, items, now, run_id, keep_text)
    if not is_complete(prepared.counts):
        # Of a text file that grows, Spark reads one line beyond the end it has found at first; then it reads no more.
        prepared.release()
        prepared = _prepare(source, table, limits, items, now, run_id, keep_text)
    require_complete(table, prepared.counts)
    return prepared


def _prepare(
    source: DataFrame, table: str, limits: Limits, items: DataFrame | None, now: datetime, run_id: str, keep_text: bool
) -> Prepared:
    checked = parse_rows(source, table, limits)
    if table in (C.EVENTS, C.IMPRESSIONS) and items is not None:
        checked = refuse_unknown_items(checked, items)
    checked = mark_repeats(checked, table, keep_text=keep_text).persist()
    outcomes = checked.groupBy(C.REASON, DUPLICATE).agg(F.count("*").alias("rows")).collect()
    reasons: Counter[str] = Counter()
    counts = {"read": source.count(), "used": 0, "quarantined": 0, "duplicates": 0}
    for reason, is_duplicate, rows in outcomes:
        counts["quarantined" if reason else "duplicates" if is_duplicate else "used"] += rows
        reasons.update({one: rows for one in reason.split(SEPARATOR)} if reason else {})
    return Prepared(
        table=table,
        good=good_rows(checked, table),
        quarantine=refused_rows(checked, table, run_id, now),
        counts=counts,
        reasons=dict(reasons.most_common()),
        checked=checked,
    )


def is_complete(counts: dict[str, int]) -> bool:
    """Tell whether each row that was read is accounted for."""
    return counts["read"] == counts["used"] + counts["quarantined"] + counts["duplicates"]


def require_complete(table: str, counts: dict[str, int]) -> None:
    """Raise RuntimeError, a bug, if a row was lost or made up."""
    if not is_complete(counts):
        accounted = counts["used"] + counts["quarantined"] + counts["duplicates"]
        raise RuntimeError(f"{table}: {counts['read']} rows read, but {accounted} accounted for: {counts}")


def require_good_rows(prepared: Prepared) -> None:
    """Raise InputTableError if nothing is left of a source that all else needs."""
    if prepared.counts["used"] or prepared.table not in WITHOUT_GOOD_ROWS_NOTHING_WORKS:
        return
    commonest = ", ".join(f"{reason} ({rows:,})" for reason, rows in list(prepared.reasons.items())[:3])
    raise InputTableError(
        f"sources.{prepared.table}: none of the {prepared.counts['read']:,} rows can be used; expected at least one; "
        f"commonest reasons: {commonest}"
    )


def all_refused(sources: list[Prepared]) -> DataFrame:
    """Put the quarantined rows of all ``sources`` (at least one) into one table."""
    return reduce(DataFrame.unionByName, [prepared.quarantine for prepared in sources])
