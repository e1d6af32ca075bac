"""What a night is told from others by, counted in one pass over each of events, items, users and lists.

Names say what a figure is, as they stand in the table ``nights`` and in messages.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from llmrec import columns as C
from llmrec.domain.bounds import QUANTILES, score_figures
from llmrec.spark.splits import LIKES, first_moment
from llmrec.spark.workers import PROPOSED

_ENOUGH = 100
"""Shares of fewer events differ from day to day by chance."""
Figures = dict[str, float]


@dataclass(frozen=True)
class EventFigures:
    """What tells the events of a night from those of others."""

    total: int
    last_day: int
    shares: Figures


def event_figures(events: DataFrame, run_date: date, columns: Iterable[str]) -> EventFigures:
    """Measure the events of a night, all before ``run_date``; without any there are no shares.

    The shares are of likes and of missing values in ``columns``, among all events and, where it has enough, among those
    of the last day: a column that is suddenly null is null in new events only.
    """
    late = F.col(C.EVENT_TIME) >= first_moment(run_date - timedelta(days=1))
    marks = {"share of events that are likes": F.col(LIKES)}
    marks |= {f"share of rows without {C.EVENTS}.{name}": _is_missing(events, name) for name in columns}
    row = events.agg(
        F.count("*").alias("events"),
        F.count_if(late).alias("late"),
        *(F.count_if(mark).alias(f"{name}.all") for name, mark in marks.items()),
        *(F.count_if(late & mark).alias(f"{name}.late") for name, mark in marks.items()),
    ).collect()[0]
    shares = {name: row[f"{name}.all"] / row["events"] for name in marks} if row["events"] else {}
    if row["late"] >= _ENOUGH:
        shares |= {f"{name}, last day": row[f"{name}.late"] / row["late"] for name in marks}
    return EventFigures(row["events"], row["late"], shares)


def missing_shares(rows: DataFrame, table: str, columns: Iterable[str]) -> Figures:
    """Return the share of rows that have nothing in a column, for each of ``columns``; none if there is no row."""
    names = {name: f"share of rows without {table}.{name}" for name in columns}
    row = rows.agg(
        F.count("*").alias("rows"), *(F.count_if(_is_missing(rows, name)).alias(said) for name, said in names.items())
    ).collect()[0]
    return {said: row[said] / row["rows"] for said in names.values()} if row["rows"] else {}


def list_figures(staged: DataFrame) -> tuple[Figures, Figures]:
    """Return counts and scores of staged lists (spark.staging); there is at least one row.

    Distinct items are counted by HyperLogLog, to 1 %, so that no row is moved for it.
    """
    of_user = F.when(F.col(C.RANK) == 1, F.col(PROPOSED))
    row = staged.agg(
        F.avg(of_user).alias("candidates"),
        F.approx_count_distinct(C.ITEM, 0.01).alias("items"),
        F.percentile_approx(C.SCORE, list(QUANTILES)).alias("quantiles"),
    ).collect()[0]
    counts = {"candidates per user": float(row["candidates"]), "items in lists": float(row["items"])}
    return counts, score_figures(row["quantiles"])


def _is_missing(rows: DataFrame, name: str) -> Column:
    kind = rows.schema[name].dataType
    if isinstance(kind, T.StringType):
        return F.col(name).isNull() | (F.btrim(name) == "")
    if isinstance(kind, T.ArrayType | T.MapType):
        return F.col(name).isNull() | (F.size(name) == 0)
    return F.col(name).isNull()
