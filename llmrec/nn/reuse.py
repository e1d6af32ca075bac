"""Reading only what no earlier night has read: users whose texts are new, pairs that were not scored yet.

What comes out is what reading everything would give. On a processor that is so to the last bit where at least four
pairs are scored at once, since fewer go through other kernels (nn.row_counts); so known ones make up for it.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llmrec.domain.users import Items
from llmrec.nn.catalogue import Floats
from llmrec.nn.engine import Engine, Prefixes
from llmrec.nn.kept import FINGERPRINT, Fingerprints, Kept, Places, fingerprints, gather
from llmrec.nn.kept_states import KeptStates
from llmrec.nn.ragged import Ragged
from llmrec.nn.row_counts import LEAST
from llmrec.nn.scorer import PairScorer
from llmrec.nn.tokens import Pieces

# Shape letters: B users, P pairs, S items, D width of vectors, O outputs of a pair.

Score = Callable[[Any, Places, Items], Floats]
"""Scores pairs of users read and items, (P, O); the users ascend."""
More = Callable[[int], Items]
"""Of a user of the batch, the items that later nights are likely to ask for, with those of this one."""


@dataclass
class _Notes:
    """What a night read or asked for, batch by batch; users stand one after the other."""

    users: list[Fingerprints] = field(default_factory=lambda: [np.zeros(0, FINGERPRINT)])
    vectors: list[Floats] = field(default_factory=list)
    user: list[Places] = field(default_factory=lambda: [np.zeros(0, np.int64)])
    item: list[Items] = field(default_factory=lambda: [np.zeros(0, np.int32)])
    outputs: list[Floats] = field(default_factory=list)
    count: int = 0


class Reuse:
    """What one task knows of earlier nights, and what it leaves for later ones."""

    def __init__(
        self,
        kept: Kept,
        items: Fingerprints,
        *,
        leaves: bool = True,
        states: KeptStates | None = None,
        of_items: KeptStates | None = None,
    ) -> None:
        """Make ready.

        Args:
            kept: of earlier nights.
            items: fingerprints of the catalogue's items, (S,).
            leaves: whether what this night reads is for later ones too.
            states: of users of the night before, who need not be read again for a new pair; None keeps none.
            of_items: likewise of items; None keeps none.
        """
        self.kept, self.states, self.of_items = kept, states, of_items
        self.known_items = kept.find_items(items)
        """(S,) places among the kept items."""
        self.leaves = leaves
        self.counts = Counter({"users encoded": 0, "pairs scored": 0, "pairs reused": 0})
        self._items = items
        self._notes = _Notes(vectors=[kept.vectors[:0]], outputs=[kept.outputs[:0]])

    @staticmethod
    def nothing(width: int, outputs: int, items: int) -> "Reuse":
        """Return what knows and leaves nothing of a catalogue of ``items``; see `Kept.nothing`."""
        return Reuse(Kept.nothing(width, outputs), np.zeros(items, FINGERPRINT), leaves=False)

    def batches(self, sequences: list[Pieces], scorer: PairScorer, at_once: int) -> Iterator[tuple[slice, "Batch"]]:
        """Part users by what is read of them, and let ``scorer`` read those that are not known.

        There are as many in a batch as it takes for ``at_once`` to be read, so that passes are full.
        """
        new = np.cumsum(self.kept.find_users(fingerprints(sequences)) < 0)
        edges = np.flatnonzero(np.diff((new - 1).clip(0) // at_once)) + 1
        for first, last in zip([0, *edges.tolist()], [*edges.tolist(), len(sequences)], strict=True):
            yield slice(first, last), Batch(self, sequences[first:last], scorer, at_once)

    def note(self, users: Fingerprints, vectors: Floats, user: Places, item: Items, outputs: Floats) -> None:
        """Take down a batch: its users (B,) and (B, D), and pairs (P,), (P,) and (P, O)."""
        notes = self._notes
        notes.users.append(users)
        notes.vectors.append(vectors)
        notes.user.append(user + notes.count)
        notes.item.append(item)
        notes.outputs.append(outputs)
        notes.count += len(users)

    @property
    def there(self) -> Fingerprints:
        """Of the users of this night's batches."""
        return np.concatenate(self._notes.users)

    def updated(self, day: int, *, earliest: int, at_most: int) -> Kept:
        """Return what is to be kept after the night of ``day``; see `Kept.updated`."""
        notes, item = self._notes, np.concatenate(self._notes.item)
        used, place = np.unique(item, return_inverse=True)
        tonight = gather(
            users=self.there, vectors=np.concatenate(notes.vectors),
            user_days=np.full(notes.count, day, np.int32), items=self._items[used], user=np.concatenate(notes.user),
            item=place, outputs=np.concatenate(notes.outputs), pair_days=np.full(len(item), day, np.int32),
        )  # fmt: skip
        return self.kept.updated(tonight, earliest=earliest, at_most=at_most)


