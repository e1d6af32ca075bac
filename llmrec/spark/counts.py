"""What is counted from events each night: how often items are taken, which together, and which one after another."""

from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F
from scipy import sparse

from llmrec import columns as C
from llmrec.domain.users import Items
from llmrec.spark.items import INDEX
from llmrec.spark.splits import LIKES, days_before, first_moment
from llmrec.spark.users import COUNTED, STEPS

Count = Callable[[Sequence[Items]], sparse.csr_matrix]
"""From the ordered items of some users to what was counted of (item, other)."""

Takers = npt.NDArray[np.float64]

_ALL = 1 << 62
_STEPS = (10_000, 7_000, 4_900, 3_430, 2_401)
"""What a follower counts by its distance, in ten-thousandths; integers, since their sums do not depend on the order."""
_UNIT = 1_000_000
"""What a user counts who took one item; an integer for the same reason."""


def popularity(events: DataFrame, run_date: date, window_days: int) -> DataFrame:
    """Count events per item.

    Input:  item, likes, event_time.
    Output: item, taken (all events), taken_lately (within the window before the run date), liked (liking events), idle
            (days from the last event to the run date).
    """
    lately = F.col(C.EVENT_TIME) >= first_moment(run_date - timedelta(days=window_days))
    return events.groupBy(INDEX).agg(
        F.count("*").alias("taken"),
        F.sum(lately.cast("long")).alias("taken_lately"),
        F.sum(F.col(LIKES).cast("long")).alias("liked"),
        days_before(run_date, F.max(C.EVENT_TIME)).alias("idle"),
    )


def popularity_by_segment(
    events: DataFrame, users: DataFrame, run_date: date, window_days: int, most: int
) -> DataFrame:
    """Count the events of each segment's users on an item, in the window before the run date.

    Input:  events as of `popularity`, with user_id; users: user_id, segment (null or empty: of none).
    Output: segment, item, weight (log of one plus the events); at most ``most`` items of a segment, the most taken,
            ties by item.
    """
    named = users.filter(F.length(C.SEGMENT) > 0).select(C.USER, C.SEGMENT)
    lately = events.filter(F.col(C.EVENT_TIME) >= first_moment(run_date - timedelta(days=window_days)))
    counts = lately.join(named, on=C.USER).groupBy(C.SEGMENT, INDEX).agg(F.count("*").alias("taken"))
    place = F.row_number().over(W.partitionBy(C.SEGMENT).orderBy(F.col("taken").desc(), INDEX))
    kept = counts.withColumn("_place", place).filter(F.col("_place") <= most)
    return kept.select(C.SEGMENT, INDEX, F.log1p("taken").cast("float").alias("weight"))


def count_takers(users: DataFrame, items: int) -> Takers:
    """Return how many users took each of ``items`` items, (items,); input as of `covisitation`."""
    takers = np.zeros(items)  # one number per item is all that the driver holds
    for row in users.select(F.explode(COUNTED).alias(INDEX)).groupBy(INDEX).count().collect():
        takers[row[INDEX]] = row["count"]
    return takers


def covisitation(users: DataFrame, takers: Takers, neighbours: int) -> DataFrame:
    """Weigh pairs of items by how many users took both: the cosine of their users' sets.

    Input:  counted (array<int>, the distinct items of one user that count), one row per user; ``takers`` as of
            `count_takers`.
    Output: item, neighbour, weight (0 to 1]; at most ``neighbours`` rows per item, the strongest, ties by neighbour.
    """
    return _strongest(users, _taken_together, lambda item, other: np.sqrt(takers[item] * takers[other]), neighbours)


def followers(users: DataFrame, takers: Takers, neighbours: int, *, itself: bool) -> DataFrame:
    """Weigh what users take after an item: the share of its takers who take the other next.

    One who takes it d steps later counts 0.7 ** (d - 1), up to five steps. An item may follow ``itself``, or counts
    once where it is taken several times in a row.

    Input:  steps (array<int>, ordered, oldest first, with an item as often as it was taken), one row per user;
            ``takers`` as of `count_takers`.
    Output: as of `covisitation`.
    """
    steps = users.withColumn(COUNTED, F.col(STEPS))
    return _strongest(
        steps, partial(_taken_after, itself=itself), lambda item, other: _STEPS[0] * takers[item], neighbours
    )


def taken_by_alike(users: DataFrame, neighbours: int) -> DataFrame:
    """Weigh pairs of items so that user-based collaborative filtering is a sum over a user's items.

    The score of an item is the sum, over the users who took it, of the cosine of their items and the user's. That is
    the sum over the user's items j of sum over the users v with both items of 1 / sqrt(items of v), over the root of
    the user's own number of items, which orders nothing.

    Input:  as of `covisitation`.
    Output: as of `covisitation`.
    """
    return _strongest(users, _taken_by_alike, lambda item, other: np.full(len(item), float(_UNIT)), neighbours)


