"""All that a night knows about its items, in one folder of memory-mapped arrays that every worker of a host shares.

An item is known by its index, the place of its id in sorted order.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from llmrec import columns as C
from llmrec.errors import InputTableError
from llmrec.nn.lexical import Words, index_words
from llmrec.nn.neighbours import Neighbours, no_neighbours, spans

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

RELATIONS = (C.COVISITATION, C.USER_BASED, C.NEXT, C.EASE)
"""The kinds of neighbours that a catalogue holds."""
_ARRAYS = (
    "tokens",
    "token_starts",
    "vectors",
    "factors",
    "available",
    "taken",
    "taken_lately",
    "liked",
    "idle",
    "age",
)
_PARTS = ("starts", "items", "weights")
_WORDS = ("words", "holders")
"""How the arrays of `Words` are called: by item, by word piece."""
GROUP = "group-"
"""How the columns and arrays of groups are called, before their kind."""


@dataclass(frozen=True)
class Groups:
    """What S items belong to, as codes."""

    starts: Longs
    """(S + 1,) where each item's codes start."""
    codes: Ints

    def of(self, item: int) -> Ints:
        """Return the codes of one item."""
        return self.codes[self.starts[item] : self.starts[item + 1]]

    def shared(self, history: Ints, items: Ints, fade: float) -> Floats:
        """Return the largest share of ``history``, oldest first, that has a code in common with each of ``items`` (P,).

        Each step back counts ``fade`` as much.
        """
        place, codes = self._codes(history)
        weights = fade ** np.arange(len(history) - 1, -1, -1)
        found = np.zeros(len(items), np.float32)
        if len(codes):
            shares = np.bincount(codes, weights[place], self._size) / weights.sum()
            owner, asked = self._codes(items)
            begun = np.flatnonzero(np.diff(owner, prepend=-1))
            if len(begun):
                found[owner[begun]] = np.maximum.reduceat(shares[asked].astype(np.float32), begun)
        return found

    @cached_property
    def _size(self) -> int:
        """One more than the greatest code."""
        return int(self.codes.max(initial=-1)) + 1

    def _codes(self, items: Ints) -> tuple[Longs, Ints]:
        """Return all codes of ``items``, end to end, and the place of the item of each."""
        owner, at = spans(self.starts, items)
        return owner, self.codes[at]


