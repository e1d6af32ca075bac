"""The states of items after the lower layers, which no user changes: computed once while they fit in memory."""

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
        self._kept: dict[int, Tensor] = {}
        self._most = _BYTES // (4 * scorer.width * tokens.limits.max_item_tokens)

    @torch.no_grad()
    def states(self, items: Items) -> ItemStates:
        """Return the lower states of distinct ``items``, in their order."""
        wanted = items.tolist()
        new = [item for item in wanted if item not in self._kept]
        if len(self._kept) + len(new) > self._most:
            self._kept.clear()
            new = wanted
        for start in range(0, len(new), _ITEMS_AT_ONCE):
            part = new[start : start + _ITEMS_AT_ONCE]
            sequences = [self._tokens.item_sequence(self._catalogue.pieces(item)) for item in part]
            encoded = self._scorer.encode_items(Ragged.of(sequences, self._scorer.device))
            own = encoded.states.split(encoded.layout.lengths.tolist())
            self._kept.update(zip(part, (states.clone() for states in own), strict=True))
        found = [self._kept[item] for item in wanted]
        lengths = torch.tensor([len(own) for own in found], device=self._scorer.device)
        return ItemStates(torch.cat(found), Layout(lengths))