def together(users: DataFrame) -> DataFrame:
    """Count the users who took both items of a pair; of an item and itself, those who took it.

    Input:  as of `covisitation`.
    Output: item, neighbour, weight.
    """
    return _strongest(users, _taken_both, lambda item, other: np.ones(len(item)), _ALL)


def _taken_together(rows: Sequence[Items]) -> sparse.csr_matrix:
    """Count, for pairs of different items, the ``rows`` (one user's items each) that hold both."""
    pairs = _taken_both(rows)
    pairs.setdiag(0)
    pairs.eliminate_zeros()
    return pairs


def _taken_both(rows: Sequence[Items]) -> sparse.csr_matrix:
    items, user = _end_to_end(rows)
    taken = sparse.csr_matrix((np.ones(len(items), np.int64), (user, items)))
    return (taken.T @ taken).tocsr()


def _taken_by_alike(rows: Sequence[Items]) -> sparse.csr_matrix:
    """Add up, for pairs of different items, 1 / sqrt(length) of the ``rows`` that hold both, in units."""
    items, user = _end_to_end(rows)
    lengths = np.array([len(row) for row in rows], np.float64)[user]
    shape = (len(rows), int(items.max(initial=-1)) + 1)
    taken = sparse.csr_matrix((np.ones(len(items), np.int64), (user, items)), shape)
    shares = sparse.csr_matrix((np.rint(_UNIT / np.sqrt(lengths)).astype(np.int64), (user, items)), shape)
    pairs = (taken.T @ shares).tocsr()
    pairs.setdiag(0)
    pairs.eliminate_zeros()
    return pairs


def _taken_after(rows: Sequence[Items], itself: bool) -> sparse.csr_matrix:
    """Count, for pairs of items, the ``rows`` in which the second comes soon after the first; see `followers`."""
    items, user = _end_to_end(rows)
    if not itself:
        again = (items[1:] == items[:-1]) & (user[1:] == user[:-1])
        items, user = np.delete(items, np.flatnonzero(again)), np.delete(user, np.flatnonzero(again))
    size = int(items.max(initial=0)) + 1
    pairs = sparse.csr_matrix((size, size), dtype=np.int64)
    for step, count in enumerate(_STEPS, 1):
        same = np.flatnonzero(user[:-step] == user[step:])
        pairs += sparse.csr_matrix((np.full(len(same), count), (items[same], items[same + step])), (size, size))
    return pairs


def _end_to_end(rows: Sequence[Items]) -> tuple[Items, npt.NDArray[np.int64]]:
    """Return all items and the row of each."""
    items = np.concatenate(rows) if len(rows) else np.zeros(0, np.int32)
    return items, np.repeat(np.arange(len(rows)), [len(row) for row in rows])


def _strongest(
    users: DataFrame, count: Count, divisor: Callable[[Items, Items], npt.NDArray[np.float64]], neighbours: int
) -> DataFrame:
    """Count pairs of items over all users, divide, and keep each item's largest."""

    def count_batch(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        # One sparse matrix per batch of users; a join of events with themselves would shuffle every pair.
        for batch in batches:
            pairs = count(batch[COUNTED].to_list())
            items = np.flatnonzero(np.diff(pairs.indptr))
            if not len(items):
                continue
            ends = pairs.indptr[items + 1][:-1]
            rows = {"others": np.split(pairs.indices.astype(np.int32), ends), "counts": np.split(pairs.data, ends)}
            yield pd.DataFrame({"item": items} | {name: [one.tobytes() for one in row] for name, row in rows.items()})

    def keep(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        arrived = [batch for batch in batches if len(batch)]
        if arrived:
            yield _largest(pd.concat(arrived), divisor, neighbours)

    # Numbers as bytes: Spark moves them at once, not one by one.
    counted = users.select(COUNTED).mapInPandas(count_batch, "item int, others binary, counts binary")
    return counted.repartition(INDEX).mapInPandas(keep, "item int, neighbour int, weight float")


def _largest(
    rows: pd.DataFrame, divisor: Callable[[Items, Items], npt.NDArray[np.float64]], neighbours: int
) -> pd.DataFrame:
    other, counts = (np.frombuffer(b"".join(rows[n]), kind) for n, kind in (("others", np.int32), ("counts", np.int64)))
    item = np.repeat(rows["item"].to_numpy(), rows["others"].map(len).to_numpy() // other.itemsize)
    size = int(max(item.max(), other.max())) + 1
    pairs = sparse.csr_matrix((counts, (item, other)), shape=(size, size)).tocoo()  # adds what batches counted
    weight = pairs.data / divisor(pairs.row, pairs.col)
    order = np.lexsort((pairs.col, -weight, pairs.row))
    item, other, weight = pairs.row[order], pairs.col[order], weight[order]
    firsts = np.searchsorted(item, item)  # where each row's item begins
    kept = np.arange(len(item)) - firsts < neighbours
    return pd.DataFrame({"item": item[kept], "neighbour": other[kept], "weight": weight[kept].astype(np.float32)})
