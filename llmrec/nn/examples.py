"""Training examples: a user's history, some items liked next, and candidates the user did not take.

Spark writes them as Parquet, in shards (spark.examples); they are read shard by shard, so that they need not fit in
memory. What is drawn depends on the seed, the epoch and the place alone, not on who reads or from where.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
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
from llmrec.nn.tokens import Pieces

ITEM_COLUMNS = ("history", "positives", "seen", "others")
"""Columns of a shard that hold item indexes, as in `Example`; text and what the user wrote stand beside them."""
RATINGS, POSITIONS = "ratings", "positions"
WORDS = "words"
COPIES = "copies"
"""Column of shards that have it: for each copy of an example the word pieces of its profile and its history."""


def _no_items() -> Items:
    return np.zeros(0, np.int32)


def _no_ratings() -> npt.NDArray[np.float32]:
    return np.zeros(0, np.float32)


@dataclass(frozen=True)
class Example:
    """One user at one moment, and the list that is learned from."""

    text: str
    """What stands before the history: profile, attributes, scene."""
    history: Items
    """Liked items before that moment, the latest, oldest first."""
    positives: Items
    """Items liked next."""
    seen: Items
    """All items of the user, before and after, and what was shown: never negatives."""
    others: Items = field(default_factory=_no_items)
    """Items that were shown or taken next, but not liked."""
    ratings: npt.NDArray[np.float32] = field(default_factory=_no_ratings)
    """What the user gave the positives, then the others; NaN where that is not known, empty if of none."""
    positions: npt.NDArray[np.int32] = field(default_factory=_no_items)
    """Where the positives, then the others were shown, from 0 on; negative if that is not known, empty if of none."""
    negatives: Items = field(default_factory=_no_items)
    """Items drawn from those the user did not take."""
    words: Sequence[str] = field(default=(), repr=False)
    """What the user had written on each item of the history, "" for nothing; empty if on none."""
    profile: Pieces | None = None
    """Word pieces to read in place of those of the profile text."""
    draw: int = 0
    """Drawn for this reading: says which texts of the items are read with it."""
    original: "Example | None" = None
    """What this is a copy of; None if it is none."""


Draw = Callable[[Example, np.random.Generator], Items]
"""Draws negatives for an example."""


class Shards(IterableDataset[Example]):
    """The examples of a folder, in an order of their own in each epoch, with negatives drawn anew.

    ``draw`` gives what draws them in an epoch. Of an example with copies, it or one of them is read, all alike.
    """

    def __init__(self, folder: Path, draw: Callable[[int], Draw], *, seed: int) -> None:
        self._folder, self._files = folder, _files(folder)
        self._draw, self._seed = draw, seed
        self._epoch = 0

    @cached_property
    def _rows(self) -> int:
        return count_examples(self._folder)

    def __len__(self) -> int:
        return self._rows

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that is read next, from 0 on."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[Example]:
        rng = np.random.default_rng([self._seed, self._epoch])
        draw = self._draw(self._epoch)
        copies = np.random.default_rng([self._seed, self._epoch, 1])
        for file in rng.permutation(len(self._files)):
            rows = pq.ParquetFile(self._files[file]).read().to_pylist()
            for place in rng.permutation(len(rows)):
                example = _reading(rows[place], copies)
                yield replace(example, negatives=draw(example, rng))


def count_examples(folder: Path) -> int:
    """Return how many examples the shards of ``folder`` hold."""
    return sum(pq.read_metadata(file).num_rows for file in _files(folder))


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("**/*.parquet"))


def write_examples(folder: Path, examples: Sequence[Example]) -> None:
    """Write ``examples`` as one shard of ``folder``: what spark.examples does with a table of users."""
    columns = {C.TEXT: [one.text for one in examples]} | {
        name: pa.array([getattr(one, name) for one in examples], pa.list_(pa.int32())) for name in ITEM_COLUMNS
    }
    columns[WORDS] = pa.array([list(one.words) for one in examples], pa.list_(pa.string()))
    columns[RATINGS] = pa.array([one.ratings for one in examples], pa.list_(pa.float32()))
    columns[POSITIONS] = pa.array([one.positions for one in examples], pa.list_(pa.int32()))
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / "examples.parquet")


def cut_examples(users: Iterable[User], positives: int, history: int) -> list[Example]:
    """Cut each user's liked items into the last ``history`` ones and up to ``positives`` next, all along the way."""
    return [
        Example(user.text, past, user.liked[cut : cut + positives], user.seen, words=user.words_on(past))
        for user in users
        for cut in range(1, len(user.liked), positives)
        for past in [user.liked[max(cut - history, 0) : cut]]
    ]


def _reading(row: dict[str, Any], rng: np.random.Generator) -> Example:
    """Return the example of a row, or one of its copies, with what is drawn for its item texts."""
    history, positives, seen, others = (np.asarray(row[name], np.int32) for name in ITEM_COLUMNS)
    example = Example(
        row[C.TEXT], history, positives, seen, others, np.asarray(row[RATINGS], np.float32),
        positions=np.asarray(row[POSITIONS], np.int32), words=row[WORDS], draw=int(rng.integers(1 << 32)),
    )  # fmt: skip
    copies = row.get(COPIES) or []
    number = int(rng.integers(len(copies) + 1))
    if not number:
        return example
    copy = copies[number - 1]
    mixed, profile = np.asarray(copy["history"], np.int32), copy["profile"]
    own = dict(zip(row["history"], row[WORDS], strict=bool(row[WORDS])))
    return replace(
        example,
        history=mixed,
        seen=np.union1d(seen, mixed),
        words=[own.get(item, "") for item in copy["history"]] if own else [],
        profile=None if profile is None else np.asarray(profile, np.int32),
        original=example,
    )
