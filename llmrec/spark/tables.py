"""Reading and writing Delta tables, by path or by catalog name."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, TypeVar

from delta.tables import DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from llmrec.domain.table_names import is_catalog_name
from llmrec.errors import InputTableError, OutputError
from llmrec.spark.failures import innermost
from llmrec.spark.schemas import SCHEMAS

_Written = TypeVar("_Written")


def read_table(spark: SparkSession, name: str, table: str, version: int | None = None) -> DataFrame:
    """Read the Delta table at ``name``, checked against the contract of ``table``, with the contract's columns.

    ``version`` pins what is read, however often; None reads the table as it is each time.

    Missing optional columns come back as nulls. Raises InputTableError if there is no table, a required column is
    missing, or a column has another type.
    """
    return conform(_open(spark, name, table, version), name, SCHEMAS[table])


def column_types(spark: SparkSession, name: str, table: str, version: int | None = None) -> dict[str, str]:
    """Return those columns of the contract of ``table`` that the Delta table at ``name`` has, with their types.

    Raises InputTableError if there is no table.
    """
    found = {field.name: field.dataType.simpleString() for field in _open(spark, name, table, version).schema}
    return {column: found[column] for column in SCHEMAS[table].names if column in found}


def _open(spark: SparkSession, name: str, table: str, version: int | None) -> DataFrame:
    try:
        reader = spark.read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", version)
        df = reader.table(name) if is_catalog_name(name) else reader.load(name)
        df.schema  # noqa: B018  a missing path shows only when the schema is asked for
    except AnalysisException as error:
        raise InputTableError(f"{name}: no Delta table {table} there ({first_line(error)}); expected one") from error
    return df


def table_exists(spark: SparkSession, name: str) -> bool:
    """Tell whether there is a Delta table at ``name``; raises InputTableError if its log cannot be read."""
    if is_catalog_name(name):
        return spark.catalog.tableExists(name)
    with _log_errors(name):
        return DeltaTable.isDeltaTable(spark, name)


@contextmanager
def _log_errors(name: str) -> Iterator[None]:
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        raise InputTableError(
            f"{name}: its Delta log cannot be read ({innermost(str(error))}); expected it whole: restore the table, or "
            "remove it and have it written anew"
        ) from error


def conform(df: DataFrame, where: str, contract: T.StructType) -> DataFrame:
    """Select the columns of ``contract``; raise InputTableError, naming every problem, if ``df`` cannot give them."""
    found = {field.name: field.dataType.simpleString() for field in df.schema}
    problems = []
    for field in contract:
        wanted = field.dataType.simpleString()
        if field.name not in found:
            if not field.nullable:
                problems.append(f"{field.name} is missing, expected {wanted}")
        elif found[field.name] != wanted:
            problems.append(f"{field.name} is {found[field.name]}, expected {wanted}")
    if problems:
        raise InputTableError(f"{where}: {'; '.join(problems)}; found columns {sorted(found)}")
    missing = {field.name: _null(field.dataType) for field in contract if field.name not in found}
    return df.withColumns(missing).select(*contract.names) if missing else df.select(*contract.names)


def _null(kind: T.DataType) -> Column:
    return F.lit(None).cast(kind)


def require_rows(df: DataFrame, where: str) -> None:
    """Raise InputTableError if ``df`` is empty."""
    if df.isEmpty():
        raise InputTableError(f"{where}: the table is empty, expected at least one row")


def open_delta(spark: SparkSession, name: str) -> DeltaTable:
    """Open an existing Delta table for what readers and writers cannot do."""
    return DeltaTable.forName(spark, name) if is_catalog_name(name) else DeltaTable.forPath(spark, name)


@dataclass(frozen=True)
class Commit:
    """A version of a Delta table. A table that was made anew, or put back from a copy, has the same numbers again."""

    version: int
    time: datetime


def last_commit(spark: SparkSession, name: str) -> Commit | None:
    """Return the current version of the Delta table at ``name``; None if there is no table.

    Raises InputTableError if its log cannot be read.
    """
    if not table_exists(spark, name):
        return None
    with _log_errors(name):
        latest = open_delta(spark, name).history(1).select("version", "timestamp").first()
    return Commit(*latest) if latest else None


def create_table(
    spark: SparkSession,
    name: str,
    table: str,
    partition_by: str | None = None,
    constraints: Mapping[str, str] | None = None,
) -> None:
    """Create the empty Delta table ``name`` with the contract of ``table`` if there is none, with a change data feed.

    Raises OutputError if it cannot be written.
    """
    if table_exists(spark, name):
        return
    builder = DeltaTable.createIfNotExists(spark).addColumns(SCHEMAS[table])
    if is_catalog_name(name):
        builder = builder.tableName(name)
    else:  # with a name, or the builder puts the path between backticks as it is
        builder = builder.tableName(in_sql(spark, name)).location(_absolute(spark, name))
    if partition_by:
        builder = builder.partitionedBy(partition_by)
    builder = builder.property("delta.enableChangeDataFeed", "true")
    for constraint, condition in (constraints or {}).items():
        builder = builder.property(f"delta.constraints.{constraint}", condition)
    with_output_errors(name, builder.execute)


def create_latest(spark: SparkSession, name: str) -> None:
    """Create the view ``name``_latest of each scene's last run date in the table ``name`` if there is none.

    A table that is named by its path has no catalog for a view, so nothing is done. Raises OutputError if the view
    cannot be made.
    """
    if not is_catalog_name(name):
        return
    table, view = in_sql(spark, name), in_sql(spark, name, "_latest")
    last = f"SELECT scene, max(run_date) FROM {table} GROUP BY scene"
    rows = f"SELECT * FROM {table} WHERE (scene, run_date) IN ({last})"
    try:
        spark.sql(f"CREATE VIEW IF NOT EXISTS {view} AS {rows}")
    except PySparkException as error:
        raise OutputError(
            f"{view}: the view cannot be made ({first_line(error)}); expected a schema this user may add to"
        ) from error


def in_sql(spark: SparkSession, name: str, ending: str = "") -> str:
    """Return what SQL calls the table ``name``, each part quoted, the last one of a catalog name with an ``ending``."""
    if not is_catalog_name(name):
        return f"delta.{_quoted(_absolute(spark, name))}"
    parser: Any = spark._jsparkSession.sessionState().sqlParser()
    parts = parser.parseMultipartIdentifier(name)
    *schema, table = (parts.apply(place) for place in range(parts.size()))
    return ".".join(map(_quoted, (*schema, table + ending)))


def _quoted(name: str) -> str:
    """Return ``name`` as SQL quotes one."""
    return f"`{name.replace('`', '``')}`"


def _absolute(spark: SparkSession, path: str) -> str:
    # The table builder, unlike readers and writers, takes a relative path for a table's name.
    jvm: Any = spark._jvm
    hadoop = jvm.org.apache.hadoop.fs.Path(path)
    return str(hadoop.getFileSystem(spark._jsc.hadoopConfiguration()).makeQualified(hadoop).toString())


def overwrite_table(df: DataFrame, name: str) -> None:
    """Replace the whole table ``name`` by ``df`` in one commit; raises OutputError if it cannot be written."""
    writer = df.write.format("delta").mode("overwrite").option("overwriteSchema", "true")
    with_output_errors(name, lambda: writer.saveAsTable(name) if is_catalog_name(name) else writer.save(name))


def append_table(df: DataFrame, name: str) -> None:
    """Add ``df`` to the table ``name`` in one commit; raises OutputError if it cannot be written.

    Columns that a table of an older version lacks are added to it.
    """
    writer = df.write.format("delta").mode("append").option("mergeSchema", "true")
    with_output_errors(name, lambda: writer.saveAsTable(name) if is_catalog_name(name) else writer.save(name))


def replace_night(df: DataFrame, name: str, run_date: date, scene: str) -> None:
    """Replace exactly the rows of ``run_date`` and ``scene`` in the existing table ``name`` by ``df``, in one commit.

    Columns that a table of an older version lacks are added to it. Raises OutputError if it cannot be written, or if
    another run published the same date meanwhile.
    """
    escaped = scene.replace("\\", "\\\\").replace("'", "\\'")
    only = f"run_date = '{run_date.isoformat()}' AND scene = '{escaped}'"
    writer = df.write.format("delta").mode("overwrite").option("replaceWhere", only).option("mergeSchema", "true")
    with_output_errors(name, lambda: writer.saveAsTable(name) if is_catalog_name(name) else writer.save(name))


_UNWRITABLE = (
    "Permission denied",
    "AccessControlException",
    "ParentNotDirectoryException",
    "exists and is not a directory",
    "Mkdirs failed",
    "DELTA_CANNOT_CREATE_LOG_PATH",
    "No space left",
    "Read-only file",
    "Disk quota exceeded",
)
"""Signs, in an error's text, that a place cannot be written."""


def with_output_errors(name: str, write: Callable[[], _Written]) -> _Written:
    """Call ``write``; raise OutputError for what the operator can mend: permissions, a full disk, a concurrent run."""
    try:
        return write()
    except (PySparkException, Py4JJavaError) as error:  # the table builder's errors come unconverted
        text = str(error)
        if "ConcurrentAppend" in text or "DELTA_CONCURRENT" in text:
            raise OutputError(
                f"{name}: another run wrote the same part meanwhile; nothing of this run is in it"
            ) from error
        for sign in _UNWRITABLE:
            if sign in text:
                raise OutputError(
                    f"{name}: cannot be written ({sign}); expected a place this user may write"
                ) from error
        raise


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, without Spark's plan below it."""
    return str(error).strip().split("\n")[0]
