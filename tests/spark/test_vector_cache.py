from datetime import datetime, timezone
from pathlib import Path

from pyspark.sql import SparkSession

from llmrec import columns as C
from llmrec.spark.schemas import SCHEMAS
from llmrec.spark.tables import append_table
from llmrec.spark.vector_cache import drop_old_encoders


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
