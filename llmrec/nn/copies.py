"""Copies of item texts, changed a little, that training reads in turn with the originals.

They are word pieces in arrays beside the examples (`llmrec.spark.copies` makes them); without them training reads the
originals alone, which is all that validation and scoring ever do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.nn.catalogue import Catalogue, Ints, Longs
from llmrec.nn.tokens import Pieces

_ARRAYS = "copies-starts.npy", "copies-tokens.npy"


@dataclass(frozen=True)
class Copies:
    """So many copies of the text of each of S items."""

    starts: Longs
    """(S * copies + 1,) where each copy's word pieces start; those of one item stand together."""
    tokens: Ints
    """Word pieces of all copies, end to end."""
    count: int
    """How many each item has."""

    def drawn(self, catalogue: Catalogue, draw: int) -> Callable[[int], Pieces]:
        """Return what gives each item's word pieces for one reading: the original, or a copy, all alike.

        The same ``draw`` gives the same, whoever asks for whichever items.
        """
        numbers = np.random.default_rng(draw).integers(self.count + 1, size=len(catalogue), dtype=np.uint8)

        def pieces(item: int) -> Pieces:
            if not numbers[item]:
                return catalogue.pieces(item)
            place = item * self.count + int(numbers[item]) - 1
            return self.tokens[self.starts[place] : self.starts[place + 1]]

        return pieces


def write_copies(folder: Path, copies: pa.ChunkedArray) -> None:
    """Write ``copies``, of each item by index a list of its copies' word pieces, to ``folder``, which must exist."""
    texts = pc.list_flatten(copies)
    starts = np.concatenate([[0], np.cumsum(pc.list_value_length(texts).to_numpy())]).astype(np.int64)
    for name, values in zip(_ARRAYS, (starts, pc.list_flatten(texts).to_numpy().astype(np.int32)), strict=True):
        np.save(folder / name, values)


def find_copies(folder: Path, items: int) -> Copies | None:
    """Map what `write_copies` wrote of so many items; None where there is nothing."""
    if not (folder / _ARRAYS[0]).exists():
        return None
    starts, tokens = (np.asarray(np.load(folder / name, mmap_mode="r")) for name in _ARRAYS)
    return Copies(starts, tokens, (len(starts) - 1) // items)
