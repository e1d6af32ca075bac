"""What the encoder made of texts, users' or items', kept for pairs that only the next night asks for.

One file: the states of one text after the other, then where each one's begin and end, with a checksum of each, then
the length and checksum of that. It holds those that were there on the latest night, as far as there is room.
"""

import hashlib
import io
import logging
import os
import uuid
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from llmrec.nn.kept import FINGERPRINT, Fingerprints, find

Index = npt.NDArray[np.void]
_MADE_BY, _PLACES = "made_by", "places"
_PLACE = np.dtype([("text", FINGERPRINT), ("start", np.int64), ("end", np.int64), ("checksum", "V8")])
_TAIL = np.dtype([("index_bytes", np.int64), ("checksum", "V8")])
_LOG = logging.getLogger(__name__)


class KeptStates:
    """States of texts by their fingerprint: those of the night before, and a new file for this one's."""

    def __init__(self, path: Path, made_by: str, at_most: int) -> None:
        """Make ready, knowing nothing yet.

        Args:
            path: of the file that is read, and in the end replaced.
            made_by: what states depend on beside model and texts.
            at_most: bytes that this night's may take.
        """
        self._path, self._made_by, self._at_most = path, made_by, at_most
        self._earlier: BinaryIO | None = None
        self._known: Index = np.zeros(0, _PLACE)
        """Of the night before, ascending by text."""
        self._new: BinaryIO | None = None
        self._new_path = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        self._written = dict[bytes, tuple[int, int, bytes]]()
        """By text, in the order of the file."""
        self._end = 0
        self._failed: OSError | None = None

    def load(self) -> None:
        """Know what the night before left, if it was made by the same.

        Raises OSError if it cannot be read, and ValueError if it is not as it was written.
        """
        try:
            self._earlier = self._path.open("rb")
        except FileNotFoundError:
            return
        self._known = self._read_index(self._earlier)

    @property
    def has_new(self) -> bool:
        """Whether there is anything for `save` to add, or to tell."""
        return bool(self._written) or self._failed is not None

    def of(self, text: bytes) -> bytes | None:
        """Return the states of ``text`` as they were kept; None if there are none, or not as they were written."""
        [place] = find(self._known["text"], np.array([text], FINGERPRINT))
        if place < 0:
            return None
        _, start, end, checksum = self._known[place]
        states = self._read(int(start), int(end))
        if _checksum(states) != checksum.tobytes():
            _LOG.warning("%s: a text is read anew, as the checksum of what was kept is another", self._path)
            return None
        return states

    def keep(self, text: bytes, states: bytes) -> None:
        """Take down what was made of ``text`` tonight, if there is room; what goes wrong is told by `save`."""
        if self._failed is None:
            try:
                self._append(text, states, _checksum(states))
            except OSError as error:  # the night goes on: this is for later ones
                self._failed = error

    def save(self, there: Fingerprints, at_most: int) -> None:
        """Replace the file by one of texts that are ``there``, those read tonight first, with at most so many bytes of
        states.

        Raises OSError if it cannot be written.
        """
        try:
            if self._failed:
                raise self._failed
            stay = self._known[np.isin(self._known["text"], there)]
            for text, start, end, checksum in stay[np.argsort(stay["start"])]:
                self._append(bytes(text), self._read(int(start), int(end)), checksum.tobytes())
            self._finish([(text, *place) for text, place in self._written.items() if place[1] <= at_most])
        finally:
            self._new_path.unlink(missing_ok=True)

    def _append(self, text: bytes, states: bytes, checksum: bytes) -> None:
        if text in self._written or self._end + len(states) > self._at_most:
            return
        if self._new is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._new = self._new_path.open("wb")
        self._new.write(states)
        self._written[text] = (self._end, self._end + len(states), checksum)
        self._end += len(states)

    def _finish(self, places: list[tuple[bytes, int, int, bytes]]) -> None:
        if not places or self._new is None:
            self._path.unlink(missing_ok=True)
            return
        by_text = np.array(places, _PLACE)
        index = io.BytesIO()
        arrays: dict[str, Any] = {_MADE_BY: np.array(self._made_by), _PLACES: by_text[np.argsort(by_text["text"])]}
        np.savez(index, **arrays)
        content = index.getvalue()
        with self._new as file:
            file.seek(places[-1][2])
            file.truncate()
            file.write(content)
            file.write(np.array([(len(content), _checksum(content))], _TAIL).tobytes())
        os.replace(self._new_path, self._path)

    def _read(self, start: int, end: int) -> bytes:
        assert self._earlier is not None  # where something is known
        return os.pread(self._earlier.fileno(), end - start, start)

    def _read_index(self, file: BinaryIO) -> Index:
        size = file.seek(0, os.SEEK_END) - _TAIL.itemsize
        if size >= 0:
            [(length, checksum)] = np.frombuffer(self._read(size, size + _TAIL.itemsize), _TAIL)
            content = self._read(size - int(length), size) if 0 <= length <= size else b""
            if _checksum(content) == checksum.tobytes():
                with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                    known: Index = arrays[_PLACES]
                    ours = str(arrays[_MADE_BY]) == self._made_by and known.dtype == _PLACE
                    return known if ours else np.zeros(0, _PLACE)
        raise ValueError(f"{self._path}: is not what an earlier night wrote: the checksum is another")


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=8).digest()