class Batch:
    """Some users, of whom those are read that have to be."""

    def __init__(self, reuse: Reuse, sequences: list[Pieces], scorer: PairScorer, at_once: int) -> None:
        self._reuse, self._sequences, self._scorer, self._at_once = reuse, sequences, scorer, at_once
        device = scorer.device
        self._texts = fingerprints(sequences)
        self._known = reuse.kept.find_users(self._texts)
        self._groups: list[tuple[Places, Any]] = []
        self._recalled = np.zeros(len(sequences), np.bool_)
        known, new = np.flatnonzero(self._known >= 0), np.flatnonzero(self._known < 0)
        vectors = torch.from_numpy(reuse.kept.vectors[self._known[known]]).to(device)
        if len(new):
            read = self._read(new)
            self._groups.append((new, read))
            fresh = read.vectors.float()
            both = torch.empty(len(sequences), fresh.shape[1], device=device)
            vectors = both.index_copy_(0, _to(new, device), fresh).index_copy_(0, _to(known, device), vectors)
        self.vectors = vectors
        """(B, D), float32."""

    def outputs(self, user: Places, item: Items, more: More, score: Score) -> Floats:
        """Return what is said of each pair, (P, O).

        Args:
            user: (P,) place in the batch, ascending.
            item: (P,) index into the catalogue.
            more: what is scored beside, of a user who has to be read.
            score: scores what is not known.
        """
        reuse = self._reuse
        found = reuse.kept.find_pairs(self._known[user], reuse.known_items[item])
        unknown = found < 0
        said = np.empty((len(user), reuse.kept.outputs.shape[1]), np.float32)
        said[~unknown] = reuse.kept.outputs[found[~unknown]]
        beside = [(np.zeros(0, np.int64), np.zeros(0, np.int32), said[:0])]
        for group, states in self._states_of(np.unique(user[unknown])):
            asked = np.flatnonzero(unknown & np.isin(user, group))
            extra_user, extra_item = self._extra(group, user, item, unknown, more)
            owner, items = np.concatenate([user[asked], extra_user]), np.concatenate([item[asked], extra_item])
            order = np.argsort(owner, kind="stable")
            scored = np.empty((len(owner), said.shape[1]), np.float32)
            scored[order] = score(states, np.searchsorted(group, owner[order]), items[order])
            said[asked] = scored[: len(asked)]
            beside.append((extra_user, extra_item, scored[len(asked) :]))
            reuse.counts["pairs scored"] += len(owner)
        reuse.counts["pairs reused"] += int((~unknown).sum())
        if reuse.leaves:
            users, items, outputs = (np.concatenate(arrays) for arrays in zip(*beside, (user, item, said), strict=True))
            reuse.note(self._texts, self.vectors.cpu().numpy(), users, items, outputs)
        return said

    def _states_of(self, wanted: Places) -> Iterator[tuple[Places, Any]]:
        """Yield users and what was read of them, some at a time: those who had to be read, and those ``wanted``."""
        late = wanted[self._known[wanted] >= 0]
        groups = self._groups
        room = max(0, self._at_once - sum(len(own) for own, _ in groups))
        for some in (late[:room], *(late[at : at + self._at_once] for at in range(room, len(late), self._at_once))):
            yield from self._together([*groups, *self._recall(some)])
            groups = []

    def _together(self, groups: list[tuple[Places, Any]]) -> list[tuple[Places, Any]]:
        """Return users by what was read at once; all in one where the scorer can, so that passes are full."""
        if not isinstance(self._scorer, Engine) or len(groups) < 2:
            return groups
        places = np.concatenate([own for own, _ in groups])
        order = np.argsort(places)
        return [(places[order], Prefixes.together([read for _, read in groups], order.tolist()))]

    def _read(self, places: Places) -> Any:
        texts = Ragged.of([self._sequences[place] for place in places], self._scorer.device)
        read = self._scorer.encode_users(texts)
        self._reuse.counts["users encoded"] += len(places)
        if self._reuse.states and isinstance(self._scorer, Engine):
            for place, user in zip(places, read.users, strict=True):
                self._reuse.states.keep(bytes(self._texts[place]), self._scorer.states_of(user))
        return read

    def _recall(self, places: Places) -> list[tuple[Places, Any]]:
        """Take what is kept of users, and read those of whom it is not."""
        states, groups = self._reuse.states, []
        kept = {}
        if states is not None and isinstance(self._scorer, Engine):
            found = ((int(place), states.of(bytes(self._texts[place]))) for place in places)
            kept = {place: content for place, content in found if content is not None}
            if kept:
                recalled = np.array([*kept], np.int64)
                groups.append((recalled, self._scorer.recall([*kept.values()])))
                self._recalled[recalled] = True
        left = np.array([place for place in places.tolist() if place not in kept], np.int64)
        return [*groups, (left, self._read(left))] if len(left) else groups

    def _extra(
        self, group: Places, user: Places, item: Items, unknown: npt.NDArray[np.bool_], more: More
    ) -> tuple[Places, Items]:
        """Return the pairs, of users of ``group``, that are scored beside those that have to be."""
        if not self._reuse.leaves:
            return np.zeros(0, np.int64), np.zeros(0, np.int32)
        found = [(int(at), self._spare_of(int(at), item[user == at], more)) for at in group[~self._recalled[group]]]
        short = LEAST - int((unknown & np.isin(user, group)).sum()) - sum(len(own) for _, own in found)
        if short > 0:
            known = np.flatnonzero(~unknown & np.isin(user, group))[:short]
            found += [(int(user[at]), item[at : at + 1]) for at in known]
        owner = np.repeat(np.array([at for at, _ in found], np.int64), [len(own) for _, own in found])
        return owner, np.concatenate([item[:0], *(own for _, own in found)]).astype(np.int32)

    def _spare_of(self, at: int, own: Items, more: More) -> Items:
        beside = np.setdiff1d(more(at), own)
        known = self._reuse.kept.find_pairs(np.full(len(beside), self._known[at]), self._reuse.known_items[beside])
        return beside[known < 0]


def _to(places: Places, device: torch.device) -> Tensor:
    return torch.from_numpy(places).to(device)
