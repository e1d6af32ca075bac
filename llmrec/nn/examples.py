"""Training examples: a user's history, some items liked next, and candidates the user did not take.

Spark writes them as Parquet, in shards (spark.examples); they are read shard by shard, so that they need not fit in
memory. What is drawn depends on the seed, the epoch and the place alone, not on who reads or from where.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from torch.utils.data import IterableDataset

from llmrec import columns as C
from llmrec.domain.users import Items, User
from llmrec.nn.catalogue import Catalogue

ITEM_COLUMNS = ("history", "positives", "seen", "others")
"""Columns of a shard, beside the text of the profile and the ratings: arrays of item indexes, as in `Example`."""
RATINGS = "ratings"
NEAR = 5
"""Of the history, the latest items whose neighbours are drawn as negatives."""


def _no_items() -> Items:
    return np.zeros(0, np.int32)


def _no_ratings() -> npt.NDArray[np.float32]:
    return np.zeros(0, np.float32)


@dataclass(frozen=True)
class Example:
    """One user at one moment, and the list that is learned from."""

    text: str
    """Profile text."""
    history: Items
    """Liked items before that moment, the latest, oldest first; at least one."""
    positives: Items
    """Items liked next; at least one."""
    seen: Items
    """All items of the user, before and after: never negatives."""
    others: Items = field(default_factory=_no_items)
    """Items that were shown or taken next, but not liked."""
    ratings: npt.NDArray[np.float32] = field(default_factory=_no_ratings)
    """What the user gave the positives, then the others; NaN where that is not known, empty if of none."""
    negatives: Items = field(default_factory=_no_items)
    """Items drawn from those the user did not take."""


class Shards(IterableDataset[Example]):
    """The examples of a folder, in an order of their own in each epoch, with negatives drawn anew."""

    def __init__(self, folder: Path, catalogue: Catalogue, *, negatives: int, seed: int) -> None:
        self._files = sorted(folder.glob("**/*.parquet"))
        self._catalogue, self._negatives, self._seed = catalogue, negatives, seed
        self._epoch = 0

    @cached_property
    def _rows(self) -> int:
        return sum(pq.read_metadata(file).num_rows for file in self._files)

    def __len__(self) -> int:
        return self._rows

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that is read next, from 0 on."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[Example]:
        rng = np.random.default_rng([self._seed, self._epoch])
        sampler = NegativeSampler(self._catalogue, rng)
        for file in rng.permutation(len(self._files)):
            rows = pq.ParquetFile(self._files[file]).read().to_pylist()
            for place in rng.permutation(len(rows)):
                yield sampler.complete(_example(rows[place]), self._negatives)


def write_examples(folder: Path, examples: Sequence[Example]) -> None:
    """Write ``examples`` as one shard of ``folder``: what spark.examples does with a table of users."""
    columns = {C.TEXT: [one.text for one in examples]} | {
        name: pa.array([getattr(one, name) for one in examples], pa.list_(pa.int32())) for name in ITEM_COLUMNS
    }
    columns[RATINGS] = pa.array([one.ratings for one in examples], pa.list_(pa.float32()))
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / "examples.parquet")


def cut_examples(users: Iterable[User], positives: int, history: int) -> list[Example]:
    """Cut each user's liked items into the last ``history`` ones and up to ``positives`` next, all along the way."""
    return [
        Example(user.text, user.liked[max(cut - history, 0) : cut], user.liked[cut : cut + positives], user.seen)
        for user in users
        for cut in range(1, len(user.liked), positives)
    ]


def _example(row: dict[str, Any]) -> Example:
    items = {name: np.asarray(row[name], np.int32) for name in ITEM_COLUMNS}
    return Example(row[C.TEXT], **items, ratings=np.asarray(row[RATINGS], np.float32))


class NegativeSampler:
    """Draws items a user has not taken: half among the co-visited of the history, half by popularity ** 0.75."""

    def __init__(self, catalogue: Catalogue, rng: np.random.Generator) -> None:
        weights = (np.asarray(catalogue.taken, np.float64) + 1) ** 0.75
        self._cumulative = np.cumsum(weights / weights.sum())
        self._catalogue = catalogue
        self._rng = rng

    def complete(self, example: Example, count: int) -> Example:
        """Return ``example`` with up to ``count`` negatives."""
        return replace(example, negatives=self.draw(example, count))

    def draw(self, example: Example, count: int) -> Items:
        """Return up to ``count`` distinct items, fewer only where the catalogue has no more."""
        near = self._catalogue.related[C.COVISITATION].sum(example.history[-NEAR:]).items
        near = near[~np.isin(near, example.seen)]
        hard = self._rng.permutation(near)[: count // 2]
        easy = np.searchsorted(self._cumulative, self._rng.random(4 * count)).clip(max=len(self._cumulative) - 1)
        pool = np.concatenate([hard, easy[~np.isin(easy, example.seen)]])
        _, first = np.unique(pool, return_index=True)
        drawn = pool[np.sort(first)][:count]
        if len(drawn) < count:  # a small catalogue, or few items that hold nearly all events
            rest = np.setdiff1d(np.arange(len(self._catalogue)), np.concatenate([drawn, example.seen]))
            drawn = np.concatenate([drawn, self._rng.permutation(rest)[: count - len(drawn)]])
        return drawn.astype(np.int32)
