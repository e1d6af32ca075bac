from datetime import date, datetime, timezone

from pyspark.sql import DataFrame, SparkSession

from llmrec.settings.texts import Texts
from llmrec.spark.items import close_items, groups_of, index_items, missing_vectors
from llmrec.spark.schemas import SCHEMAS

TEMPLATE = Texts().item_template


def test_items_are_numbered_by_id_with_text_and_availability(spark: SparkSession) -> None:
    first, second = (datetime(2026, 1, day, tzinfo=timezone.utc) for day in (10, 20))
    rows = [
        ("b", "Cup", "for tea", ["kitchen", "red"], None, None, None, None),
        ("a", "Pot", None, None, None, None, second, None),
        ("c", "Old", None, [], None, None, None, first),
    ]
    items = index_items(spark.createDataFrame(rows, SCHEMAS["items"]), date(2026, 1, 15), TEMPLATE).collect()
    assert [(r["item"], r["item_id"], r["text"], r["available"]) for r in items] == [
        (0, "a", "Pot", False),
        (1, "b", "Cup. kitchen, red. for tea", True),
        (2, "c", "Old", False),
    ]
    at_opening = index_items(spark.createDataFrame(rows, SCHEMAS["items"]), date(2026, 1, 20), TEMPLATE).filter(
        "item_id = 'a'"
    )
    assert at_opening.head()["available"]


def test_an_item_belongs_to_its_categories_or_to_its_value_of_an_attribute(spark: SparkSession) -> None:
    rows = [
        ("a", "Cup", None, ["kitchen", None, "red"], {"brand": "Acme"}, None, None, None),
        ("b", "Pot", None, None, None, None, None, None),
        ("c", "Old", None, [], {"brand": None, "maker": "x"}, None, None, None),
    ]
    items = index_items(spark.createDataFrame(rows, SCHEMAS["items"]), date(2026, 1, 15), TEMPLATE)
    found = items.orderBy("item").select(groups_of("category").alias("c"), groups_of("brand").alias("b")).collect()
    assert [(row["c"], row["b"]) for row in found] == [(["kitchen", "red"], ["Acme"]), ([], []), ([], [])]


def test_items_not_allowed_or_denied_to_everybody_are_not_available(spark: SparkSession) -> None:
    items = spark.createDataFrame([("a", True), ("b", True), ("c", False)], "item_id string, available boolean")
    allowed = spark.createDataFrame([("a",), ("c",), ("a",), ("unknown",)], "item_id string")
    denied = spark.createDataFrame([("a", None), ("b", "u"), ("a", None)], "item_id string, user_id string")
    nothing = denied.limit(0)

    def available(allowed: DataFrame | None, denied: DataFrame) -> list[str]:
        rows = close_items(items, allowed, denied).collect()
        assert len(rows) == 3
        return sorted(row["item_id"] for row in rows if row["available"])

    assert available(None, nothing) == ["a", "b"]
    assert available(None, denied) == ["b"]  # to one user alone, b is still for the others
    assert available(allowed, nothing) == ["a"]
    assert available(allowed, denied) == []  # denied wins
    assert available(allowed.limit(0), nothing) == []


def test_only_texts_new_to_the_encoder_are_missing(spark: SparkSession) -> None:
    items = spark.createDataFrame([("s1", "one"), ("s1", "one"), ("s2", "two")], "text_sha string, text string")
    vectors = spark.createDataFrame(
        [(who, sha, [1], [0.5], None) for who, sha in (("old", "s2"), ("now", "s1"))], SCHEMAS["item_vectors"]
    )
    assert [row["text_sha"] for row in missing_vectors(items, vectors, "now").collect()] == ["s2"]


def test_an_item_with_another_template_has_another_text_and_fingerprint(spark: SparkSession) -> None:
    rows = [("a", "Cup", "for tea", None, {"brand": "Acme"}, None, None, None)]
    rows += [("b", "Pot", None, None, None, None, None, None)]
    items = spark.createDataFrame(rows, SCHEMAS["items"])

    def read(template: list[str]) -> list[tuple[str, str]]:
        indexed = index_items(items, date(2026, 1, 15), template)
        return [(row["text"], row["text_sha"]) for row in indexed.orderBy("item").collect()]

    usual, branded = read(TEMPLATE), read(["{title}", "by {attributes[brand]}"])
    assert [text for text, _ in branded] == ["Cup. by Acme", "Pot"]
    assert usual[0][1] != branded[0][1]
    assert usual[1] == branded[1]  # without a brand, the vector that is there serves
