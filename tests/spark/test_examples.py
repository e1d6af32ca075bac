from pathlib import Path

import numpy as np
from pyspark.sql import SparkSession

from llmrec.nn.examples import Shards, cut_examples
from llmrec.spark.examples import write_examples
from tests import tiny


def learners(spark: SparkSession, count: int, tasks: int) -> tuple[list, object]:
    """Users with 0 to 9 liked items, and the same as a frame of so many tasks."""
    rng = np.random.default_rng(0)
    users = [tiny.user(f"u{n}", rng.permutation(20)[: n % 10].tolist(), text=f"of {n}") for n in range(count)]
    rows = [(user.user_id, user.text, user.liked.tolist(), user.seen.tolist()) for user in users]
    schema = "user_id string, text string, liked array<int>, seen array<int>"
    return users, spark.createDataFrame(rows, schema).repartition(tasks)


def read(folder: Path) -> list[tuple]:
    shop = tiny.catalogue(folder.parent / f"{folder.name}-catalogue", ["red tea"] * 20)
    shards = Shards(folder, shop, negatives=0, seed=1)
    return [(e.text, e.history.tolist(), e.positives.tolist(), e.seen.tolist()) for e in shards]


def test_spark_cuts_the_same_examples_as_the_function_for_those_without_it(spark: SparkSession, tmp_path: Path) -> None:
    users, rows = learners(spark, 30, tasks=3)
    count = write_examples(rows, tmp_path / "all", positives=2, history=5, at_most=1000, seed=1)
    expected = [
        (e.text, e.history.tolist(), e.positives.tolist(), e.seen.tolist())
        for e in cut_examples(users, positives=2, history=5)
    ]
    assert sorted(read(tmp_path / "all")) == sorted(expected)
    assert count == len(expected)


def test_too_many_examples_are_sampled_and_the_tasks_of_the_input_do_not_matter(
    spark: SparkSession, tmp_path: Path
) -> None:
    counts, samples = [], []
    for tasks in (1, 4):
        _, rows = learners(spark, 300, tasks)
        folder = tmp_path / f"{tasks}"
        counts.append(write_examples(rows, folder, positives=2, history=5, at_most=200, seed=1))
        samples.append(read(folder))
    assert counts[0] == counts[1] == len(samples[0])
    assert abs(counts[0] - 200) < 45  # three standard deviations of a sample by hash
    assert samples[0] == samples[1]
