"""From training examples to the tensors of one step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llmrec.domain.users import Items
from llmrec.nn.catalogue import Catalogue, Floats, Longs
from llmrec.nn.copies import Copies
from llmrec.nn.examples import Example
from llmrec.nn.parallel import place
from llmrec.nn.positions import UNKNOWN
from llmrec.nn.ragged import Ragged
from llmrec.nn.tokens import Pieces, Tokens

# Shape letters: B examples, P pairs of a user and an item, S distinct items; Q of the pairs are positive, A are of all
# processes.


@dataclass(frozen=True)
class Batch:
    """The lists of B examples, end to end."""

    user_ids: Tensor
    """Tokens of the users' texts, end to end."""
    user_lengths: Tensor
    """(B,)."""
    item_ids: Tensor
    """Tokens of the items' texts, end to end."""
    item_lengths: Tensor
    """(S,)."""
    items: Tensor
    """(S,) indexes of the catalogue."""
    user: Tensor
    """(P,) index into the users, ascending."""
    item: Tensor
    """(P,) index into the items."""
    column: Tensor
    """(P,) place in the user's list."""
    positive: Tensor
    """(P,) True for the items the user took."""
    observed: Tensor
    """(P,) False for negatives that were drawn: nothing is known of them."""
    ratings: Tensor
    """(P,) NaN where there is none."""
    taught: Tensor
    """(P,) the teacher's logits, NaN without one."""
    position: Tensor
    """(P,) where the item was shown, from 0 on; negative where it was not."""
    taken: Tensor
    """(processes,) how many positives each process has; A in all."""
    own: Tensor
    """(Q,) index of each positive among those of all processes."""
    shares: Tensor
    """(A,) each positive's share of all events."""
    known: Tensor
    """(B, A) which of the positives each user has taken."""

    @property
    def users(self) -> Ragged:
        """The users' texts."""
        return Ragged(self.user_ids, self.user_lengths)

    @property
    def texts(self) -> Ragged:
        """The items' texts."""
        return Ragged(self.item_ids, self.item_lengths)

    def table(self, values: Tensor, filler: float | bool) -> Tensor:
        """Lay ``values`` of pairs (P,) out by user and place, (B, longest list)."""
        shape = (len(self.user_lengths), int(self.column.max()) + 1)
        return values.new_full(shape, filler).index_put((self.user, self.column), values)


Teach = Callable[[Sequence[Example], Items, Longs, Longs], Floats]
"""Gives a teacher's logit of each pair; see `llmrec.nn.teacher.Teacher`."""


class Collator:
    """Makes batches, as dictionaries: transformers' Trainer sends those to the device.

    Of several processes that learn together, each is given all examples and takes its part. Where items have copies of
    their texts, each item is read in one of its texts, drawn anew for each batch.
    """

    def __init__(
        self, tokens: Tokens, catalogue: Catalogue, teach: Teach | None = None, copies: Copies | None = None
    ) -> None:
        self._tokens, self._catalogue, self._teach, self._copies = tokens, catalogue, teach, copies

    def __call__(self, everyones: Sequence[Example]) -> dict[str, Tensor]:
        """Return the fields of a `Batch`."""
        rank, processes = place()
        parts = np.array_split(np.arange(len(everyones)), processes)
        examples = [everyones[at] for at in parts[rank]]
        if not examples:  # a last batch may have too few: read one, and learn hardly anything
            examples = [replace(everyones[0], positives=everyones[0].positives[:0])]
        lists = [np.concatenate([e.positives, e.others, e.negatives]) for e in examples]
        items, item = np.unique(np.concatenate(lists), return_inverse=True)
        sizes, taken = np.array([len(one) for one in lists]), np.array([len(e.positives) for e in examples])
        shown = taken + [len(e.others) for e in examples]
        user = np.repeat(np.arange(len(examples)), sizes)
        column = np.arange(len(user)) - (np.cumsum(sizes) - sizes)[user]
        pieces = self._pieces_of_items(everyones[0].draw)
        users = Ragged.of(user_sequences(examples, self._tokens, pieces))
        texts = Ragged.of([self._tokens.item_sequence(pieces(one)) for one in items])
        by_process = [sum(len(everyones[at].positives) for at in part) for part in parts]
        positives = np.concatenate([e.positives for e in everyones])
        counts = np.asarray(self._catalogue.taken)
        taught = np.full(len(user), np.nan, np.float32)
        if self._teach:
            taught = self._teach(examples, items, user, item)
        batch = Batch(
            user_ids=users.ids, user_lengths=users.lengths, item_ids=texts.ids, item_lengths=texts.lengths,
            items=torch.from_numpy(items), user=torch.from_numpy(user), item=torch.from_numpy(item),
            column=torch.from_numpy(column), positive=torch.from_numpy(column < taken[user]),
            observed=torch.from_numpy(column < shown[user]),
            ratings=_laid_out([e.ratings for e in examples], sizes, np.nan),
            position=_laid_out([e.positions for e in examples], sizes, UNKNOWN),
            taught=torch.from_numpy(taught),
            taken=torch.tensor(by_process), own=torch.arange(int(taken.sum())) + sum(by_process[:rank]),
            shares=torch.from_numpy((counts[positives] + 1) / (counts.sum() + len(counts))).float(),
            known=torch.from_numpy(np.stack([np.isin(positives, e.seen) for e in examples])),
        )  # fmt: skip
        return {field.name: getattr(batch, field.name) for field in fields(batch)}

    def _pieces_of_items(self, draw: int) -> Callable[[int], Pieces]:
        return self._catalogue.pieces if self._copies is None else self._copies.drawn(self._catalogue, draw)


def user_sequences(examples: Sequence[Example], tokens: Tokens, pieces: Callable[[int], Pieces]) -> list[Pieces]:
    """Return the users' texts as ``tokens`` frames them; ``pieces`` gives each item's."""
    profiles = [e.text if e.profile is None else e.profile for e in examples]
    histories = [[pieces(item) for item in e.history] for e in examples]
    return tokens.user_sequences(profiles, histories, [e.words for e in examples])


def _laid_out(known: Sequence[npt.NDArray[np.generic]], sizes: npt.NDArray[np.int64], filler: float) -> Tensor:
    """Lay what is ``known`` of the first items of lists end to end, with ``filler`` for the others of each."""
    filled = [np.pad(own, (0, size - len(own)), constant_values=filler) for own, size in zip(known, sizes, strict=True)]
    return torch.from_numpy(np.concatenate(filled))
