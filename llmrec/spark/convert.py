"""Turning a column of any type into a type of the contract, null where a value cannot be turned; never an error."""

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

BLANKS = " \t\r\n\u00a0"
"""What is cut off both ends of a text."""

_NUMBER = r"^[+-]?\d+(\.\d+)?([eE][+-]?\d+)?$"
_DAY = r"^\d{4}-\d"  # a time of day alone would be taken for today's
_NESTED = (T.ArrayType, T.MapType, T.StructType)


def convert(column: Column, kind: T.DataType, wanted: T.DataType) -> Column | None:
    """Turn ``column`` of type ``kind`` into ``wanted``; None if no value of ``kind`` could ever be turned.

    Texts are trimmed, and empty ones are null. A time is a timestamp, Unix seconds (numbers, or text of digits) or ISO
    text, in UTC. A flag is true, false, 1 or 0. One text makes an array of one; a struct makes a map, and so does the
    text of a JSON object: Spark reads a column of JSON lines as text where one of them holds no object there.
    """
    if isinstance(wanted, T.MapType):
        return _to_map(column, kind, wanted)
    if isinstance(wanted, T.ArrayType):
        return _to_array(column, kind, wanted)
    if isinstance(kind, _NESTED):
        return None
    if isinstance(wanted, T.StringType):
        return as_text(column, kind)
    if isinstance(wanted, T.TimestampType):
        return _to_time(column, kind)
    if isinstance(wanted, T.BooleanType):
        text = F.lower(as_text(column, kind))
        return F.when(text.isin("true", "1", "1.0"), True).when(text.isin("false", "0", "0.0"), False)
    number = _to_number(column, kind)
    if isinstance(wanted, T.IntegerType):
        whole = number.try_cast("int")
        return F.when(whole == number, whole)  # 1.5 is no position
    return number.try_cast(wanted)


def as_text(column: Column, kind: T.DataType) -> Column:
    """Return a column of type ``kind``, none that is nested, as text: trimmed, null if empty; of 7.0 that is 7."""
    text = column.cast("string")
    if isinstance(kind, T.DoubleType | T.FloatType):
        # A column of whole numbers with a gap is often stored as floating point: the id 7 must not become "7.0"
        text = F.when(column == F.floor(column), column.try_cast("decimal(20,0)").cast("string")).otherwise(text)
    return F.nullif(F.btrim(text, F.lit(BLANKS)), F.lit(""))


def is_finite(column: Column, kind: T.DataType) -> Column:
    """Tell whether there is no NaN and no infinity in a number, array or map of type ``kind``; true for null."""
    if isinstance(kind, T.DoubleType | T.FloatType):
        return F.coalesce(~F.isnan(column) & (F.abs(column) != float("inf")), F.lit(True))
    if isinstance(kind, T.ArrayType) and isinstance(kind.elementType, T.DoubleType | T.FloatType):
        inner = kind.elementType
        return F.coalesce(F.forall(column, lambda value: is_finite(value, inner)), F.lit(True))
    if isinstance(kind, T.MapType) and isinstance(kind.valueType, T.ArrayType):
        inner_array = kind.valueType
        return F.coalesce(F.forall(F.map_values(column), lambda value: is_finite(value, inner_array)), F.lit(True))
    return F.lit(True)


def _to_number(column: Column, kind: T.DataType) -> Column:
    return (as_text(column, kind) if isinstance(kind, T.StringType) else column).try_cast("double")


def _to_time(column: Column, kind: T.DataType) -> Column:
    if not isinstance(kind, T.StringType):
        return column.try_cast("timestamp")
    text = as_text(column, kind)
    seconds = text.try_cast("decimal(20,6)").try_cast("timestamp")
    return F.when(text.rlike(_NUMBER), seconds).when(text.rlike(_DAY), text.try_cast("timestamp"))


def _to_array(column: Column, kind: T.DataType, wanted: T.ArrayType) -> Column | None:
    if not isinstance(wanted.elementType, T.StringType):
        return column.try_cast(wanted) if isinstance(kind, T.ArrayType) else None
    if isinstance(kind, T.ArrayType):
        inner = kind.elementType
        if isinstance(inner, _NESTED):
            return None
        return F.filter(F.transform(column, lambda value: as_text(value, inner)), lambda value: value.isNotNull())
    text = convert(column, kind, wanted.elementType)
    return None if text is None else F.when(text.isNotNull(), F.array(text))


def _to_map(column: Column, kind: T.DataType, wanted: T.MapType) -> Column | None:
    if isinstance(kind, T.StringType):
        parsed = T.MapType(T.StringType(), wanted.valueType)
        return _to_map(F.from_json(as_text(column, kind), parsed.simpleString()), parsed, wanted)
    if isinstance(kind, T.StructType):
        values = [convert(column.getField(field.name), field.dataType, wanted.valueType) for field in kind]
        if not values or any(value is None for value in values):
            return None
        names = F.array(*(F.lit(field.name) for field in kind))
        entries = F.when(column.isNotNull(), F.map_from_arrays(names, F.array(*(v for v in values if v is not None))))
    elif isinstance(kind, T.MapType):
        inner = kind.valueType
        if convert(F.lit(None), inner, wanted.valueType) is None:
            return None
        keys = F.transform_keys(column, lambda key, _: key.cast("string"))
        entries = F.transform_values(keys, lambda _, value: convert(value, inner, wanted.valueType))  # type: ignore[arg-type,return-value]
    else:
        return None
    given = F.map_filter(entries, lambda _, value: value.isNotNull())
    return F.map_from_entries(F.array_sort(F.map_entries(given)))  # sorted, so that equal maps are equal as JSON
