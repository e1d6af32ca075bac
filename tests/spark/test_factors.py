from pathlib import Path

import numpy as np
import pytest
from pyspark.ml.recommendation import ALS
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from llmrec.nn.als import CONFIDENCE, ITERATIONS, RANK, RIDGE, everywhere, fold_in
from llmrec.spark.factors import item_factors

ITEMS = 30


def histories() -> list[list[int]]:
    """Two tastes: half of the users take from the first items, half from the last but one; nobody takes the last."""
    rng = np.random.default_rng(0)
    return [sorted(rng.choice(range(15 * side, 15 * side + 14), 5, replace=False).tolist()) for side in (0, 1) * 30]


@pytest.fixture(scope="module")
def factors(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """Of the items that `histories` take."""
    users = spark.createDataFrame([(f"u{place}", own) for place, own in enumerate(histories())], COLUMNS)
    return item_factors(users, ITEMS, 1, tmp_path_factory.mktemp("checkpoints"))


COLUMNS = "user_id string, counted array<int>"


def test_users_of_the_events_get_the_factors_that_spark_gives_them(
    spark: SparkSession, factors: np.ndarray
) -> None:  # `factors` has set where checkpoints go
    users = spark.createDataFrame(
        [(place, own) for place, own in enumerate(histories())], "user int, counted array<int>"
    )
    method = ALS(
        rank=RANK, maxIter=ITERATIONS, regParam=RIDGE, alpha=CONFIDENCE, implicitPrefs=True, seed=1,
        checkpointInterval=2,
        userCol="user", itemCol="item", ratingCol="taken",
    )  # fmt: skip
    model = method.fit(users.select("user", F.explode("counted").alias("item"), F.lit(1.0).alias("taken")))
    expected = {row["id"]: row["features"] for row in model.userFactors.collect()}
    items = np.zeros((ITEMS, RANK), np.float32)
    for row in model.itemFactors.collect():
        items[row["id"]] = row["features"]
    found = fold_in([np.array(own, np.int32) for own in histories()], items, everywhere(items))
    for place, own in enumerate(found):
        assert own == pytest.approx(np.array(expected[place]), abs=1e-3)


def test_a_taste_is_found_from_one_item(factors: np.ndarray) -> None:
    [user] = fold_in([np.array([0], np.int32)], factors, everywhere(factors))
    scores = factors @ user
    assert scores[1:14].mean() > 10 * abs(scores[15:29].mean())


def test_items_and_users_that_nothing_is_known_of_have_no_factors(factors: np.ndarray) -> None:
    assert not factors[ITEMS - 1].any() and factors[:14].any(axis=1).all()
    assert not fold_in([np.array([], np.int32), np.array([ITEMS - 1], np.int32)], factors, everywhere(factors)).any()


def test_factors_are_the_same_on_every_run(spark: SparkSession, factors: np.ndarray, tmp_path: Path) -> None:
    users = spark.createDataFrame([(f"u{place}", own) for place, own in enumerate(histories())], COLUMNS)
    assert np.array_equal(item_factors(users.repartition(3), ITEMS, 1, tmp_path), factors)


def test_without_events_there_are_no_factors(spark: SparkSession, tmp_path: Path) -> None:
    assert not item_factors(spark.createDataFrame([], COLUMNS), 4, 1, tmp_path).any()
