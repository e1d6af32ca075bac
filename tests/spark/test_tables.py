from datetime import date
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from llmrec import columns as C
from llmrec.spark.schemas import SCHEMAS
from llmrec.spark.tables import create_latest, create_table, replace_date


def test_a_date_is_replaced_alone_and_a_table_of_an_older_version_gets_the_new_column(
    spark: SparkSession, tmp_path: Path
) -> None:
    old = spark.createDataFrame(
        [(date(2026, 1, day), item) for day in (1, 2) for item in "ab"], "run_date date, item_id string"
    )
    old.write.format("delta").partitionBy("run_date").save(str(tmp_path / "lists"))
    new = spark.createDataFrame([(date(2026, 1, 2), "c", 0.5)], "run_date date, item_id string, propensity double")
    replace_date(new, str(tmp_path / "lists"), date(2026, 1, 2))
    rows = spark.read.format("delta").load(str(tmp_path / "lists")).orderBy("run_date", "item_id").collect()
    assert [(row["run_date"].day, row["item_id"], row["propensity"]) for row in rows] == [
        (1, "a", None), (1, "b", None), (2, "c", 0.5)
    ]  # fmt: skip


def lists(spark: SparkSession, day: int, *items: str) -> DataFrame:
    rows = [
        (date(2026, 1, day), "u", "home", rank, item, 0.5, ["dense"], "m", "r", None, 1.0, None)
        for rank, item in enumerate(items, 1)
    ]
    return spark.createDataFrame(rows, SCHEMAS[C.RECOMMENDATIONS])


def test_a_serving_store_that_copies_only_the_changes_holds_what_the_table_holds(
    spark: SparkSession, tmp_path: Path
) -> None:
    name = str(tmp_path / "recommendations")
    create_table(spark, name, C.RECOMMENDATIONS, partition_by=C.RUN_DATE)
    store: set[tuple[object, ...]] = set()
    for version, (day, *items) in enumerate([(1, "a", "b"), (2, "b", "c"), (2, "b", "d")], 1):
        replace_date(lists(spark, day, *items), name, date(2026, 1, day))
        feed = spark.read.format("delta").option("readChangeFeed", "true").option("startingVersion", version).load(name)
        changes = [(row["_change_type"], (row["run_date"], row["rank"], row["item_id"])) for row in feed.collect()]
        store -= {row for kind, row in changes if kind == "delete"}
        store |= {row for kind, row in changes if kind == "insert"}
        there = spark.read.format("delta").load(name).select("run_date", "rank", "item_id")
        assert store == {tuple(row) for row in there.collect()}
    assert len(store) == 4


def test_a_table_of_a_catalog_has_a_view_of_its_last_date(spark: SparkSession) -> None:
    spark.sql("CREATE SCHEMA IF NOT EXISTS `2026_lists`")
    name = "`2026_lists`.recommendations"
    create_table(spark, name, C.RECOMMENDATIONS, partition_by=C.RUN_DATE)
    for day, items in ((1, "ab"), (2, "c")):
        create_latest(spark, name)
        replace_date(lists(spark, day, *items), name, date(2026, 1, day))
    latest = spark.table("`2026_lists`.recommendations_latest")
    assert [(row["run_date"].day, row["item_id"]) for row in latest.collect()] == [(2, "c")]
