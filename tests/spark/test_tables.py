import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from py4j.protocol import Py4JJavaError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from llmrec import columns as C
from llmrec.errors import OutputError
from llmrec.spark.schemas import RECOMMENDATION_CONSTRAINTS, SCHEMAS
from llmrec.spark.tables import create_latest, create_table, replace_night


def test_a_date_of_a_scene_is_replaced_alone_and_a_table_of_an_older_version_gets_the_new_column(
    spark: SparkSession, tmp_path: Path
) -> None:
    mine, other = "at 'home' \\", "cart"
    rows_before = [(day, scene, item) for day in (1, 2) for scene in (mine, other) for item in "ab"]
    old = spark.createDataFrame(
        [(date(2026, 1, day), scene, item) for day, scene, item in rows_before],
        "run_date date, scene string, item_id string",
    )
    old.write.format("delta").partitionBy("run_date").save(str(tmp_path / "lists"))
    kinds = "run_date date, scene string, item_id string, propensity double"
    new = spark.createDataFrame([(date(2026, 1, 2), mine, "c", 0.5)], kinds)
    replace_night(new, str(tmp_path / "lists"), date(2026, 1, 2), mine)
    rows = spark.read.format("delta").load(str(tmp_path / "lists")).collect()
    assert {(row["run_date"].day, row["scene"], row["item_id"], row["propensity"]) for row in rows} == {
        *((day, scene, item, None) for day, scene, item in rows_before if (day, scene) != (2, mine)),
        (2, mine, "c", 0.5),
    }


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
        replace_night(lists(spark, day, *items), name, date(2026, 1, day), "home")
        feed = spark.read.format("delta").option("readChangeFeed", "true").option("startingVersion", version).load(name)
        changes = [(row["_change_type"], (row["run_date"], row["rank"], row["item_id"])) for row in feed.collect()]
        store -= {row for kind, row in changes if kind == "delete"}
        store |= {row for kind, row in changes if kind == "insert"}
        there = spark.read.format("delta").load(name).select("run_date", "rank", "item_id")
        assert store == {tuple(row) for row in there.collect()}
    assert len(store) == 4


@pytest.mark.parametrize(("day", "left"), [(2, {"b"}), (3, {"a", "b"})])
def test_of_two_runs_that_publish_a_date_at_the_same_moment_one_fails_and_two_dates_are_both_published(
    day: int, left: set[str], spark: SparkSession, tmp_path: Path
) -> None:
    name, other = str(tmp_path / "recommendations"), tmp_path / "other"
    create_table(spark, name, C.RECOMMENDATIONS, partition_by=C.RUN_DATE)

    def wait(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        (tmp_path / "begun").touch()
        while not other.exists():
            time.sleep(0.01)
        yield from batches

    slow = lists(spark, 2, "a").coalesce(1).mapInPandas(wait, SCHEMAS[C.RECOMMENDATIONS])
    with ThreadPoolExecutor() as pool:
        first = pool.submit(replace_night, slow, name, date(2026, 1, 2), "home")
        while not (tmp_path / "begun").exists():
            time.sleep(0.01)
        replace_night(lists(spark, day, "b"), name, date(2026, 1, day), "home")
        other.touch()
        refused = pytest.raises(OutputError, match="recommendations: another run wrote the same part meanwhile")
        with refused if day == 2 else nullcontext():
            first.result()
    assert {row["item_id"] for row in spark.read.format("delta").load(name).collect()} == left


def test_a_row_that_readers_do_not_expect_cannot_get_into_the_table_whoever_writes_it(
    spark: SparkSession, tmp_path: Path
) -> None:
    name = str(tmp_path / "recommendations")
    create_table(spark, name, C.RECOMMENDATIONS, partition_by=C.RUN_DATE, constraints=RECOMMENDATION_CONSTRAINTS)
    good = lists(spark, 1, "a")
    good.write.format("delta").mode("append").save(name)
    for column, wrong in (("score", 1.5), ("score", -0.5), ("rank", 0), ("propensity", 0.0), ("user_id", None)):
        row = good.withColumn(column, F.lit(wrong).cast(good.schema[column].dataType))
        with pytest.raises(Py4JJavaError, match=r"CONSTRAINT|NOT_NULL"):
            row.write.format("delta").mode("append").save(name)
    assert spark.read.format("delta").load(name).count() == 1


def test_a_table_of_a_catalog_has_a_view_of_each_scenes_last_date(spark: SparkSession) -> None:
    spark.sql("CREATE SCHEMA IF NOT EXISTS `2026_lists`")
    name = "`2026_lists`.recommendations"
    create_table(spark, name, C.RECOMMENDATIONS, partition_by=C.RUN_DATE)
    for day, items in ((1, "ab"), (2, "c")):
        create_latest(spark, name)
        replace_night(lists(spark, day, *items), name, date(2026, 1, day), "home")
    cart = lists(spark, 1, "z").withColumn("scene", F.lit("cart"))
    replace_night(cart, name, date(2026, 1, 1), "cart")
    latest = spark.table("`2026_lists`.recommendations_latest")
    assert {(row["run_date"].day, row["item_id"]) for row in latest.collect()} == {(1, "z"), (2, "c")}
