"""Reading the user's own tables: any of four formats, with their columns mapped to ours."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException, ParseException, PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from llmrec import columns as C
from llmrec.domain.table_names import is_catalog_name
from llmrec.errors import InputTableError
from llmrec.spark.schemas import SCHEMAS
from llmrec.spark.tables import last_commit

MALFORMED = "_corrupt_record"
"""Spark's name for the column that holds a line of text it could not split into columns; null for a good line."""

_QUOTED = re.compile(r"'.*'")
"""From the first mark to the last one: a value may have some of its own."""

DEFAULTS = {C.EVENTS: {C.EVENT: "'interaction'"}}
"""Mapping of required columns that a source may leave out, by table."""


def read_source(
    spark: SparkSession, table: str, *, path: str, format: str, options: Mapping[str, str], columns: Mapping[str, str]
) -> DataFrame:
    """Read the user's table at ``path`` as the source of our ``table``.

    Output: the columns that ``columns`` maps, of whatever type the source has, and MALFORMED where lines can be bad.
    Raises InputTableError if there is nothing to read, or a mapping is wrong (naming every wrong one).
    """
    where = f"sources.{table}"
    columns = {**DEFAULTS.get(table, {}), **columns}
    _require_mapping(where, SCHEMAS[table], columns)
    with source_errors(f"{where}: {path}"):
        source = _load(spark, f"{where}: {path}", path, format, dict(options))
        mapped = _map_columns(source, where, columns)
        if mapped.isEmpty():
            raise InputTableError(f"{where}: {path}: the source is empty, expected at least one row")
    return mapped


@contextmanager
def source_errors(where: str) -> Iterator[None]:
    """Turn Spark's errors about the content of a source into InputTableError; other errors pass.

    Spark reads late, so this goes around reading a source and around the first computation over all its rows.
    """
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        condition, state = _condition(error)
        said = _message(error)
        if condition in ("PATH_NOT_FOUND", "TABLE_OR_VIEW_NOT_FOUND", "DELTA_TABLE_NOT_FOUND"):
            raise InputTableError(f"{where}: nothing to read there ({said})") from error
        if state.startswith("22"):  # the data exceptions of the SQL standard, such as a failed cast
            told = _without_values(said, error)
            raise InputTableError(f"{where}: a mapped expression fails on the rows: {told}") from error
        if isinstance(error, AnalysisException) or condition.startswith("FAILED_READ_FILE") or "CSV header" in said:
            raise InputTableError(f"{where}: cannot be read: {said}") from error
        raise


def _require_mapping(where: str, contract: T.StructType, columns: Mapping[str, str]) -> None:
    unknown = sorted(set(columns) - set(contract.names))
    if unknown:
        raise InputTableError(
            f"{where}.columns: there is no column {', '.join(unknown)}; expected some of {', '.join(contract.names)}"
        )
    missing = [field.name for field in contract if not field.nullable and field.name not in columns]
    if missing:
        raise InputTableError(f"{where}.columns: {', '.join(missing)} is not mapped, expected a column or expression")


def _load(spark: SparkSession, where: str, path: str, format: str, options: dict[str, str]) -> DataFrame:
    if options.get("mode", "PERMISSIVE").upper() != "PERMISSIVE":
        raise InputTableError(f"{where}: option mode is {options['mode']}; leave it out, bad lines go to quarantine")
    if format == "delta" and not options and (commit := last_commit(spark, path)) is not None:
        options = {"versionAsOf": str(commit.version)}  # else each pass would read the table as it is by then
    if format in ("parquet", "delta") and is_catalog_name(path) and not path.endswith(f".{format}"):
        return spark.read.options(**options).table(path)
    if format == "csv":
        # By default Spark ignores the headers of all files but one, whatever the order of their columns, and does not
        # notice a line with too few or too many values if the last columns are not asked for
        options = {"enforceSchema": "false", **options, "inferSchema": "false", "columnPruning": "false"}
    source = spark.read.format(format).options(**options).load(path)
    if format == "csv" and source.columns:
        with_bad_lines = source.schema.add(MALFORMED, T.StringType())
        source = spark.read.format(format).options(**options).schema(with_bad_lines).load(path)
    if source.columns == [MALFORMED]:
        raise InputTableError(f"{where}: no line is a JSON object, expected one on each line")
    if not source.columns:
        raise InputTableError(f"{where}: the source is empty, expected at least one row")
    return source


def _map_columns(source: DataFrame, where: str, columns: Mapping[str, str]) -> DataFrame:
    mapped, problems = [], []
    for target, value in columns.items():
        try:
            column = _column(source, value).alias(target)
            source.select("*", column)  # beside "*", an aggregate is refused; alone it would fold all rows into one
            mapped.append(column)
        except (AnalysisException, ParseException) as error:
            problems.append(f"{target}: {_mapping_problem(value, error)}")
    if problems:
        there = ", ".join(name for name in source.columns if name != MALFORMED)
        raise InputTableError(f"{where}.columns.{'; '.join(problems)}; the source has the columns {there}")
    bad_line = [F.col(MALFORMED)] if MALFORMED in source.columns else []
    return source.select(*mapped, *bad_line)


def _column(source: DataFrame, value: str) -> Column:
    """Take ``value`` as the name of a column if there is exactly this name, else as an expression."""
    if value in source.columns:
        return F.col(f"`{value.replace('`', '``')}`")
    return F.expr(value)


def _mapping_problem(value: str, error: PySparkException) -> str:
    condition = error.getCondition() or ""
    if condition.startswith("UNRESOLVED_COLUMN"):
        name = (error.getMessageParameters() or {}).get("objectName", value).strip("`")
        return f"column {name} not found" + ("" if name == value else f" (in {value})")
    if condition.startswith("PARSE_"):
        return f"{value} is neither a column nor a Spark SQL expression"
    return f"{value} cannot be used: {_message(error)}"


def _without_values(said: str, error: Exception) -> str:
    """Return ``said`` without the values of rows in it: they may be ids, or what a user wrote."""
    parameters = (error.getMessageParameters() or {}) if isinstance(error, PySparkException) else {}
    for value in parameters.values():
        if value and not value.startswith('"'):  # what is in double quotes is a type or a setting of Spark
            said = said.replace(" ".join(value.split()), "...")
    return _QUOTED.sub("...", said)


def _condition(error: Exception) -> tuple[str, str]:
    """Return Spark's name of an error and its SQLSTATE."""
    if isinstance(error, PySparkException):
        return error.getCondition() or "", error.getSqlState() or ""
    text = str(getattr(error, "java_exception", ""))
    return ("FAILED_READ_FILE" if "FAILED_READ_FILE" in text or "CANNOT_READ_FILE_FOOTER" in text else ""), ""


def _message(error: Exception) -> str:
    """Return what Spark says in one line, without its codes, plan and stack; of a wrapped error the innermost cause."""
    text = str(error)
    cause = getattr(error, "java_exception", None)
    while cause is not None:
        text = cause.getMessage() or text
        cause = cause.getCause()
    line = " ".join(text.split("== SQL", 1)[0].split("JVM stacktrace", 1)[0].split(";\n", 1)[0].split())
    line = line.split("] ", 1)[1] if line.startswith("[") and "] " in line else line
    return line.split(" SQLSTATE", 1)[0].rstrip(". ")
