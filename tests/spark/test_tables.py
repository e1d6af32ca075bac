from datetime import date
from pathlib import Path

from pyspark.sql import SparkSession

from llmrec.spark.tables import replace_date


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
