"""The states of items after the lower layers, which no user changes: computed once while they fit in memory."""

import numpy as np
import torch
from torch import Tensor

from llmrec.domain.users import Items
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.ragged import Layout, Ragged
from llmrec.nn.scorer import ItemStates, PairScorer
from llmrec.nn.tokens import Tokens

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

    @torch.no_grad()
    def states(self, items: Items) -> ItemStates:
        """Return the lower states of distinct ``items``, in their order."""
        new = items[self._starts[items] < 0]
        tokens = self._used + len(new) * self._tokens.limits.max_item_tokens
        if tokens * self._bytes_of_token > _BYTES:
            self._starts[:], self._used = -1, 0
            new = items
        for start in range(0, len(new), _ITEMS_AT_ONCE):
            self._encode(new[start : start + _ITEMS_AT_ONCE])
        if self._kept is None:
            raise ValueError("states of no items were asked for, expected at least one")
        starts, lengths = (torch.from_numpy(of[items]).to(self._scorer.device) for of in (self._starts, self._lengths))
        layout = Layout(lengths)
        return ItemStates(self._kept[starts[layout.sequence] + layout.position], layout)

    def _encode(self, items: Items) -> None:
        sequences = [self._tokens.item_sequence(self._catalogue.pieces(item)) for item in items]
        read = self._scorer.encode_items(Ragged.of(sequences, self._scorer.device))
        states, lengths = read.states, read.layout.lengths.cpu().numpy()
        self._starts[items], self._lengths[items] = self._used + np.cumsum(lengths) - lengths, lengths
        self._bytes_of_token = states.shape[1] * states.itemsize
        room = self._room(self._used + len(states), states)
        room[self._used : self._used + len(states)] = states
        self._used += len(states)

    def _room(self, tokens: int, like: Tensor) -> Tensor:
        """Return the buffer, at least ``tokens`` long; doubled each time, so that growing costs little."""
        if self._kept is None or len(self._kept) < tokens:
            with torch.inference_mode(False):  # else training could not write into what inference made
                bigger = like.new_empty(max(tokens, 2 * self._used), like.shape[1])
            if self._kept is not None:
                bigger[: self._used] = self._kept[: self._used]
            self._kept = bigger
        return self._kept
