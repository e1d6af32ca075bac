"""The states of items after the lower layers, which no user changes: computed once while they fit in memory, or taken
from an earlier night.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llmrec.domain.users import Items
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.engine import Engine
from llmrec.nn.kept import fingerprints
from llmrec.nn.kept_states import KeptStates
from llmrec.nn.ragged import Layout, Ragged
from llmrec.nn.scorer import ItemStates, PairScorer
from llmrec.nn.tokens import Pieces, Tokens

_ITEMS_AT_ONCE = 256
_BYTES = 1 << 30
"""Memory for kept states, per worker; the items of one request are always kept together."""


class StateCache:
    """Gives the lower states of items; right as long as the weights of the lower layers do not change."""

    def __init__(self, scorer: PairScorer, tokens: Tokens, catalogue: Catalogue) -> None:
        self._scorer, self._tokens, self._catalogue = scorer, tokens, catalogue
        self._bytes_of_token = 4 * scorer.width  # until the first is seen
        self._starts = np.full(len(catalogue), -1, np.int64)
        """Where each item's states begin among the kept ones; -1 for those not kept."""
        self._lengths = np.zeros(len(catalogue), np.int64)
        self._kept: Tensor | None = None
        """(tokens that fit, D), filled up to ``_used``."""
        self._used = 0
        self.earlier: KeptStates | None = None
        """Of earlier nights, and for later ones; used where the scorer is an `Engine`."""

    @torch.no_grad()
    def states(self, items: Items) -> ItemStates:
        """Return the lower states of distinct ``items``, in their order."""
        new = items[self._starts[items] < 0]
        tokens = self._used + len(new) * self._tokens.limits.max_item_tokens
        if tokens * self._bytes_of_token > _BYTES:
            self._starts[:], self._used = -1, 0
            new = items
        left = [self._recall(new[start : start + _ITEMS_AT_ONCE]) for start in range(0, len(new), _ITEMS_AT_ONCE)]
        new = np.concatenate([new[:0], *left])
        for start in range(0, len(new), _ITEMS_AT_ONCE):
            self._encode(new[start : start + _ITEMS_AT_ONCE])
        if self._kept is None:
            raise ValueError("states of no items were asked for, expected at least one")
        starts, lengths = (torch.from_numpy(of[items]).to(self._scorer.device) for of in (self._starts, self._lengths))
        layout = Layout(lengths)
        return ItemStates(self._kept[starts[layout.sequence] + layout.position], layout)

    def _recall(self, items: Items) -> Items:
        """Take what is kept of ``items`` from earlier nights; return the others."""
        if self.earlier is None or not isinstance(self._scorer, Engine):
            return items
        kept = {item: content for item in items.tolist() if (content := self.earlier.of(self._text(item))) is not None}
        if kept:
            lengths = np.array([len(self._sequence(item)) for item in kept])
            own = [self._scorer.recall_item(*one) for one in zip(kept.values(), lengths.tolist(), strict=True)]
            self._add(np.array([*kept], np.int32), torch.cat(own), lengths)
        return items[self._starts[items] < 0]

    def _encode(self, items: Items) -> None:
        read = self._scorer.encode_items(Ragged.of([self._sequence(item) for item in items], self._scorer.device))
        lengths = read.layout.lengths.cpu().numpy()
        self._add(items, read.states, lengths)
        if self.earlier is not None and isinstance(self._scorer, Engine):
            for item, states in zip(items.tolist(), read.states.split(lengths.tolist()), strict=True):
                self.earlier.keep(self._text(item), self._scorer.states_of_item(states))

    def _add(self, items: Items, states: Tensor, lengths: npt.NDArray[np.int64]) -> None:
        self._starts[items], self._lengths[items] = self._used + np.cumsum(lengths) - lengths, lengths
        self._bytes_of_token = states.shape[1] * states.itemsize
        room = self._room(self._used + len(states), states)
        room[self._used : self._used + len(states)] = states
        self._used += len(states)

    def _sequence(self, item: int) -> Pieces:
        return self._tokens.item_sequence(self._catalogue.pieces(item))

    def _text(self, item: int) -> bytes:
        [text] = fingerprints([self._catalogue.pieces(item)])
        return bytes(text)

    def _room(self, tokens: int, like: Tensor) -> Tensor:
        """Return the buffer, at least ``tokens`` long; doubled each time, so that growing costs little."""
        if self._kept is None or len(self._kept) < tokens:
            with torch.inference_mode(False):  # else training could not write into what inference made
                bigger = like.new_empty(max(tokens, 2 * self._used), like.shape[1])
            if self._kept is not None:
                bigger[: self._used] = self._kept[: self._used]
            self._kept = bigger
        return self._kept
