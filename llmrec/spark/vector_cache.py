"""Keeps item_vectors complete: a text is tokenised and encoded once per encoder version."""

from datetime import timedelta

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from llmrec import columns as C
from llmrec.spark.items import missing_vectors
from llmrec.spark.shipping import Shipped
from llmrec.spark.tables import append_table, create_table, open_delta, read_table, with_output_errors
from llmrec.spark.workers import encode_items

_TEXTS_PER_TASK = 20_000


def ensure_vectors(
    spark: SparkSession, table: str, items: DataFrame, encoder: Shipped, encoder_version: str
) -> tuple[DataFrame, dict[str, int]]:
    """Encode the texts of ``items`` that ``table`` lacks for this encoder, and add them to it.

    Returns the vectors of this encoder (text_sha, tokens, vector) and the counts of texts known and encoded.
    """
    create_table(spark, table, C.ITEM_VECTORS)
    vectors = read_table(spark, table, C.ITEM_VECTORS)
    missing = missing_vectors(items, vectors, encoder_version).persist()
    distinct, encoded = items.select(C.TEXT_SHA).distinct().count(), missing.count()
    if encoded:
        tasks = max(spark.sparkContext.defaultParallelism, encoded // _TEXTS_PER_TASK)
        new = encode_items(missing.repartition(tasks), encoder, encoder_version)
        append_table(new.withColumn(C.ENCODED_AT, F.current_timestamp()), table)
    missing.unpersist()
    current = read_table(spark, table, C.ITEM_VECTORS).filter(F.col(C.MODEL_VERSION) == encoder_version)
    # Two runs may encode the same text at the same time; their rows are equal.
    return current.dropDuplicates([C.TEXT_SHA]), {"texts": distinct, "encoded": encoded}


def drop_old_encoders(spark: SparkSession, table: str, keep: int) -> int:
    """Delete the vectors of encoders that encoded nothing in the last ``keep`` days before the latest did; count them.

    One that is still in use has its texts encoded once more. Raises OutputError if the table cannot be written.
    """
    vectors = read_table(spark, table, C.ITEM_VECTORS)
    last = vectors.groupBy(C.MODEL_VERSION).agg(F.max(C.ENCODED_AT).alias("last"), F.count("*").alias("rows")).collect()
    latest = max((row["last"] for row in last if row["last"]), default=None)
    if latest is None:
        return 0
    earliest = latest - timedelta(days=keep)
    old = {row[C.MODEL_VERSION]: row["rows"] for row in last if not row["last"] or row["last"] < earliest}
    if old:
        with_output_errors(table, lambda: open_delta(spark, table).delete(F.col(C.MODEL_VERSION).isin(list(old))))
    return sum(old.values())


def drop_gone_texts(spark: SparkSession, table: str, texts: DataFrame, keep: int) -> int:
    """Delete the vectors of texts that are not among ``texts`` (text_sha), if encoded ``keep`` days before the latest.

    Returns how many. One whose text comes back has it encoded once more. Raises OutputError if the table cannot be
    written.
    """
    vectors = read_table(spark, table, C.ITEM_VECTORS)
    [latest] = vectors.agg(F.max(C.ENCODED_AT)).collect()[0]
    if latest is None:
        return 0
    old = F.coalesce(F.col(C.ENCODED_AT) < F.lit(latest - timedelta(days=keep)), F.lit(True))
    gone = vectors.filter(old).join(texts, on=C.TEXT_SHA, how="left_anti").select(C.TEXT_SHA).distinct().persist()
    count = vectors.filter(old).join(gone, on=C.TEXT_SHA, how="left_semi").count()
    if count:
        merge = (
            open_delta(spark, table).alias("kept").merge(gone.alias("gone"), f"kept.{C.TEXT_SHA} = gone.{C.TEXT_SHA}")
        )
        with_output_errors(table, merge.whenMatchedDelete(old).execute)
    gone.unpersist()
    return count
