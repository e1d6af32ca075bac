"""Items as factors, by Spark's alternating least squares."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from llmrec import columns as C
from llmrec.nn.als import CONFIDENCE, ITERATIONS, RANK, RIDGE
from llmrec.spark.items import INDEX
from llmrec.spark.paths import place
from llmrec.spark.users import COUNTED

_DIGITS = 5
"""Sums of floats depend on the order in which shuffled rows arrive; what is kept of them should not."""


def item_factors(users: DataFrame, items: int, seed: int, checkpoints: Path) -> npt.NDArray[np.float32]:
    """Return the factors of ``items`` items, (items, RANK); 0 for those that nobody took.

    Input: user_id, counted (array<int>, the distinct items of one user that count), one row per user.
    ``checkpoints`` is a folder, on a cluster one that all hosts share, that Spark keeps steps of the way in.
    """
    factors = np.zeros((items, RANK), np.float32)
    # Users are numbered by a hash; the few who share a number are one user to ALS.
    taken = users.select(F.hash(C.USER).alias("user"), F.explode(COUNTED).alias(INDEX), F.lit(1.0).alias("taken"))
    if taken.isEmpty():
        return factors
    # Without checkpoints each step holds all steps before it, more than Java's stack takes.
    users.sparkSession.sparkContext.setCheckpointDir(place(checkpoints))
    method = ALS(
        rank=RANK, maxIter=ITERATIONS, regParam=RIDGE, alpha=CONFIDENCE, implicitPrefs=True, seed=seed,
        checkpointInterval=2,
        userCol="user", itemCol=INDEX, ratingCol="taken",
    )  # fmt: skip
    for row in method.fit(taken).itemFactors.toLocalIterator():
        factors[row["id"]] = np.round(row["features"], _DIGITS)
    return factors
