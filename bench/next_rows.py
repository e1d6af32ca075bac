"""The next-item benchmark's files as places in the catalogue, and where a system puts the target of a row."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from llmrec.domain.metrics import paired_bootstrap

KS = (1, 3, 5, 10, 20)
_RESAMPLES = 1000
Integers = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Events:
    """What is known: the items each user took, oldest first."""

    users: Sequence[str]
    taken: Sequence[Integers]
    """Places in the catalogue, of each user."""
    size: int
    """Items in the catalogue."""

    @cached_property
    def counts(self) -> Integers:
        """How often each item was taken, (I,)."""
        return np.bincount(np.concatenate(self.taken), minlength=self.size)

    @cached_property
    def matrix(self) -> sparse.csr_matrix:
        """How often each user took each item, (U, I)."""
        return _weighted(self.taken, self.size, 1.0)

    @cached_property
    def places(self) -> Mapping[str, int]:
        """The place of each user."""
        return {name: place for place, name in enumerate(self.users)}

    @cached_property
    def by_popularity(self) -> Integers:
        """The place of each item among all, the most popular first; equals by their place in the catalogue, (I,)."""
        order = np.empty(self.size, np.int64)
        order[np.argsort(-self.counts, kind="stable")] = np.arange(self.size)
        return order


@dataclass(frozen=True)
class Rows:
    """Users with a history, oldest first, and the item each takes next."""

    ids: Sequence[str]
    users: Sequence[str]
    histories: Sequence[Integers]
    targets: Integers
    size: int

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, start: int, stop: int) -> "Rows":
        """Return the rows from ``start`` to before ``stop``."""
        cut = slice(start, stop)
        return Rows(self.ids[cut], self.users[cut], self.histories[cut], self.targets[cut], self.size)

    def weights(self, decay: float) -> sparse.csr_matrix:
        """Return what each item of a history counts: 1 for the last one, ``decay`` for the one before, (R, I)."""
        return _weighted(self.histories, self.size, decay)


@dataclass(frozen=True)
class Benchmark:
    """One folder of files."""

    items: pd.DataFrame
    learned: Events
    """Of the training period."""
    known: Events
    """Of both periods: all before the test rows."""
    valid: Rows
    test: Rows

    @classmethod
    def read(cls, folder: Path) -> "Benchmark":
        """Read ``folder``; rows whose target is no item are left out, and counted on the screen."""
        items = pd.read_parquet(folder / "items.parquet")
        places = {name: place for place, name in enumerate(items["item_id"])}
        events = read_events(folder)
        learned = events[events["period"] == "train"]
        valid, test = (_read_rows(folder, part, places) for part in ("valid", "test"))
        return cls(items, _group(learned, places), _group(events, places), valid, test)


def read_events(folder: Path) -> pd.DataFrame:
    """Return the events of ``folder`` with each in the period it can be known in, in the order of users and positions.

    A user's first row of valid or test has all that came before that period as its history. An event after it is of
    that period, whatever the file says (where an item is taken twice, files made from histories can take the first time
    for an earlier one): such an event holds the answer of a row. It becomes one of valid, or is left out.
    """
    events = pd.read_parquet(folder / "events.parquet").sort_values(["user_id", "position"], ignore_index=True)
    for part in ("valid", "test"):
        late = pd.Series(False, events.index)
        rows = pd.read_parquet(folder / f"{part}.parquet").groupby("user_id")["history"].agg(list).to_dict()
        for user, own in events.groupby("user_id"):
            ends = (_end(list(history), own["item_id"].tolist()) for history in rows.get(user, ()))
            late[own.index[min(ends, default=len(own)) :]] = True
        moved = late & (events["period"] != part)
        if moved.any():
            print(f"events: {moved.sum()} of an earlier period by the file follow their user's first row of {part}")
        events.loc[late, "period"] = part
    return events[events["period"] != "test"]


def ranks(scores: Scores, targets: Integers, by_popularity: Integers) -> Integers:
    """Return how many items come before each row's target; equal scores are ordered by popularity.

    Args:
        scores: higher is better, -inf where a system knows nothing of an item, (R, I).
        targets: places in the catalogue, (R,).
        by_popularity: the order of equals, (I,).
    """
    wanted = np.take_along_axis(scores, targets[:, None], axis=1)
    equal_before = (scores == wanted) & (by_popularity < by_popularity[targets][:, None])
    places: Integers = ((scores > wanted) | equal_before).sum(axis=1)
    return places


def without_seen(scores: Scores, rows: Rows) -> Scores:
    """Return the scores with the items of each row's history at the end."""
    lowered = scores.copy()
    for row, history in enumerate(rows.histories):
        lowered[row, history] = -np.inf
    return lowered


