"""What is kept of the encoder's work for later nights: vectors of users and outputs of pairs, by what was read.

A text is known by a fingerprint of its word pieces, so nothing has to be told when a profile, a history or an item
changes: the new text is another one, and the old one is asked for no more. Look-ups are searches in sorted arrays.
"""

import hashlib
import io
import os
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from llmrec.nn.catalogue import Floats
from llmrec.nn.tokens import Pieces

# Shape letters: U users, I items, P pairs, D width of vectors, O outputs of a pair.

Fingerprints = npt.NDArray[np.bytes_]
"""16 bytes each."""
Places = npt.NDArray[np.int64]
Days = npt.NDArray[np.int32]
"""As date.toordinal counts them."""
FINGERPRINT = np.dtype("S16")
_MADE_BY = "made_by"
_CHECKSUM_BYTES = 32


def fingerprints(texts: Iterable[Pieces]) -> Fingerprints:
    """Return a fingerprint of each text's word pieces."""
    made = [hashlib.blake2b(text.astype(np.int32).tobytes(), digest_size=16).digest() for text in texts]
    return np.array(made, FINGERPRINT)


@dataclass(frozen=True)
class Kept:
    """Vectors of users and outputs of pairs; those of the same texts stand there once."""

    users: Fingerprints
    """(U,) ascending."""
    vectors: Floats
    """(U, D)."""
    user_days: Days
    """(U,) when a user with this text was there last."""
    items: Fingerprints
    """(I,) ascending."""
    user: npt.NDArray[np.int32]
    """(P,) place among users; pairs ascend by user, then by item."""
    item: npt.NDArray[np.int32]
    """(P,) place among items."""
    outputs: Floats
    """(P, O)."""
    pair_days: Days
    """(P,) when the pair was asked for last."""

    @staticmethod
    def nothing(width: int, outputs: int) -> "Kept":
        """Return what is kept before the first night, for vectors of ``width`` and so many ``outputs`` of a pair."""
        none, of_ints = np.zeros(0, FINGERPRINT), np.zeros(0, np.int32)
        vectors, said = np.zeros((0, width), np.float32), np.zeros((0, outputs), np.float32)
        return Kept(none, vectors, of_ints, none, of_ints, of_ints, said, of_ints)

    @property
    def nbytes(self) -> int:
        """What the arrays take."""
        return sum(getattr(self, name).nbytes for name in _ARRAYS)

    def find_users(self, users: Fingerprints) -> Places:
        """Return the place of each of ``users``, -1 where it is not kept."""
        return find(self.users, users)

    def find_items(self, items: Fingerprints) -> Places:
        """Return the place of each of ``items``, -1 where no pair of it is kept."""
        return find(self.items, items)

    def find_pairs(self, user: Places, item: Places) -> Places:
        """Return the place of each pair, (Q,), of users and items by their places; -1 where it is not kept."""
        known = (user >= 0) & (item >= 0)
        found = np.full(len(user), -1, np.int64)
        found[known] = find(self._keys, self._key(user[known], item[known]))
        return found

    def updated(self, tonight: "Kept", *, earliest: int, at_most: int) -> "Kept":
        """Return what is kept of this and of ``tonight``, which counts where both know something.

        Args:
            tonight: what a later night read or asked for.
            earliest: what was asked for last before this day goes.
            at_most: bytes; users that were not there for longest go first, with their pairs.
        """
        whole = gather(
            users=np.concatenate([self.users, tonight.users]),
            vectors=np.concatenate([self.vectors, tonight.vectors]),
            user_days=np.concatenate([self.user_days, tonight.user_days]),
            items=np.concatenate([self.items, tonight.items]),
            user=np.concatenate([self.user, tonight.user + len(self.users)]),
            item=np.concatenate([self.item, tonight.item + len(self.items)]),
            outputs=np.concatenate([self.outputs, tonight.outputs]),
            pair_days=np.concatenate([self.pair_days, tonight.pair_days]),
        )
        asked = whole._select(whole.user_days >= earliest, whole.pair_days >= earliest)
        return asked._select(asked._fitting(at_most), np.ones(len(asked.user), np.bool_))

    def save(self, path: Path, made_by: str) -> None:
        """Write this to ``path``, whole or not at all; ``made_by`` says what the numbers depend on beside the texts."""
        content = io.BytesIO()
        arrays: dict[str, Any] = {_MADE_BY: np.array(made_by), **{name: getattr(self, name) for name in _ARRAYS}}
        np.savez(content, **arrays)
        unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            with unfinished.open("wb") as file:
                file.write(_checksum(content.getbuffer()))
                file.write(content.getbuffer())
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)

    @staticmethod
    def load(path: Path, made_by: str) -> "Kept | None":
        """Read what `save` wrote; None where there is nothing, or what was made by something else.

        Raises OSError if it cannot be read, and ValueError if not all of it is as it was written.
        """
        try:
            whole = memoryview(path.read_bytes())
        except FileNotFoundError:
            return None
        content = whole[_CHECKSUM_BYTES:]
        if _checksum(content) != whole[:_CHECKSUM_BYTES]:
            raise ValueError(f"{path}: is not what an earlier night wrote: the checksum is another")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            if str(arrays[_MADE_BY]) != made_by:
                return None
            return Kept(**{name: arrays[name] for name in _ARRAYS})

    @cached_property
    def _keys(self) -> Places:
        return self._key(self.user, self.item)

    def _key(self, user: npt.NDArray[np.integer], item: npt.NDArray[np.integer]) -> Places:
        return user.astype(np.int64) * max(1, len(self.items)) + item

    def _select(self, users: npt.NDArray[np.bool_], pairs: npt.NDArray[np.bool_]) -> "Kept":
        """Return what is left of the chosen ``users`` (U,) and ``pairs`` (P,)."""
        pairs = pairs & users[self.user]
        item = self.item[pairs]
        used = np.unique(item)
        return Kept(
            users=self.users[users],
            vectors=self.vectors[users],
            user_days=self.user_days[users],
            items=self.items[used],
            user=(np.cumsum(users) - 1)[self.user[pairs]].astype(np.int32),
            item=np.searchsorted(used, item).astype(np.int32),
            outputs=self.outputs[pairs],
            pair_days=self.pair_days[pairs],
        )

    def _fitting(self, at_most: int) -> npt.NDArray[np.bool_]:
        """Return which users, (U,), fit into ``at_most`` bytes with their pairs."""
        of_pair = sum(array.itemsize for array in (self.user, self.item, self.pair_days)) + self.outputs[:1].nbytes
        of_user = self.users.itemsize + self.user_days.itemsize + self.vectors.itemsize * self.vectors.shape[1]
        sizes = of_user + of_pair * np.bincount(self.user, minlength=len(self.users))
        latest_first = np.argsort(-self.user_days, kind="stable")
        fits = np.zeros(len(self.users), np.bool_)
        fits[latest_first] = np.cumsum(sizes[latest_first]) + self.items.nbytes <= at_most
        return fits


