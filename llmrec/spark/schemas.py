"""The contract of each table: column names, types and what may be null."""

from pyspark.sql import types as T

from llmrec import columns as C

_STRING = T.StringType()
_LONG = T.LongType()
_DOUBLE = T.DoubleType()
_TIME = T.TimestampType()
_STRINGS = T.ArrayType(_STRING)
_ATTRIBUTES = T.MapType(_STRING, _STRING)
_FIGURES = T.MapType(_STRING, _DOUBLE)


def _table(required: dict[str, T.DataType], optional: dict[str, T.DataType]) -> T.StructType:
    fields = [T.StructField(name, kind, nullable=False) for name, kind in required.items()]
    return T.StructType(fields + [T.StructField(name, kind) for name, kind in optional.items()])


SCHEMAS: dict[str, T.StructType] = {
    C.EVENTS: _table(
        {C.USER: _STRING, C.ITEM: _STRING, C.EVENT: _STRING, C.EVENT_TIME: _TIME},
        {C.VALUE: _DOUBLE, C.SCENE: _STRING, C.TEXT: _STRING},
    ),
    C.ITEMS: _table(
        {C.ITEM: _STRING, C.TITLE: _STRING},
        {
            C.TEXT: _STRING,
            C.CATEGORY: _STRINGS,
            C.ATTRIBUTES: _ATTRIBUTES,
            C.MEDIA: T.MapType(_STRING, T.ArrayType(T.FloatType())),
            C.AVAILABLE_FROM: _TIME,
            C.AVAILABLE_UNTIL: _TIME,
        },
    ),
    C.USERS: _table({C.USER: _STRING}, {C.TEXT: _STRING, C.ATTRIBUTES: _ATTRIBUTES, C.SEGMENT: _STRING}),
    C.IMPRESSIONS: _table(
        {C.REQUEST: _STRING, C.USER: _STRING, C.ITEM: _STRING, C.CLICKED: T.BooleanType(), C.EVENT_TIME: _TIME},
        {C.POSITION: T.IntegerType(), C.RUN_ID: _STRING, C.VARIANT: _STRING},
    ),
    C.CANDIDATES: _table({C.USER: _STRING, C.ITEM: _STRING}, {C.SOURCE: _STRING, C.SOURCE_SCORE: _DOUBLE}),
    C.ALLOWED: _table({C.ITEM: _STRING}, {}),
    C.DENIED: _table({C.ITEM: _STRING}, {C.USER: _STRING}),
    C.ITEM_VECTORS: _table(
        {C.MODEL_VERSION: _STRING, C.TEXT_SHA: _STRING},
        {
            C.TOKENS: T.ArrayType(T.IntegerType()),
            C.VECTOR: T.ArrayType(T.FloatType()),
            C.ENCODED_AT: T.TimestampType(),
        },
    ),
    C.RECOMMENDATIONS: _table(
        {
            C.RUN_DATE: T.DateType(),
            C.USER: _STRING,
            C.SCENE: _STRING,
            C.RANK: T.IntegerType(),
            C.ITEM: _STRING,
            C.SCORE: _DOUBLE,
            C.SOURCES: _STRINGS,
            C.MODEL_VERSION: _STRING,
            C.RUN_ID: _STRING,
        },
        {C.REASON: _STRING, C.PROPENSITY: _DOUBLE, C.RATING: T.FloatType()},
    ),
    C.QUARANTINE: _table({C.SOURCE: _STRING, C.REASON: _STRING, "row": _STRING, C.RUN_ID: _STRING, "time": _TIME}, {}),
    C.RUNS: _table(
        {
            C.RUN_ID: _STRING,
            "job": _STRING,
            "stage": _STRING,
            "status": _STRING,
            "started_at": _TIME,
            "seconds": _DOUBLE,
            "config_sha": _STRING,
        },
        {
            C.RUN_DATE: T.DateType(),
            "rows_in": _LONG,
            "rows_out": _LONG,
            "counts": T.MapType(_STRING, _LONG),
            C.MODEL_VERSION: _STRING,
            "table_versions": T.MapType(_STRING, _LONG),
            "message": _STRING,
            "pairs_per_second": _DOUBLE,
        },
    ),
    C.NIGHTS: _table(
        {
            C.RUN_DATE: T.DateType(),
            C.SCENE: _STRING,
            C.RUN_ID: _STRING,
            C.MODEL_VERSION: _STRING,
            "counts": _FIGURES,
            "shares": _FIGURES,
            "scores": _FIGURES,
            "columns": _ATTRIBUTES,
            "forced": T.BooleanType(),
        },
        {},
    ),
    C.METRICS: _table(
        {C.RUN_ID: _STRING, "system": _STRING, "metric": _STRING, "segment": _STRING, "value": _DOUBLE},
        {
            C.RUN_DATE: T.DateType(),
            "k": T.IntegerType(),
            "low": _DOUBLE,
            "high": _DOUBLE,
            "users": _LONG,
            C.MODEL_VERSION: _STRING,
        },
    ),
}
"""Column contract by table name. A row of denied without a user holds for everybody; ``row`` in quarantine is the
source row as JSON; ``low`` and ``high`` in metrics are the bounds of a 95 % confidence interval; ``counts`` in runs
names what happened to the rows, and ``pairs_per_second`` is null for stages that score none; what the maps of nights
hold is in domain.bounds."""

RECOMMENDATION_CONSTRAINTS = {
    "score_is_probability": "score >= 0 AND score <= 1",
    "rank_from_one": "rank >= 1",
    "propensity_is_chance": "propensity > 0 AND propensity <= 1",
    "keys_present": "user_id IS NOT NULL AND item_id IS NOT NULL AND run_date IS NOT NULL",
}
"""Delta CHECK constraints of ``recommendations`` by constraint name."""