def figures(places: Integers) -> dict[str, float]:
    """Return HR@k and NDCG@k, means over rows of one target each; ``places`` as `ranks` gives them, (R,)."""
    rates = {f"HR@{k}": float((places < k).mean()) for k in KS}
    return rates | {f"NDCG@{k}": float(gains(places, k).mean()) for k in KS}


def gains(places: Integers, k: int) -> npt.NDArray[np.float64]:
    """Return NDCG@k of each row, (R,), of one target each; ``places`` as `ranks` gives them, (R,)."""
    return np.where(places < k, 1 / np.log2(places + 2), 0.0)


def read_gains(files: Sequence[Path], ids: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return llmrec's NDCG@10 of the rows ``ids``, (R,): the mean of what bench.next_item wrote to ``files``.

    Raises ValueError if a file is of other rows.
    """
    found = [json.loads(path.read_text(encoding="utf-8")).get("ndcg@10_by_row", {}) for path in files]
    for path, of_seed in zip(files, found, strict=True):
        if missing := set(ids) - set(of_seed):
            raise ValueError(f"{path}: has no NDCG@10 of {len(missing)} of {len(ids)} test rows, expected all")
    mean: npt.NDArray[np.float64] = np.mean([[of_seed[row] for row in ids] for of_seed in found], axis=0)
    return mean


def differences(ours: npt.NDArray[np.float64], places: Mapping[str, Integers]) -> list[dict[str, object]]:
    """Return how much higher NDCG@10 of llmrec is than that of each system, the 95 % interval, and p.

    Args:
        ours: as `read_gains` gives it, (R,).
        places: of each system, as `ranks` gives them, (R,).
    """
    names = ("difference", "low", "high", "p")
    return [
        {"system": system, **dict(zip(names, paired_bootstrap(ours, gains(own, 10), _RESAMPLES, seed=1), strict=True))}
        for system, own in places.items()
    ]


def _end(history: list[str], items: list[str]) -> int:
    """Return the place after the first run of ``items`` that is ``history``; all of them if there is none."""
    starts = (at for at in range(len(items) - len(history) + 1) if items[at : at + len(history)] == history)
    return next(starts, len(items)) + len(history)


def _weighted(lists: Sequence[Integers], size: int, decay: float) -> sparse.csr_matrix:
    owners = np.repeat(np.arange(len(lists)), [len(one) for one in lists])
    ages = np.concatenate([np.arange(len(one))[::-1] for one in lists])
    values = np.power(decay, ages, dtype=np.float32)
    return sparse.csr_matrix((values, (owners, np.concatenate(lists))), shape=(len(lists), size))


def _group(events: pd.DataFrame, places: Mapping[str, int]) -> Events:
    known = events[events["item_id"].isin(places.keys())]
    taken = {str(user): _places(one, places) for user, one in known.groupby("user_id", sort=False)["item_id"]}
    return Events(list(taken), list(taken.values()), len(places))


def _read_rows(folder: Path, part: str, places: Mapping[str, int]) -> Rows:
    raw = pd.read_parquet(folder / f"{part}.parquet")
    rows = raw[raw["target"].isin(places.keys())]
    if len(rows) < len(raw):
        print(f"{part}: {len(raw) - len(rows)} of {len(raw)} rows have a target that is no item; left out")
    histories = [_places(one, places) for one in rows["history"]]
    users = rows["user_id"].tolist()
    return Rows(rows["row_id"].astype(str).tolist(), users, histories, _places(rows["target"], places), len(places))


def _places(names: Iterable[str], places: Mapping[str, int]) -> Integers:
    return np.array([places[name] for name in names if name in places], np.int64)
