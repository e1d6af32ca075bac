from datetime import datetime, timezone
from pathlib import Path

from pyspark.sql import SparkSession

from llmrec import columns as C
from llmrec.spark.schemas import SCHEMAS
from llmrec.spark.tables import append_table
from llmrec.spark.vector_cache import drop_gone_texts, drop_old_encoders


def test_vectors_of_an_encoder_that_had_nothing_to_encode_for_long_go(spark: SparkSession, tmp_path: Path) -> None:
    name = str(tmp_path / "item_vectors")
    append_table(spark.createDataFrame([], SCHEMAS[C.ITEM_VECTORS]), name)
    assert drop_old_encoders(spark, name, 30) == 0
    times = [("past", 1, 1), ("past", 1, 9), ("used", 1, 1), ("used", 2, 1), ("new", 2, 20)]
    rows = [(who, f"{who}-{month}-{day}", [1], [0.5], datetime(2026, month, day, tzinfo=timezone.utc))
            for who, month, day in times]  # fmt: skip
    rows.append(("of an older version", "sha", [1], [0.5], None))
    append_table(spark.createDataFrame(rows, SCHEMAS[C.ITEM_VECTORS]), name)
    assert drop_old_encoders(spark, name, 30) == 3
    left = spark.read.format("delta").load(name).groupBy(C.MODEL_VERSION).count().collect()
    assert {row[C.MODEL_VERSION]: row["count"] for row in left} == {"used": 2, "new": 1}
    assert drop_old_encoders(spark, name, 30) == 0


def test_vectors_of_texts_that_no_item_has_any_more_go_when_they_are_old(spark: SparkSession, tmp_path: Path) -> None:
    name = str(tmp_path / "item_vectors")
    texts = spark.createDataFrame([("there",), ("new",)], "text_sha string")
    append_table(spark.createDataFrame([], SCHEMAS[C.ITEM_VECTORS]), name)
    assert drop_gone_texts(spark, name, texts, 30) == 0
    times = [("there", 1, 1), ("gone", 1, 1), ("gone", 1, 2), ("gone lately", 2, 18), ("new", 2, 20)]
    rows = [("m", sha, [1], [0.5], datetime(2026, month, day, tzinfo=timezone.utc)) for sha, month, day in times]
    append_table(spark.createDataFrame(rows, SCHEMAS[C.ITEM_VECTORS]), name)
    assert drop_gone_texts(spark, name, texts, 30) == 2
    left = {row[C.TEXT_SHA] for row in spark.read.format("delta").load(name).collect()}
    assert left == {"there", "gone lately", "new"}
    assert drop_gone_texts(spark, name, texts, 30) == 0
