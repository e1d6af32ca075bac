"""Keeps item_vectors complete: a text is tokenised and encoded once per encoder version."""

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from llmrec import columns as C
from llmrec.spark.items import missing_vectors
from llmrec.spark.shipping import Shipped
from llmrec.spark.tables import append_table, create_table, read_table
from llmrec.spark.workers import encode_items


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
        append_table(encode_items(missing.repartition(tasks), encoder, encoder_version), table)
    missing.unpersist()
    current = read_table(spark, table, C.ITEM_VECTORS).filter(F.col(C.MODEL_VERSION) == encoder_version)
    # Two runs may encode the same text at the same time; their rows are equal.
    return current.dropDuplicates([C.TEXT_SHA]), {"texts": distinct, "encoded": encoded}


_TEXTS_PER_TASK = 20_000
