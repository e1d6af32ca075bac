"""Taking users out of a Delta table for good: no file of it, of data, change data or log, holds them afterwards.

Delta keeps what was deleted for readers of older versions, and its log keeps the smallest and largest id of each file.
So the rows go first; then every file that the present version does not need; then the log before a new checkpoint. The
steps may be taken again at any time, and readers of the present version see nothing but the rows gone.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from llmrec import columns as C
from llmrec.domain.erased import eraser
from llmrec.errors import OutputError
from llmrec.spark.checks import MALFORMED_LINE
from llmrec.spark.convert import BLANKS, as_text
from llmrec.spark.tables import in_sql, open_delta, with_output_errors
from llmrec.spark.upkeep import vacuum

_ROWS, _ERASED, _NUMBER = "rows", "erased", "_row_number"
_OF_VERSION = re.compile(r"\.?(\d{20})\..+")
"""What the log has of a version: commit, checkpoint, checksum, and the unfinished file of a killed writer."""
_DOUBLE = r"^-?\d+\.\d+(E\d+)?$"
"""How JSON has a double that may be an id."""
_CHECK = "spark.databricks.delta.retentionDurationCheck.enabled"


def erased_ids(spark: SparkSession, ids: list[str]) -> DataFrame:
    """Return the ids as a table of one column, user_id."""
    return spark.createDataFrame([(one,) for one in ids], f"{C.USER} string")


@dataclass(frozen=True)
class Found:
    """What there is of erased users in a table."""

    rows: int
    ids: frozenset[str]
    """Those of the erased that have a row there."""


def find(rows: DataFrame, table: str, erased: DataFrame) -> Found:
    """Count those of the ``rows`` of ``table`` that are of ``erased`` users, and tell which have some."""
    numbered = rows.withColumn(_NUMBER, F.monotonically_increasing_id()).alias(_ROWS)  # a refused row may be of several
    theirs = numbered.join(erased.alias(_ERASED), on=_matches(table), how="inner")
    [found] = theirs.agg(F.count_distinct(f"{_ROWS}.{_NUMBER}"), F.collect_set(f"{_ERASED}.{C.USER}")).collect()
    return Found(found[0], frozenset(found[1]))


def remove_rows(spark: SparkSession, name: str, table: str, erased: DataFrame) -> Found:
    """Delete the rows of ``erased`` users from the Delta table ``name``; return what was found.

    Raises OutputError if it cannot be written.
    """
    found = find(open_delta(spark, name).toDF(), table, erased)
    if found.rows:
        # A merge, not a delete: Delta and Spark's pages show the condition of either, but not a merge's rows.
        merge = open_delta(spark, name).alias(_ROWS).merge(erased.alias(_ERASED), _matches(table))
        with_output_errors(name, merge.whenMatchedDelete().execute)
    return found


def clean_messages(spark: SparkSession, name: str, ids: list[str]) -> int:
    """Put "(erased)" for each of ``ids`` that stands as a word in a message of the Delta table ``name`` of runs.

    Returns the number of rows that changed; raises OutputError if it cannot be written.
    """
    erase = eraser(ids)
    told = open_delta(spark, name).toDF().filter(F.col("message").isNotNull()).groupBy("message").count().collect()
    changed = [(row["message"], erase(row["message"]), row["count"]) for row in told]
    changed = [(before, after, rows) for before, after, rows in changed if before != after]
    if changed:
        messages = spark.createDataFrame(changed, "message string, after string, rows long").alias(_ERASED)
        merge = open_delta(spark, name).alias(_ROWS).merge(messages, f"{_ROWS}.message = {_ERASED}.message")
        with_output_errors(name, merge.whenMatchedUpdate(set={"message": f"{_ERASED}.after"}).execute)
    return sum(rows for _, _, rows in changed)


def forget_history(spark: SparkSession, name: str, now: datetime) -> None:
    """Delete what the Delta table ``name`` keeps for readers of older versions: files, change data and log.

    Nobody else may be at work on the table. Raises OutputError if it cannot be written, or if a catalog commits for it.
    """
    [detail] = open_delta(spark, name).detail().select("location", "tableFeatures").collect()
    log = _Log(spark, detail["location"])
    if log.list("_staged_commits"):
        raise OutputError(
            f"{name}: a catalog keeps its log, expected one that is Delta's alone: drop its history there"
        )
    table = in_sql(spark, name)
    if "deletionVectors" in (detail["tableFeatures"] or ()):
        with_output_errors(name, lambda: spark.sql(f"REORG TABLE {table} APPLY (PURGE)"))
    with _no_retention(spark):
        vacuum(spark, name, 0)
    # The last commit stays in the log beside the checkpoint, so it must be one that names no rows.
    mark = f"ALTER TABLE {table} SET TBLPROPERTIES ('llmrec.history_from' = '{now.isoformat()}')"
    with_output_errors(name, lambda: spark.sql(mark))
    with_output_errors(name, log.cut)


class _Log:
    """The folder _delta_log of a table, wherever Hadoop finds it."""

    def __init__(self, spark: SparkSession, location: str) -> None:
        jvm: Any = spark._jvm
        self._spark, self._jvm = spark, jvm
        self._table = jvm.org.apache.hadoop.fs.Path(location)
        self._folder = jvm.org.apache.hadoop.fs.Path(self._table, "_delta_log")
        self._files = self._folder.getFileSystem(spark._jsc.hadoopConfiguration())

    def list(self, inside: str = "") -> list[str]:
        """Return the names of the files there, or in a folder ``inside``; none if that is missing."""
        path = self._path(inside) if inside else self._folder
        if not self._files.exists(path):
            return []
        return sorted(str(one.getPath().getName()) for one in self._files.listStatus(path) if one.isFile())

    def cut(self) -> None:
        """Write a checkpoint of the present version, then delete all that the log has of earlier ones, oldest first."""
        of_versions = {name: int(found[1]) for name in self.list() if (found := _OF_VERSION.fullmatch(name))}
        parts_of_checkpoints, last = self.list("_sidecars"), max(of_versions.values())
        delta = self._jvm.org.apache.spark.sql.delta.DeltaLog
        delta.forTable(self._spark._jsparkSession, self._table).checkpoint()
        if not any(name.startswith(f"{last:020d}.checkpoint") for name in self.list()):
            raise RuntimeError(f"{self._folder}: has no checkpoint of version {last}, so nothing of it is deleted")
        old = [name for name, version in of_versions.items() if version < last or name.startswith(".")]
        for name in (*old, *(f"_sidecars/{part}" for part in parts_of_checkpoints)):
            self._files.delete(self._path(name), False)
        delta.invalidateCache(self._spark._jsparkSession, self._table)  # it may know files that are gone

    def _path(self, name: str) -> Any:
        return self._jvm.org.apache.hadoop.fs.Path(self._folder, name)


def _matches(table: str) -> Column:
    """Return whether a row of ``table`` is of an erased user."""
    user = F.col(f"{_ERASED}.{C.USER}")
    if table != C.QUARANTINE:
        return F.col(f"{_ROWS}.{C.USER}") == user
    # A refused row holds what the source gave: an id may have blanks around it, or be a number, which JSON writes as
    # 7.0 or 1.2345678E7 where the table has 7 or 12345678. A line that could not be split has it anywhere.
    row, reason = F.col(f"{_ROWS}.row"), F.col(f"{_ROWS}.{C.REASON}")

    def is_user(given: Column) -> Column:
        number = F.when(given.rlike(_DOUBLE), given.try_cast("double"))
        whole = as_text(number, T.DoubleType())
        return (F.btrim(given, F.lit(BLANKS)) == user) | F.coalesce(whole == user, F.lit(False))

    def names_user(given: Column) -> Column:
        quoted = F.replace(user, F.lit("\\E"), F.lit("\\E\\\\E\\Q"))
        word = F.concat(F.lit(r"(?<![\p{L}\p{N}])\Q"), quoted, F.lit(r"\E(?![\p{L}\p{N}])"))
        return is_user(given) | F.regexp_like(given, word)

    values = F.map_values(F.from_json(row, "map<string,string>"))
    return is_user(F.get_json_object(row, f"$.{C.USER}")) | (
        reason.startswith(MALFORMED_LINE) & F.exists(values, names_user)
    )


@contextmanager
def _no_retention(spark: SparkSession) -> Iterator[None]:
    """Let vacuum delete what is not old yet."""
    as_set = spark.conf.get(_CHECK, "true")
    spark.conf.set(_CHECK, "false")
    try:
        yield
    finally:
        spark.conf.set(_CHECK, str(as_set))
