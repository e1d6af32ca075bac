"""The scorer made fast for inference on a GPU: bfloat16, no padding anywhere, few waits for the card."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from llmrec.nn.linear import Precision
from llmrec.nn.packed import PackedBlock
from llmrec.nn.prefix import PrefixScorer
from llmrec.nn.ragged import Layout, Ragged, take
from llmrec.nn.scorer import ITEM_SIDE, USER_SIDE, ItemStates, mean_vectors, read_off
from llmrec.nn.varlen import Spans, add_up, attend

# Shape letters: B users, P pairs, S sequences, N tokens, H heads, E head width, D = H * E.


@dataclass(frozen=True)
class FlatPrefixes:
    """B users read."""

    keys: list[Tensor]
    """(N, H, E) per upper block, users end to end."""
    values: list[Tensor]
    """Like ``keys``."""
    lengths: Tensor
    """(B,)."""
    vectors: Tensor
    """(B, D) of unit length."""

    def of_users(self, first: int, last: int) -> "FlatPrefixes":
        """Return users ``first`` to ``last`` (excluded) alone."""
        start, stop = int(self.lengths[:first].sum()), int(self.lengths[:last].sum())
        return FlatPrefixes(
            [key[start:stop] for key in self.keys],
            [value[start:stop] for value in self.values],
            self.lengths[first:last],
            self.vectors[first:last],
        )


class GpuEngine:
    """Scores (user, candidate) pairs and gives user and item vectors, as `PrefixScorer` does."""

    def __init__(self, scorer: PrefixScorer, precision: Precision = Precision.BFLOAT16) -> None:
        shape = scorer.backbone.shape
        self._scorer = copy.deepcopy(scorer).to(precision.states)
        stack = self._scorer.backbone.stack
        self.device, self.width, self.outputs = scorer.device, scorer.width, scorer.outputs
        self._blocks = [PackedBlock(block, shape.heads, shape.activation, precision) for block in stack]
        self._cached = scorer.cached_layers

    def encode_users(self, users: Ragged) -> FlatPrefixes:
        """Read B user texts once."""
        layout, spans = users.layout, Spans.of(users.lengths)
        states = self._scorer.backbone.embed(users.ids, layout.position, USER_SIDE)
        keys, values = [], []
        for depth, block in enumerate(self._blocks):
            query, key, value = block.query_key_value(states)
            if depth >= self._cached:
                keys.append(key)
                values.append(value)
            attended, _ = attend(query, key, value, spans, spans)
            states = block.finish(states, attended.flatten(1))
        return FlatPrefixes(keys, values, layout.lengths, mean_vectors(states, layout))

    def encode_items(self, items: Ragged) -> ItemStates:
        """Run S item texts through the lower blocks, which do not depend on the user."""
        states = self._scorer.backbone.embed(items.ids, items.layout.position, ITEM_SIDE)
        return ItemStates(self._own_blocks(states, items.layout, self._blocks[: self._cached]), items.layout)

    def item_vectors(self, items: ItemStates) -> Tensor:
        """Finish S items alone, for dense retrieval: (S, D) of unit length."""
        return mean_vectors(self._own_blocks(items.states, items.layout, self._blocks[self._cached :]), items.layout)

    def pair_outputs(self, users: FlatPrefixes, items: ItemStates, user: Tensor, item: Tensor) -> Tensor:
        """See `PairScorer`. Users ascend, so a user's candidates are one sequence."""
        states, layout = take(items.states, items.layout, item)
        own, read = Spans.of(layout.lengths), Spans.of(users.lengths)
        asking = Spans.of(torch.bincount(user, weights=layout.lengths, minlength=len(users.lengths)).long())
        upper = self._blocks[self._cached :]
        for block, user_key, user_value in zip(upper[:-1], users.keys, users.values, strict=False):
            query, key, value = block.query_key_value(states)
            found = attend(query, key, value, own, own), attend(query, user_key, user_value, asking, read)
            states = block.finish(states, add_up(*found).flatten(1))
        # Only the first token of each candidate is read, so the last block computes nothing else.
        block, first = upper[-1], states[layout.starts]
        query, (key, value) = block.query(first), block.key_value(states)
        alone = Spans.of(torch.ones_like(layout.lengths))
        asking = Spans.of(torch.bincount(user, minlength=len(users.lengths)))
        found = attend(query, key, value, alone, own), attend(query, users.keys[-1], users.values[-1], asking, read)
        return read_off(self._scorer.head, block.finish(first, add_up(*found).flatten(1)))

    def _own_blocks(self, states: Tensor, layout: Layout, blocks: list[PackedBlock]) -> Tensor:
        spans = Spans.of(layout.lengths)
        for block in blocks:
            query, key, value = block.query_key_value(states)
            attended, _ = attend(query, key, value, spans, spans)
            states = block.finish(states, attended.flatten(1))
        return states
