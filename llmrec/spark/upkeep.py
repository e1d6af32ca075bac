"""Old rows, small files and files that no version needs any more: what makes a Delta table grow from night to night."""

from dataclasses import dataclass
from datetime import date, timedelta

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from llmrec.spark.tables import in_sql, open_delta, with_output_errors

_LISTING = "spark.sql.sources.parallelPartitionDiscovery.parallelism"


@dataclass(frozen=True)
class Size:
    """Of the present version of a table."""

    files: int
    size: int
    """Bytes."""

    @staticmethod
    def of(spark: SparkSession, name: str) -> "Size":
        """Ask Delta."""
        [detail] = open_delta(spark, name).detail().select("numFiles", "sizeInBytes").collect()
        return Size(*detail)


def latest_day(spark: SparkSession, name: str, day: str) -> date | None:
    """Return the last day in the column ``day`` of the table, tomorrow at most; None if there is none.

    A run whose clock, or run date, was years ahead makes no other row old.
    """
    days = open_delta(spark, name).toDF().select(F.to_date(day).alias("day"))
    [found] = days.filter(F.col("day") <= F.date_add(F.current_date(), 1)).agg(F.max("day")).collect()
    last: date | None = found[0]
    return last


def drop_days(spark: SparkSession, name: str, day: str, keep: int) -> int:
    """Delete the rows whose ``day`` (a column) is more than ``keep`` days before the last one there; count them.

    A table that nobody writes to keeps what it has, however long that is. Raises OutputError if it cannot be written.
    """
    last = latest_day(spark, name, day)
    if last is None:
        return 0
    old = F.to_date(day) < F.lit(last - timedelta(days=keep))
    count = open_delta(spark, name).toDF().filter(old).count()
    if count:
        with_output_errors(name, lambda: open_delta(spark, name).delete(old))
    return count


def compact(spark: SparkSession, name: str, only: str | None = None) -> None:
    """Merge small files, where the condition ``only`` on partitions holds if there is one.

    No row changes, and readers of older versions keep their files. Raises OutputError if they cannot be written.
    """
    where = "" if only is None else f" WHERE {only}"
    with_output_errors(name, lambda: spark.sql(f"OPTIMIZE {in_sql(spark, name)}{where}"))


def vacuum(spark: SparkSession, name: str, days: int) -> None:
    """Delete the files that no version of the last ``days`` needs, and what failed writers left before these.

    Raises OutputError if they cannot be deleted.
    """
    # Delta lists folders in as many tasks as Spark lists those of a source that it reads, 10,000 unless told otherwise.
    as_set = spark.conf.get(_LISTING)
    spark.conf.set(_LISTING, str(4 * spark.sparkContext.defaultParallelism))
    try:
        with_output_errors(name, lambda: open_delta(spark, name).vacuum(24 * days))
    finally:
        spark.conf.set(_LISTING, as_set or "10000")
