"""The scorer made fast for inference on a processor: the same scores as nn.scorer, which it is tested against.

Attention is that of nn.attention; linear layers are packed once (nn.linear), those with the same input in one. Of an
item is kept all that no user changes: the states after the lower blocks, and what the next block makes of them alone,
which are its queries and what they find among the item's own tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from llmrec.nn.attention import (
    Absorbed,
    ByLength,
    Grouped,
    Known,
    Own,
    Part,
    Run,
    Shared,
    by_run,
    rounded_up_keys,
    softmax,
)
from llmrec.nn.int8 import from_int8, to_int8
from llmrec.nn.linear import Precision
from llmrec.nn.packed import PackedBlock
from llmrec.nn.prefix import PrefixScorer
from llmrec.nn.ragged import Ragged
from llmrec.nn.scorer import ITEM_SIDE, USER_SIDE, ItemStates

# Shape letters: B users, P pairs, S sequences, N tokens, L tokens of one sequence, H heads, E head width, D width,
# A = H * E.


@dataclass(frozen=True)
class Prefix:
    """One user read: keys and values of every upper block, each (H, L, E) and zeros up to a rounded number of rows."""

    keys: list[Tensor]
    values: list[Tensor]
    inputs: Sequence[Tensor]
    """What went into every upper block, each (L, D): all that `Engine.recall` needs."""

    @property
    def length(self) -> int:
        """L."""
        return len(self.inputs[0])


@dataclass(frozen=True)
class Prefixes:
    """B users read."""

    users: Sequence[Prefix]
    vectors: Tensor
    """(B, D) of unit length; empty where users were recalled."""

    def of_users(self, first: int, last: int) -> "Prefixes":
        """Return users ``first`` to ``last`` (excluded) alone."""
        return Prefixes(self.users[first:last], self.vectors[first:last])

    @staticmethod
    def together(parts: Sequence["Prefixes"], order: Sequence[int]) -> "Prefixes":
        """Return the users of all ``parts``, put in ``order``, without their vectors."""
        users = [user for part in parts for user in part.users]
        return Prefixes([users[at] for at in order], parts[0].vectors[:0])

    def shared(self, grouped: Grouped, depth: int) -> Shared:
        """What candidates attend to in the upper block ``depth``."""
        return Shared(grouped, [(user.keys[depth], user.values[depth], user.length) for user in self.users])


@dataclass(frozen=True)
class Asking:
    """Tokens of items before the first block that sees a user: what they are, ask, and found among their own."""

    rows: Tensor
    """(N, D + 2 * A and what weights take), as items keep them."""
    heads: int
    width: int
    """D."""

    @staticmethod
    def of(states: Tensor, query: Tensor, values: Tensor, weights: Tensor) -> "Asking":
        """Put states (N, D), queries and sums of values (N, H, E) and of weights (N, H), in float32, in one row."""
        parts = [states, query.flatten(1), values.flatten(1), weights.view(states.dtype)]
        return Asking(torch.cat(parts, 1), query.shape[1], states.shape[1])

    @property
    def states(self) -> Tensor:
        """(N, D)."""
        return self.rows[:, : self.width]

    @property
    def query(self) -> Tensor:
        """(N, H, E)."""
        return self._by_head(0)

    @property
    def values(self) -> Tensor:
        """(N, H, E)."""
        return self._by_head(1)

    @property
    def weights(self) -> Tensor:
        """(N, H), float32."""
        return self.rows[:, -self._room_of_weights :].contiguous().view(torch.float32)

    @property
    def _room_of_weights(self) -> int:
        return self.heads * torch.float32.itemsize // self.rows.dtype.itemsize

    def _by_head(self, place: int) -> Tensor:
        flat: Tensor = self.rows[:, self.width : -self._room_of_weights].unflatten(1, (2, self.heads, -1))
        return flat[:, place]


class Engine:
    """Scores (user, candidate) pairs and gives user and item vectors, as `PrefixScorer` does, on the CPU."""

    def __init__(self, scorer: PrefixScorer, precision: Precision) -> None:
        shape = scorer.backbone.shape
        self._scorer, self.precision = scorer, precision
        self.device, self.width, self.outputs = scorer.device, scorer.width, scorer.outputs
        self._blocks = [PackedBlock(block, shape.heads, shape.activation, precision) for block in scorer.backbone.stack]
        self._cached, self._heads = scorer.cached_layers, shape.heads
        self._words = scorer.backbone.words
        if precision is Precision.INT8:
            codes, steps = to_int8(scorer.backbone.embeddings.words.weight)
            self._words = lambda ids: from_int8(codes[ids], steps[ids])

    def encode_users(self, users: Ragged) -> Prefixes:
        """Read B user texts once."""
        order, states = self._embed(users, USER_SIDE)
        upper = []
        for depth, block in enumerate(self._blocks):
            query, key, value = block.query_key_value(states)
            keys, values = by_run(key, order.runs), by_run(value, order.runs)
            if depth >= self._cached:
                upper.append((rounded_up_keys(keys), rounded_up_keys(values), states))
            states = block.finish(states, softmax(query, [Own(order.runs, keys, values)]))
        return Prefixes(_by_user(upper, order), _mean_vectors(states, order))

    def states_of(self, user: Prefix) -> bytes:
        """Return what `recall` needs of a user who was read."""
        return torch.stack(list(user.inputs)).view(torch.uint8).numpy().tobytes()

    def recall(self, states: Sequence[bytes]) -> Prefixes:
        """Make of B users' states, as `states_of` gave them, what `encode_users` made, but for the vectors."""
        kind, upper = self.precision.states, self._blocks[self._cached :]
        users = [torch.frombuffer(bytearray(one), dtype=kind).view(len(upper), -1, self.width) for one in states]
        order = ByLength(torch.tensor([one.shape[1] for one in users]))
        inputs = torch.cat([users[at] for at in order.order.tolist()], 1)
        made = []
        for block, into in zip(upper, inputs, strict=True):
            keys, values = (rounded_up_keys(by_run(flat, order.runs)) for flat in block.key_value(into))
            made.append((keys, values, into))
        return Prefixes(_by_user(made, order), torch.empty(len(users), 0))

    def encode_items(self, items: Ragged) -> ItemStates:
        """Do all of S item texts that no user changes: the lower blocks, and what the next makes of its own tokens."""
        order, states = self._embed(items, ITEM_SIDE)
        states = self._own_blocks(states, order, self._blocks[: self._cached])
        query, own = _ask_own(self._blocks[self._cached], states, order)
        back = torch.argsort(order.tokens(items.layout.starts))
        return ItemStates(Asking.of(states, query, *own.sums(query)).rows.index_select(0, back), items.layout)

    def states_of_item(self, states: Tensor) -> bytes:
        """Return what `recall_item` needs of an item's states, as `encode_items` gave them."""
        return states.contiguous().view(torch.uint8).numpy().tobytes()

    def recall_item(self, states: bytes, length: int) -> Tensor:
        """Return the states of an item of so many tokens, as `states_of_item` was given them."""
        return torch.frombuffer(bytearray(states), dtype=self.precision.states).view(length, -1)

    def item_vectors(self, items: ItemStates) -> Tensor:
        """Finish S items alone, for dense retrieval: (S, D) of unit length."""
        order = ByLength(items.layout.lengths)
        asking = Asking(items.states.index_select(0, order.tokens(items.layout.starts)), self._heads, self.width)
        block, above = self._blocks[self._cached], self._blocks[self._cached + 1 :]
        states = block.finish(asking.states, softmax(asking.query, [self._known(asking, order.runs)]))
        return _mean_vectors(self._own_blocks(states, order, above), order)

    def pair_outputs(self, users: Prefixes, items: ItemStates, user: Tensor, item: Tensor) -> Tensor:
        """See `PairScorer`."""
        order = ByLength(items.layout.lengths[item])
        asking = Asking(items.states.index_select(0, order.tokens(items.layout.starts[item])), self._heads, self.width)
        owner = user[order.order]
        grouped = Grouped(torch.repeat_interleave(owner, order.lengths), len(users.users))
        states, query = asking.states, asking.query
        own: Part = self._known(asking, order.runs)
        for depth, block in enumerate(self._blocks[self._cached : -1]):
            if depth:
                query, own = _ask_own(block, states, order)
            states = block.finish(states, softmax(query, [own, users.shared(grouped, depth)]))
        # Only the first token of each candidate is read, so the last block computes nothing else.
        block, depth = self._blocks[-1], len(self._blocks) - 1 - self._cached
        first = states.index_select(0, torch.cumsum(order.lengths, 0) - order.lengths)
        by_user = users.shared(Grouped(owner, len(users.users)), depth)
        attended = softmax(block.query(first), [Absorbed(block, order.runs, states), by_user])
        finished = block.finish(first, attended)
        head = self._scorer.head
        outputs = functional.linear(finished.double(), head.weight.double(), head.bias.double()).float()
        return torch.empty_like(outputs).index_copy_(0, order.order, outputs)

    def _known(self, asking: "Asking", runs: Sequence[Run]) -> Known:
        def again() -> Part:
            key, value = self._blocks[self._cached].key_value(asking.states)
            return Own(runs, by_run(key, runs), by_run(value, runs))

        return Known(asking.values, asking.weights, again)

    def _embed(self, texts: Ragged, side: int) -> tuple[ByLength, Tensor]:
        order = ByLength(texts.lengths)
        starts = torch.cumsum(texts.lengths, 0) - texts.lengths
        places = order.tokens(starts)
        positions = places - torch.repeat_interleave(starts[order.order], order.lengths)
        states = self._scorer.backbone.place(self._words(texts.ids[places]), positions, side)
        return order, states.to(self.precision.states)

    def _own_blocks(self, states: Tensor, order: ByLength, blocks: Sequence[PackedBlock]) -> Tensor:
        for block in blocks:
            query, own = _ask_own(block, states, order)
            states = block.finish(states, softmax(query, [own]))
        return states