_ARRAYS = tuple(field.name for field in fields(Kept))


def gather(
    *,
    users: Fingerprints,
    vectors: Floats,
    user_days: Days,
    items: Fingerprints,
    user: npt.NDArray[np.integer],
    item: npt.NDArray[np.integer],
    outputs: Floats,
    pair_days: Days,
) -> Kept:
    """Put what is known in order; the arrays are those of `Kept`, and of what is there twice the last one counts."""
    distinct_users, last_user, user_now = _distinct(users)
    distinct_items, _, item_now = _distinct(items)
    user, item = user_now[user], item_now[item]
    _, last, _ = _distinct(user * max(1, len(distinct_items)) + item)
    return Kept(
        users=distinct_users,
        vectors=vectors[last_user],
        user_days=user_days[last_user],
        items=distinct_items,
        user=user[last].astype(np.int32),
        item=item[last].astype(np.int32),
        outputs=outputs[last],
        pair_days=pair_days[last],
    )


def _distinct(values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], Places, Places]:
    """Return distinct values, ascending, the last place of each, and for each of ``values`` its place among them."""
    distinct, from_end, place = np.unique(values[::-1], return_index=True, return_inverse=True)
    return distinct, len(values) - 1 - from_end, place.reshape(-1)[::-1]


def find(among: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> Places:
    """Return the place of each of ``wanted`` in the ascending ``among``, -1 where it is not there."""
    if not len(among):
        return np.full(len(wanted), -1, np.int64)
    places = np.minimum(np.searchsorted(among, wanted), len(among) - 1)
    return np.where(among[places] == wanted, places, -1)


def _checksum(content: memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=_CHECKSUM_BYTES).digest()
