"""What is counted from events each night: how often items are taken, and which are taken together."""

from collections.abc import Iterator
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from scipy import sparse

from llmrec import columns as C
from llmrec.spark.items import INDEX
from llmrec.spark.splits import LIKES
from llmrec.spark.users import COUNTED


def popularity(events: DataFrame, run_date: date, window_days: int) -> DataFrame:
    """Count events per item.

    Input:  item, likes, event_time.
    Output: item, taken (all events), taken_lately (within the window before the run date), liked (liking events).
    """
    lately = F.col(C.EVENT_TIME) >= F.lit((run_date - timedelta(days=window_days)).isoformat()).cast("timestamp")
    return events.groupBy(INDEX).agg(
        F.count("*").alias("taken"),
        F.sum(lately.cast("long")).alias("taken_lately"),
        F.sum(F.col(LIKES).cast("long")).alias("liked"),
    )


def covisitation(users: DataFrame, items: int, neighbours: int) -> DataFrame:
    """Weigh pairs of items by how many users took both: the cosine of their users' sets.

    Input:  counted (array<int>, the distinct items of one user that count), one row per user; ``items`` is the size of
            the catalogue.
    Output: item, neighbour, weight (0 to 1]; at most ``neighbours`` rows per item, the strongest, ties by neighbour.
    """
    takers = np.zeros(items, np.int64)  # one number per item is all that the driver holds
    for row in users.select(F.explode(COUNTED).alias(INDEX)).groupBy(INDEX).count().collect():
        takers[row[INDEX]] = row["count"]

    def strongest(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        arrived = list(batches)
        if arrived:
            yield _strongest(pd.concat(arrived), takers, neighbours)

    together = users.select(COUNTED).mapInPandas(_count_together, "item int, others array<int>, users array<int>")
    return together.repartition(INDEX).mapInPandas(strongest, "item int, neighbour int, weight float")


def _count_together(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    # One sparse product per batch of users; a join of events with themselves would shuffle every pair.
    for batch in batches:
        rows = batch[COUNTED].to_list()
        columns = np.concatenate(rows) if rows else np.zeros(0, np.int32)
        starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
        taken = sparse.csr_matrix((np.ones(len(columns), np.int32), columns, starts))
        pairs = (taken.T @ taken).tocsr()
        items = np.flatnonzero(np.diff(pairs.indptr))
        ends = pairs.indptr[items + 1][:-1]
        yield pd.DataFrame(
            {"item": items, "others": np.split(pairs.indices, ends), "users": np.split(pairs.data, ends)}
        )


def _strongest(rows: pd.DataFrame, takers: npt.NDArray[np.int64], neighbours: int) -> pd.DataFrame:
    item = np.repeat(rows["item"].to_numpy(), rows["others"].map(len).to_numpy())
    other = np.concatenate(rows["others"].to_list())
    users = np.concatenate(rows["users"].to_list())
    size = len(takers)
    pairs = sparse.coo_matrix((users, (item, other)), shape=(size, size)).tocsr().tocoo()  # sums what batches counted
    apart = pairs.row != pairs.col
    item, other = pairs.row[apart], pairs.col[apart]
    weight = pairs.data[apart] / np.sqrt(takers[item] * takers[other])
    order = np.lexsort((other, -weight, item))
    item, other, weight = item[order], other[order], weight[order]
    firsts = np.searchsorted(item, item)  # where each row's item begins
    kept = np.arange(len(item)) - firsts < neighbours
    return pd.DataFrame({"item": item[kept], "neighbour": other[kept], "weight": weight[kept].astype(np.float32)})
