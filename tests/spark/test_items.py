from datetime import date, datetime, timezone

from pyspark.sql import SparkSession

from llmrec.spark.items import index_items, missing_vectors
from llmrec.spark.schemas import SCHEMAS


def test_items_are_numbered_by_id_with_text_and_availability(spark: SparkSession) -> None:
    first, second = (datetime(2026, 1, day, tzinfo=timezone.utc) for day in (10, 20))
    rows = [
        ("b", "Cup", "for tea", ["kitchen", "red"], None, None, None, None),
        ("a", "Pot", None, None, None, None, second, None),
        ("c", "Old", None, [], None, None, None, first),
    ]
    items = index_items(spark.createDataFrame(rows, SCHEMAS["items"]), date(2026, 1, 15)).collect()
    assert [(r["item"], r["item_id"], r["text"], r["available"]) for r in items] == [
        (0, "a", "Pot", False),
        (1, "b", "Cup. kitchen, red. for tea", True),
        (2, "c", "Old", False),
    ]
    at_opening = index_items(spark.createDataFrame(rows, SCHEMAS["items"]), date(2026, 1, 20)).filter("item_id = 'a'")
    assert at_opening.head()["available"]


def test_only_texts_new_to_the_encoder_are_missing(spark: SparkSession) -> None:
    items = spark.createDataFrame([("s1", "one"), ("s1", "one"), ("s2", "two")], "text_sha string, text string")
    vectors = spark.createDataFrame([("old", "s2", [1], [0.5]), ("now", "s1", [1], [0.5])], SCHEMAS["item_vectors"])
    assert [row["text_sha"] for row in missing_vectors(items, vectors, "now").collect()] == ["s2"]
