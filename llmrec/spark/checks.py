"""Checking source rows: each becomes a row of the contract, a quarantined row with its reasons, or a duplicate.

Three steps, each adding to the last: `parse_rows`, `refuse_unknown_items` (events, impressions), `mark_repeats`.
Between them a row has the columns of the contract, ``reason`` (null: nothing wrong) and ``row``: the source's values, a
struct first and after `mark_repeats` JSON, made only of refused rows.
"""

from dataclasses import dataclass
from datetime import date, datetime

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F
from pyspark.sql import types as T

from llmrec import columns as C
from llmrec.errors import InputTableError
from llmrec.spark.convert import BLANKS, convert, is_finite
from llmrec.spark.schemas import SCHEMAS
from llmrec.spark.sources import MALFORMED

ROW = "row"
DUPLICATE = "duplicate"
SEPARATOR = "; "
MALFORMED_LINE = "line: malformed"
"""The reason where a line could not be split: its values may be in any column."""
OF_USERS = (C.EVENTS, C.USERS, C.IMPRESSIONS)
KEYS = {C.ITEMS: C.ITEM, C.USERS: C.USER}
"""Tables that hold one row per key."""

_NOT_TEXT = r"[\p{Cc}&&[^\t\n\r]]|\uFFFD"


@dataclass(frozen=True)
class Limits:
    """What a row may hold at most."""

    earliest_event: date
    now: datetime
    max_text_chars: int


def parse_rows(source: DataFrame, table: str, limits: Limits) -> DataFrame:
    """Turn mapped source columns of any type into those of the contract of ``table``.

    Output: the contract's columns (null where the source's value is not usable), reason, row.
    Raises InputTableError if a column's type can never be turned into the contract's.
    """
    mapped = [name for name in source.columns if name != MALFORMED]
    parsed = source.select(
        F.struct(*mapped).alias(ROW),
        (F.col(MALFORMED) if MALFORMED in source.columns else F.lit(None).cast("string")).alias(MALFORMED),
        *(_converted(source, table, field).alias(field.name) for field in SCHEMAS[table]),
    )
    kinds = {field.name: field.dataType for field in source.schema}
    problems = [
        problem
        for field in SCHEMAS[table]
        if field.name in kinds
        for problem in _problems(table, field, kinds[field.name], mapped, limits)
    ]
    # Of a malformed line too only the mapped values go to quarantine: the whole line may hold private ones
    reason = F.when(F.col(MALFORMED).isNotNull(), MALFORMED_LINE).otherwise(F.concat_ws(SEPARATOR, *problems))
    checked = parsed.withColumn(C.REASON, F.nullif(reason, F.lit("")))
    if table == C.ITEMS:
        checked = checked.withColumn(C.TITLE, F.coalesce(C.TITLE, F.lit("")))  # an item may have a text instead
    return checked.select(*SCHEMAS[table].names, C.REASON, ROW)


def refuse_unknown_items(parsed: DataFrame, items: DataFrame) -> DataFrame:
    """Add the reason "item_id: unknown item" where ``items`` (one good row per item_id) has no such item."""
    known = items.select(C.ITEM, F.lit(True).alias("known"))
    unknown = F.when(F.col(C.ITEM).isNotNull() & F.col("known").isNull(), f"{C.ITEM}: unknown item")
    reason = F.nullif(F.concat_ws(SEPARATOR, C.REASON, unknown), F.lit(""))
    return parsed.join(known, on=C.ITEM, how="left").withColumn(C.REASON, reason).select(*parsed.columns)


def mark_repeats(parsed: DataFrame, table: str, *, keep_text: bool = False) -> DataFrame:
    """Find rows that say the same twice, or, where a key has one row, contradict each other.

    What users wrote does not go to quarantine, unless ``keep_text``; see `_told`.

    Output: as the input, with ``duplicate`` true for each good row equal to another, but for one of them; of the
    different rows with one key the first by content stays good, and the others get a reason.
    """
    names = SCHEMAS[table].names
    is_good = F.col(C.REASON).isNull()
    is_first = F.col("number") == 1
    refused_as_json = F.when(F.col(C.REASON).isNotNull(), _told(parsed, table, keep_text))
    if table not in KEYS:
        same = W.partitionBy(C.REASON, *names).orderBy(F.lit(0))
        slim = parsed.withColumn(ROW, refused_as_json)  # before the shuffle
        numbered = slim.withColumn("number", F.row_number().over(same))
        return numbered.withColumn(DUPLICATE, is_good & ~is_first).select(*parsed.columns, DUPLICATE)
    key = KEYS[table]
    is_like_first = F.col("rank") == 1
    same_key = W.partitionBy(C.REASON, key).orderBy(F.to_json(F.struct(*names)))
    ranked = parsed.withColumns({"number": F.row_number().over(same_key), "rank": F.rank().over(same_key)})
    conflict = F.when(is_good & ~is_like_first, f"{key}: another row has it too")
    return (
        ranked.withColumns({DUPLICATE: is_good & is_like_first & ~is_first, C.REASON: F.coalesce(C.REASON, conflict)})
        .withColumn(ROW, refused_as_json)
        .select(*parsed.columns, DUPLICATE)
    )


