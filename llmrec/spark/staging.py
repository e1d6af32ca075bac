"""Lists on their way to the table, kept bucket by bucket: a night that was killed goes on with the buckets it lacks.

A bucket is the users of one task of the scoring stage, by a hash of their ids. A task writes its lists to one file,
which gets its name when it is whole; so the folder must be one that all hosts share.
"""

import os
import re
import uuid
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from py4j.protocol import Py4JJavaError
from pyspark import TaskContext
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from llmrec import columns as C
from llmrec.domain.permissions import keep_from_others
from llmrec.errors import OutputError
from llmrec.spark.kept_files import KeptFiles
from llmrec.spark.paths import pattern
from llmrec.spark.tables import with_output_errors
from llmrec.spark.users import bucket_of, in_tasks
from llmrec.spark.workers import FAILED, PROPOSED, NightParts, ranked

_NAME = re.compile(r"bucket-(\d+)\.parquet")
_LISTS = pa.schema(
    [
        (C.USER, pa.string()),
        (FAILED, pa.list_(pa.string())),
        (PROPOSED, pa.int32()),
        (C.RANK, pa.int32()),
        (C.ITEM, pa.string()),
        (C.SCORE, pa.float64()),
        (C.SOURCES, pa.list_(pa.string())),
        (C.REASON, pa.string()),
        (C.PROPENSITY, pa.float64()),
        (C.RATING, pa.float32()),
    ]
)
_STAGED = (
    f"{C.USER} string, {FAILED} array<string>, {PROPOSED} int, {C.RANK} int, {C.ITEM} string, {C.SCORE} double, "
    f"{C.SOURCES} array<string>, {C.REASON} string, {C.PROPENSITY} double, {C.RATING} float"
)
"""The same for Spark."""


def finished_buckets(folder: Path) -> set[int]:
    """Return the buckets whose lists are in ``folder``."""
    return {int(found[1]) for path in folder.glob("*") if (found := _NAME.fullmatch(path.name))}


def stage_lists(
    users: DataFrame, parts: NightParts, top_n: int, buckets: int, folder: Path, kept: KeptFiles | None = None
) -> dict[str, int]:
    """Rank the candidates of the users whose bucket is not finished, and keep the lists in ``folder``.

    Input: one row per user, as spark.users makes them.
    Returns counts of what was read and of what is ``kept`` of earlier nights (None: nothing is). Raises OutputError if
    lists cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    finished, place = finished_buckets(folder), folder.absolute()
    left = users.filter(~bucket_of(buckets).isin(*finished)) if finished else users

    def rank_and_keep(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        context = TaskContext.get()
        if context is None:
            raise RuntimeError("lists are staged in a task of Spark, found none")
        keep_from_others()
        bucket, counts = context.partitionId(), Counter[str]()
        _keep(ranked(batches, parts, top_n, kept, bucket, counts), place / f"bucket-{bucket:05d}.parquet")
        if counts:
            yield pd.DataFrame({"what": list(counts), "count": list(counts.values())})

    done = in_tasks(left, buckets).mapInPandas(rank_and_keep, "what string, count long").groupBy("what")
    total = done.agg(F.sum("count").alias("sum"))
    return {row["what"]: row["sum"] for row in with_output_errors(f"work: {folder}", total.collect)}


def staged_lists(spark: SparkSession, folder: Path) -> DataFrame:
    """Read the lists in ``folder``, with the columns of spark.workers.ranked."""
    paths = [pattern(path) for path in sorted(folder.glob("*")) if _NAME.fullmatch(path.name)]
    return spark.read.schema(_STAGED).parquet(*paths) if paths else spark.createDataFrame([], _STAGED)


@contextmanager
def damaged_dropped(folder: Path) -> Iterator[None]:
    """Read the lists in ``folder`` within; files of them that cannot be read are deleted, or no rerun could go on.

    Raises OutputError naming these.
    """
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        if damaged := _drop_damaged(folder):
            raise OutputError(
                f"work: {folder}: {', '.join(damaged)} could not be read and is removed; expected lists as they were "
                "staged: the same line again makes these anew and keeps the others"
            ) from error
        raise


def _drop_damaged(folder: Path) -> list[str]:
    dropped = []
    for path in sorted(one for one in folder.glob("*") if _NAME.fullmatch(one.name)):
        try:
            deque(pq.ParquetFile(path).iter_batches(), maxlen=0)
        except (OSError, pa.ArrowException):
            path.unlink(missing_ok=True)
            dropped.append(path.name)
    return dropped


def _keep(frames: Iterator[pd.DataFrame], path: Path) -> None:
    """Write ``frames`` to ``path``, whole or not at all; without one there is no file."""
    unfinished, writer = path.with_name(f".{path.name}.{uuid.uuid4().hex}"), None
    try:
        for frame in frames:
            writer = writer or pq.ParquetWriter(unfinished, _LISTS)
            writer.write_table(pa.Table.from_pandas(frame, _LISTS, preserve_index=False))
    finally:
        if writer:
            writer.close()
    if writer:
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())  # or a host that loses power could leave the name without the lists
        os.replace(unfinished, path)
