"""The scorer made fast for inference on a processor: the same scores as nn.scorer, which it is tested against.

Attention is that of nn.attention; linear layers are packed once (nn.linear), those with the same input in one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from llmrec.nn.attention import ByLength, Grouped, Own, Shared, by_run, first_tokens, softmax
from llmrec.nn.linear import Precision
from llmrec.nn.packed import PackedBlock
from llmrec.nn.prefix import PrefixScorer
from llmrec.nn.ragged import Ragged
from llmrec.nn.scorer import ITEM_SIDE, USER_SIDE, ItemStates

# Shape letters: B users, P pairs, S sequences, N tokens, L tokens of one sequence, H heads, E head width, D = H * E.


@dataclass(frozen=True)
class Prefix:
    """One user read: keys and values of every upper block, each (H, L, E)."""

    keys: list[Tensor]
    values: list[Tensor]


@dataclass(frozen=True)
class Prefixes:
    """B users read."""

    users: Sequence[Prefix]
    vectors: Tensor
    """(B, D) of unit length."""

    def of_users(self, first: int, last: int) -> "Prefixes":
        """Return users ``first`` to ``last`` (excluded) alone."""
        return Prefixes(self.users[first:last], self.vectors[first:last])

    def shared(self, grouped: Grouped, depth: int) -> Shared:
        """What candidates attend to in the upper block ``depth``."""
        return Shared(grouped, [user.keys[depth] for user in self.users], [user.values[depth] for user in self.users])


class Engine:
    """Scores (user, candidate) pairs and gives user and item vectors, as `PrefixScorer` does, on the CPU."""

    def __init__(self, scorer: PrefixScorer, precision: Precision) -> None:
        shape = scorer.backbone.shape
        self._scorer, self._precision = scorer, precision
        self.device, self.width = scorer.device, scorer.width
        self._blocks = [PackedBlock(block, shape.heads, shape.activation, precision) for block in scorer.backbone.stack]
        self._cached = scorer.cached_layers

    def encode_users(self, users: Ragged) -> Prefixes:
        """Read B user texts once."""
        order, states = self._embed(users, USER_SIDE)
        kept: list[tuple[list[Tensor], list[Tensor]]] = []
        for depth, block in enumerate(self._blocks):
            query, key, value = block.query_key_value(states)
            keys, values = by_run(key, order.runs), by_run(value, order.runs)
            if depth >= self._cached:
                kept.append(([one for run in keys for one in run], [one for run in values for one in run]))
            states = block.finish(states, softmax(query, [Own(order.runs, keys, values)]))
        place = torch.argsort(order.order).tolist()
        prefixes = [Prefix([keys[at] for keys, _ in kept], [values[at] for _, values in kept]) for at in place]
        return Prefixes(prefixes, _mean_vectors(states, order))

    def encode_items(self, items: Ragged) -> ItemStates:
        """Run S item texts through the lower blocks, which do not depend on the user."""
        order, states = self._embed(items, ITEM_SIDE)
        states = self._own_blocks(states, order, self._blocks[: self._cached])
        back = torch.argsort(order.tokens(items.layout.starts))
        return ItemStates(states.index_select(0, back), items.layout)

    def item_vectors(self, items: ItemStates) -> Tensor:
        """Finish S items alone, for dense retrieval: (S, D) of unit length."""
        order = ByLength(items.layout.lengths)
        states = items.states.index_select(0, order.tokens(items.layout.starts))
        return _mean_vectors(self._own_blocks(states, order, self._blocks[self._cached :]), order)

    def pair_logits(self, users: Prefixes, items: ItemStates, user: Tensor, item: Tensor) -> Tensor:
        """Return one logit per pair, (P,); higher is better, not a probability.

        Args:
            users: B users read.
            items: states of S items.
            user: (P,) index into users, ascending.
            item: (P,) index into items.
        """
        order = ByLength(items.layout.lengths[item])
        states = items.states.index_select(0, order.tokens(items.layout.starts[item]))
        owner = user[order.order]
        grouped = Grouped(torch.repeat_interleave(owner, order.lengths), len(users.users))
        for depth, block in enumerate(self._blocks[self._cached : -1]):
            query, key, value = block.query_key_value(states)
            own = Own(order.runs, by_run(key, order.runs), by_run(value, order.runs))
            states = block.finish(states, softmax(query, [own, users.shared(grouped, depth)]))
        # Only the first token of each candidate is read, so the last block computes nothing else.
        block, depth = self._blocks[-1], len(self._blocks) - 1 - self._cached
        first = states.index_select(0, torch.cumsum(order.lengths, 0) - order.lengths)
        key, value = block.key_value(states)
        own = Own(first_tokens(order.runs), by_run(key, order.runs), by_run(value, order.runs))
        by_user = users.shared(Grouped(owner, len(users.users)), depth)
        finished = block.finish(first, softmax(block.query(first), [own, by_user]))
        head = self._scorer.head
        logits = functional.linear(finished.float(), head.weight, head.bias)[:, 0]
        return torch.empty_like(logits).index_copy_(0, order.order, logits)

    def _embed(self, texts: Ragged, side: int) -> tuple[ByLength, Tensor]:
        order = ByLength(texts.lengths)
        starts = torch.cumsum(texts.lengths, 0) - texts.lengths
        places = order.tokens(starts)
        positions = places - torch.repeat_interleave(starts[order.order], order.lengths)
        return order, self._scorer.backbone.embed(texts.ids[places], positions, side).to(self._precision.states)

    def _own_blocks(self, states: Tensor, order: ByLength, blocks: Sequence[PackedBlock]) -> Tensor:
        for block in blocks:
            query, key, value = block.query_key_value(states)
            own = Own(order.runs, by_run(key, order.runs), by_run(value, order.runs))
            states = block.finish(states, softmax(query, [own]))
        return states


def _mean_vectors(states: Tensor, order: ByLength) -> Tensor:
    means = [states[run.tokens].unflatten(0, (run.count, run.length)).mean(1) for run in order.runs]
    vectors = functional.normalize(torch.cat(means).float(), dim=-1)
    return torch.empty_like(vectors).index_copy_(0, order.order, vectors)