def good_rows(checked: DataFrame, table: str) -> DataFrame:
    """Select the rows of the contract."""
    return checked.filter(F.col(C.REASON).isNull() & ~F.col(DUPLICATE)).select(*SCHEMAS[table].names)


def refused_rows(checked: DataFrame, table: str, run_id: str, now: datetime) -> DataFrame:
    """Select the rows for quarantine."""
    return checked.filter(F.col(C.REASON).isNotNull()).select(
        F.lit(table).alias(C.SOURCE),
        C.REASON,
        ROW,
        F.lit(run_id).alias(C.RUN_ID),
        F.lit(now).alias("time"),
    )


def _told(parsed: DataFrame, table: str, keep_text: bool) -> Column:
    """Return the source's values as JSON, with "(12 characters)" for what a user wrote unless ``keep_text``.

    A line that could not be split may have it in any column, so of such a line lengths are all that is told.
    """
    as_json = {"ignoreNullFields": "false"}
    if keep_text or table not in OF_USERS:
        return F.to_json(ROW, as_json)

    def length(name: str) -> Column:
        text = F.col(ROW)[name].cast("string")
        return F.when(text.isNotNull(), F.format_string("(%d characters)", F.length(text)))

    names = parsed.select(f"{ROW}.*").columns
    lengths = {name: length(name).alias(name) for name in names}
    values = [lengths[name] if name == C.TEXT else F.col(ROW)[name].alias(name) for name in names]
    return F.when(
        F.col(C.REASON).startswith(MALFORMED_LINE), F.to_json(F.struct(*lengths.values()), as_json)
    ).otherwise(F.to_json(F.struct(*values), as_json))  # fmt: skip


def _converted(source: DataFrame, table: str, field: T.StructField) -> Column:
    if field.name not in source.columns:
        return F.lit(None).cast(field.dataType)
    kind = source.schema[field.name].dataType
    column = convert(F.col(field.name), kind, field.dataType)
    try:
        if column is not None:
            source.select(column)
            return column
    except AnalysisException:  # Spark knows no such cast
        pass
    raise InputTableError(
        f"sources.{table}.columns.{field.name}: gives {kind.simpleString()}, "
        f"expected something to turn into {field.dataType.simpleString()}"
    )


def _problems(table: str, field: T.StructField, kind: T.DataType, mapped: list[str], limits: Limits) -> list[Column]:
    """List what can be wrong with one column; each is its reason where it is, else null."""
    name, raw, value = field.name, F.col(ROW)[field.name], F.col(field.name)
    given = _is_given(raw, kind)
    finite = is_finite(raw, kind) & is_finite(value, field.dataType)
    found = {"NaN or infinite": given & ~finite}
    if name == C.EVENT_TIME:
        found["unparsable time"] = given & finite & value.isNull()
        found["future time"] = value > F.lit(limits.now)
        found["before prepare.earliest_event"] = value < F.lit(limits.earliest_event).cast("timestamp")
    elif isinstance(field.dataType, T.TimestampType):
        # Python has no year beyond 9999, where milliseconds taken for seconds end up
        found["unparsable time"] = given & finite & F.coalesce(~F.year(value).between(1, 9999), F.lit(True))
    else:
        found["unparsable value"] = given & finite & value.isNull()
    if not field.nullable:
        missing = ~given
        if name == C.TITLE and C.TEXT in mapped:
            missing = missing & F.col(C.TEXT).isNull()
        found["null or empty"] = missing
    text = _all_text(value, field.dataType)
    if text is not None:
        found["not text"] = text.rlike(_NOT_TEXT)
    longest = _longest(value, field.dataType)
    if longest is not None:
        found["longer than prepare.max_text_chars"] = longest > limits.max_text_chars
    return [F.when(wrong, f"{name}: {reason}") for reason, wrong in found.items()]


def _is_given(raw: Column, kind: T.DataType) -> Column:
    if isinstance(kind, T.StringType):
        return F.coalesce(F.btrim(raw, F.lit(BLANKS)) != "", F.lit(False))
    return raw.isNotNull()


def _longest(value: Column, kind: T.DataType) -> Column | None:
    """Return the characters of a text, or of the longest one in an array or map; None for other types."""
    if isinstance(kind, T.StringType):
        return F.length(value)
    if isinstance(kind, T.ArrayType) and isinstance(kind.elementType, T.StringType):
        return F.array_max(F.transform(value, F.length))
    if isinstance(kind, T.MapType) and isinstance(kind.valueType, T.StringType):
        return F.array_max(F.transform(F.concat(F.map_keys(value), F.map_values(value)), F.length))
    return None


def _all_text(value: Column, kind: T.DataType) -> Column | None:
    if isinstance(kind, T.StringType):
        return value
    if isinstance(kind, T.ArrayType) and isinstance(kind.elementType, T.StringType):
        return F.array_join(value, " ")
    if isinstance(kind, T.MapType) and isinstance(kind.valueType, T.StringType):
        return F.concat(F.array_join(F.map_keys(value), " "), F.array_join(F.map_values(value), " "))
    return None