@dataclass(frozen=True)
class Catalogue:
    """S items; D is the width of their vectors."""

    table: pa.Table
    """item_id, title, in index order."""
    tokens: Ints
    """Word pieces of all items, end to end."""
    token_starts: Longs
    """(S + 1,) where each item's word pieces start."""
    vectors: Floats
    """(S, D) of unit length."""
    factors: Floats
    """(S, RANK of `llmrec.nn.als`), 0 for items that nobody took; (S, 0) where there are none."""
    available: Bools
    """(S,) whether the item may be recommended on the run date."""
    taken: Longs
    """(S,) events on the item, all time."""
    taken_lately: Longs
    """(S,) events on the item in the popularity window."""
    liked: Longs
    """(S,) liking events on the item, all time."""
    idle: Floats
    """(S,) days since the last event on the item, NaN without one."""
    age: Floats
    """(S,) days since the item became available, NaN where that is not known."""
    related: Mapping[str, Neighbours]
    """By relation: what is taken by the same users (RELATIONS)."""
    words: Words
    """What the items' texts say."""
    segments: Mapping[str, int]
    """The place of each segment of users."""
    taken_by_segment: Neighbours
    """The items most taken lately by the users of each segment, with weights."""
    groups: Mapping[str, Groups]
    """By kind (category, all attributes, brand, ...): what each item belongs to."""
    popular: Ints
    """Available items, most taken lately first, then most taken, then by index."""
    popularity_place: Longs
    """(S,) the place of each item in that order, with the unavailable ones in it: no two have the same."""
    newest: Ints
    """Available items of known age, the youngest first, then by index."""

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.available)

    @property
    def has_vectors(self) -> bool:
        """Whether an encoder read the items; without one their vectors are 0."""
        return bool(self.vectors[:1].any())

    @cached_property
    def counted(self) -> Mapping[str, Floats]:
        """What is counted of each item alone, (S,), by feature of domain.features."""
        named = {
            "popularity": np.log1p(self.taken),
            "popularity_lately": np.log1p(self.taken_lately),
            "trend": np.log((self.taken_lately + 1) / (self.taken + 1)),
            "recency": np.log1p(self.idle),
            "age": np.log1p(self.age),
            "liked_share": (self.liked + 1) / (self.taken + 2),
        }
        return {name: np.asarray(values, np.float32) for name, values in named.items()}

    @cached_property
    def newness(self) -> Floats:
        """(S,) 1 for items that became available just now, less with each day, 0 where that is not known."""
        return np.nan_to_num(1 / (1 + self.age), nan=0.0).astype(np.float32)

    def pieces(self, item: int) -> Ints:
        """Return the word pieces of one item's text."""
        return self.tokens[self.token_starts[item] : self.token_starts[item + 1]]

    def ids(self, items: Ints) -> list[str]:
        """Return the ids of ``items``."""
        return self.table["item_id"].take(pa.array(items)).to_pylist()  # type: ignore[no-any-return]

    def titles(self, items: Ints) -> list[str]:
        """Return the titles of ``items``."""
        return self.table["title"].take(pa.array(items)).to_pylist()  # type: ignore[no-any-return]

    @staticmethod
    def load(folder: Path) -> "Catalogue":
        """Map the arrays of ``folder``, copy on write: workers share the pages, and torch takes them as they are."""
        with pa.memory_map(str(folder / "items.arrow")) as source:
            table = pa.ipc.open_file(source).read_all()
        arrays = {name: _load(folder, name) for name in _ARRAYS}
        related = {
            relation: Neighbours(*(_load(folder, f"{relation}-{part}") for part in _PARTS)) for relation in RELATIONS
        }
        kinds = sorted(path.name[len(GROUP) : -len("-starts.npy")] for path in folder.glob(f"{GROUP}*-starts.npy"))
        groups = {
            kind: Groups(_load(folder, f"{GROUP}{kind}-starts"), _load(folder, f"{GROUP}{kind}-codes"))
            for kind in kinds
        }
        by_item, by_piece, taken_by_segment = (
            Neighbours(*(_load(folder, f"{name}-{part}") for part in _PARTS)) for name in (*_WORDS, "segment")
        )
        order = _by_popularity(arrays)
        return Catalogue(
            table=table, popular=order[arrays["available"][order]].astype(np.int32),
            popularity_place=np.argsort(order), newest=_newest(arrays), related=related,
            words=Words(by_item, by_piece), groups=groups,
            segments={str(name): place for place, name in enumerate(_load(folder, "segments"))},
            taken_by_segment=taken_by_segment, **arrays,
        )  # fmt: skip


def _load(folder: Path, name: str) -> npt.NDArray[Any]:
    # A plain array over the mapped pages: slicing a memmap takes four times as long.
    return np.asarray(np.load(folder / f"{name}.npy", mmap_mode="c"))


def _by_popularity(arrays: dict[str, npt.NDArray[np.generic]]) -> Longs:
    return np.lexsort((-arrays["taken"].astype(np.int64), -arrays["taken_lately"].astype(np.int64)))


def _newest(arrays: dict[str, npt.NDArray[Any]]) -> Ints:
    order = np.argsort(arrays["age"], kind="stable")
    known = np.asarray(arrays["available"] & np.isfinite(arrays["age"]))
    return np.asarray(order[known[order]], np.int32)