def _by_user(upper: Sequence[tuple[Sequence[Tensor], Sequence[Tensor], Tensor]], order: ByLength) -> list[Prefix]:
    """Part keys and values by run (C, H, L, E), and inputs (N, D), of every upper block by user."""
    by_depth = [
        (
            [one for run in keys for one in run],
            [one for run in values for one in run],
            inputs.split(order.lengths.tolist()),
        )
        for keys, values, inputs in upper
    ]
    parts = [
        Prefix(*([of[at] for of in kind] for kind in zip(*by_depth, strict=True))) for at in range(len(order.order))
    ]
    return [parts[at] for at in torch.argsort(order.order).tolist()]


def _ask_own(block: PackedBlock, states: Tensor, order: ByLength) -> tuple[Tensor, Part]:
    """Return the queries (N, H, E) of all tokens, and the keys and values of each one's own sequence."""
    query, key, value = block.query_key_value(states)
    return query, Own(order.runs, by_run(key, order.runs), by_run(value, order.runs))


def _mean_vectors(states: Tensor, order: ByLength) -> Tensor:
    means = [states[run.tokens].unflatten(0, (run.count, run.length)).mean(1) for run in order.runs]
    vectors = functional.normalize(torch.cat(means).float(), dim=-1)
    return torch.empty_like(vectors).index_copy_(0, order.order, vectors)
