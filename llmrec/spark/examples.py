"""Training examples of all users, written as Parquet shards that training reads one after the other."""

import math
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from llmrec import columns as C

_ROWS_OF_SHARD = 4096
_SHARD = "shard"


def write_examples(learners: DataFrame, folder: Path, *, positives: int, history: int, at_most: int, seed: int) -> int:
    """Write the examples of nn.examples to ``folder``; return how many there are.

    Input of learners: user_id, text, liked, seen; oldest first. Each user's liked items are cut into the last
    ``history`` ones and up to ``positives`` next, all along the way. More examples than ``at_most`` are sampled by
    hash: about as many are left. The same input gives the same shards, whatever tasks they come from.
    """
    before = F.slice("liked", F.greatest(F.col("cut") - history + 1, F.lit(1)), F.least(F.col("cut"), F.lit(history)))
    cuts = learners.filter(F.size("liked") > 1).withColumn(
        "cut", F.explode(F.sequence(F.lit(1), F.size("liked") - 1, F.lit(positives)))
    )
    place = F.pmod(F.xxhash64(F.lit(f"examples-{seed}"), C.USER, "cut"), F.lit(1 << 30))
    examples = cuts.select(
        C.USER, "cut", place.alias("place"), C.TEXT, before.alias("history"),
        F.slice("liked", F.col("cut") + 1, positives).alias("positives"), "seen",
    )  # fmt: skip
    total = cuts.count()
    kept = examples.filter(F.col("place") < math.ceil(min(at_most / max(total, 1), 1.0) * (1 << 30))).persist()
    rows = kept.count()
    shards = max(1, math.ceil(rows / _ROWS_OF_SHARD))
    spread = kept.withColumn(_SHARD, (F.col("place") % shards).cast("int")).repartition(shards, _SHARD)
    ordered = spread.sortWithinPartitions(_SHARD, "place", C.USER, "cut").drop(C.USER, "cut", "place")
    ordered.write.partitionBy(_SHARD).parquet(folder.absolute().as_uri())
    kept.unpersist()
    return rows