def write_catalogue(
    folder: Path,
    items: pa.Table,
    related: Mapping[str, pa.Table],
    segments: pa.Table | None = None,
    factors: Floats | None = None,
) -> Catalogue:
    """Write the arrays of a night and map them.

    Args:
        folder: created; must not exist.
        items: item_id, title, tokens, vector, available, taken, taken_lately, liked, idle, age; one row per item,
            by index.
            Columns named group-KIND hold the groups of each item, lists of text.
        related: for each of RELATIONS item, neighbour, weight; in any order, items by index.
        segments: segment, item, weight: what the users of each segment took lately; None: there are no segments.
        factors: see `Catalogue.factors`.

    Raises InputTableError naming an item whose vector holds NaN or infinity.
    """
    read = _read_arrays(items)
    folder.mkdir(parents=True)
    named = items.select(["item_id", "title"]).combine_chunks()
    with pa.OSFile(str(folder / "items.arrow"), "wb") as sink, pa.ipc.new_file(sink, named.schema) as writer:
        writer.write_table(named)
    size = len(items)
    arrays: dict[str, npt.NDArray[np.generic]] = {
        **read,
        "factors": np.zeros((size, 0), np.float32) if factors is None else factors,
        "available": items["available"].to_numpy(zero_copy_only=False).astype(np.bool_),
    }
    for name in ("taken", "taken_lately", "liked"):
        arrays[name] = items[name].to_numpy(zero_copy_only=False).astype(np.int64)
    for name in ("idle", "age"):
        arrays[name] = items[name].to_numpy(zero_copy_only=False).astype(np.float32)
    for relation in RELATIONS:
        arrays |= _rows(relation, related[relation], size)
    arrays |= _segment_arrays(segments)
    for kind in (name for name in items.column_names if name.startswith(GROUP)):
        names = items[kind].combine_chunks()
        arrays[f"{kind}-starts"] = _starts(pc.list_value_length(names).to_numpy(zero_copy_only=False))
        arrays[f"{kind}-codes"] = names.flatten().dictionary_encode().indices.to_numpy().astype(np.int32)
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    return Catalogue.load(folder)


def write_reread(folder: Path, counted: Path, items: pa.Table) -> Catalogue:
    """Write the catalogue in ``counted`` again to ``folder``, as another encoder reads its items; and map it.

    Args:
        folder: created; must not exist.
        counted: folder of a catalogue; what was counted for it is not copied but linked.
        items: item_id, tokens, vector; one row per item, by index.

    Raises InputTableError as `write_catalogue`.
    """
    read = _read_arrays(items)
    shutil.copytree(counted, folder, copy_function=os.link)
    for name, values in read.items():
        (folder / f"{name}.npy").unlink()  # not written into: ``counted`` has the same file
        np.save(folder / f"{name}.npy", values)
    return Catalogue.load(folder)


def _read_arrays(items: pa.Table) -> dict[str, npt.NDArray[np.generic]]:
    """Return what an encoder and its tokenizer make of items; raises InputTableError for a vector of no numbers."""
    vectors = items["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    vectors = vectors.reshape(len(items), -1)
    _require_finite(items, vectors)
    tokens = items["tokens"].combine_chunks()
    pieces = tokens.flatten().to_numpy(zero_copy_only=False).astype(np.int32)
    starts = _starts(pc.list_value_length(tokens).to_numpy(zero_copy_only=False))
    words = index_words(pieces, starts)
    return {
        "tokens": pieces,
        "token_starts": starts,
        "vectors": vectors,
        **{
            f"{name}-{part}": getattr(index, part)
            for name, index in zip(_WORDS, (words.by_item, words.by_piece), strict=True)
            for part in _PARTS
        },
    }


def _rows(name: str, weights: pa.Table, size: int) -> dict[str, npt.NDArray[np.generic]]:
    """Return the arrays of `Neighbours` of ``size`` items: item, neighbour, weight."""
    rows = weights.sort_by([("item", "ascending"), ("weight", "descending"), ("neighbour", "ascending")])
    return {
        f"{name}-starts": _starts(np.bincount(rows["item"].to_numpy(), minlength=size)),
        f"{name}-items": rows["neighbour"].to_numpy().astype(np.int32),
        f"{name}-weights": rows["weight"].to_numpy().astype(np.float32),
    }


def _segment_arrays(segments: pa.Table | None) -> dict[str, npt.NDArray[np.generic]]:
    if segments is None or not len(segments):
        return {"segments": np.zeros(0, np.str_), **_rows("segment", no_neighbours(), 0)}
    names, place = np.unique(np.array(segments["segment"].to_pylist(), np.str_), return_inverse=True)
    weights = pa.table({"item": place, "neighbour": segments["item"], "weight": segments["weight"]})
    return {"segments": names, **_rows("segment", weights, len(names))}


def _require_finite(items: pa.Table, vectors: Floats) -> None:
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(broken):
        raise InputTableError(
            f"item_vectors: the vectors of {len(broken)} items, the first is {items['item_id'][broken[0]].as_py()!r}, "
            "hold NaN or infinity; expected numbers: remove these rows and run again, or mend the encoder"
        )


def _starts(lengths: npt.NDArray[np.generic]) -> Longs:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
