"""Items as the model sees them: their text, its fingerprint, and the index that stands for the item in a night."""

from collections.abc import Sequence
from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F

from llmrec import columns as C
from llmrec.spark.texts import item_text

INDEX = "item"
AVAILABLE = "available"


def available_on(day: date) -> Column:
    """Say whether an item may be recommended at the first moment of ``day``, UTC; a missing bound is none."""
    moment = F.lit(day.isoformat()).cast("timestamp")
    opened = F.col(C.AVAILABLE_FROM).isNull() | (F.col(C.AVAILABLE_FROM) <= moment)
    return opened & (F.col(C.AVAILABLE_UNTIL).isNull() | (F.col(C.AVAILABLE_UNTIL) > moment))


def index_items(items: DataFrame, run_date: date, template: Sequence[str]) -> DataFrame:
    """Number the items in the order of their ids; their texts are made by ``template``.

    Output: item (0, 1, ...), item_id, title, category, attributes, text (what the model reads), text_sha, available
            (whether it may be recommended on the run date), available_from.
    """
    by_id = W.orderBy(C.ITEM)  # one partition: ids and texts of items alone, never of users
    return items.withColumn("_read", item_text(template)).select(
        (F.row_number().over(by_id) - 1).alias(INDEX),
        C.ITEM,
        C.TITLE,
        C.CATEGORY,
        C.ATTRIBUTES,
        F.col("_read").alias(C.TEXT),
        F.sha2("_read", 256).alias(C.TEXT_SHA),
        available_on(run_date).alias(AVAILABLE),
        C.AVAILABLE_FROM,
    )


def text_shas(items: DataFrame, template: Sequence[str]) -> DataFrame:
    """Return the distinct fingerprints (text_sha) of the texts that ``template`` makes of ``items``."""
    return items.select(F.sha2(item_text(template), 256).alias(C.TEXT_SHA)).distinct()


def close_items(indexed: DataFrame, allowed: DataFrame | None, denied: DataFrame) -> DataFrame:
    """Take from ``available`` what is not on the list of ``allowed`` items (None: all are), or ``denied`` to everybody.

    Input:  indexed as of `index_items`; allowed: item_id; denied: item_id, user_id, null for everybody. Denied wins.
    """
    closed = denied.filter(F.col(C.USER).isNull()).select(C.ITEM).distinct().withColumn("_closed", F.lit(True))
    marked = indexed.join(closed, on=C.ITEM, how="left")
    open_ = F.col(AVAILABLE) & F.col("_closed").isNull()
    if allowed is not None:
        marked = marked.join(allowed.select(C.ITEM).distinct().withColumn("_open", F.lit(True)), on=C.ITEM, how="left")
        open_ = open_ & F.col("_open").isNotNull()
    return marked.withColumn(AVAILABLE, open_).select(*indexed.columns)


def groups_of(kind: str) -> Column:
    """Return what an item belongs to, an array of text: its categories, all attributes, or its value of one."""
    if kind == C.CATEGORY:
        known = F.col(C.CATEGORY)
    elif kind == C.ATTRIBUTES:
        known = F.transform(F.map_entries(C.ATTRIBUTES), lambda one: F.concat_ws("=", one["key"], one["value"]))
    else:
        known = F.array(F.element_at(C.ATTRIBUTES, kind))
    return F.coalesce(F.filter(known, lambda name: name.isNotNull()), F.array().cast("array<string>"))


def missing_vectors(items: DataFrame, vectors: DataFrame, encoder_version: str) -> DataFrame:
    """Return the distinct texts (text_sha, text) that this encoder has not encoded yet."""
    known = vectors.filter(F.col(C.MODEL_VERSION) == encoder_version).select(C.TEXT_SHA)
    texts = items.groupBy(C.TEXT_SHA).agg(F.first(C.TEXT).alias(C.TEXT))
    return texts.join(known, on=C.TEXT_SHA, how="left_anti")
