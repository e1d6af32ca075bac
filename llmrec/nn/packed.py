"""A transformer block for inference: weights packed once (nn.linear), those with the same input in one."""

from collections.abc import Sequence

import torch
from torch import Tensor

from llmrec.nn.backbone import Block
from llmrec.nn.int8 import rounded
from llmrec.nn.linear import Precision, pack

# Shape letters: N tokens, H heads, E head width, D width, A = H * E.


class PackedBlock:
    """A transformer block with packed weights; queries come out scaled."""

    def __init__(self, block: Block, heads: int, activation: str, precision: Precision) -> None:
        self._block, self._heads = block, heads
        scale = (len(block.query.weight) // heads) ** -0.5
        # Rounded before anything is made of them, so that all of it is of the same weights.
        held = rounded if precision is Precision.INT8 else _as_it_is
        query, key, value = (held(layer.weight) for layer in (block.query, block.key, block.value))
        weights = [query * scale, key, value]
        biases = [block.query.bias * scale, block.key.bias, block.value.bias]
        self._query = pack(weights[0], biases[0], precision)
        self._key_value = pack(torch.cat(weights[1:]), torch.cat(biases[1:]), precision)
        self._all = pack(torch.cat(weights), torch.cat(biases), precision)
        self._output = pack(block.output.weight, block.output.bias, precision)
        self._up = pack(block.up.weight, block.up.bias, precision, activation)
        self._down = pack(block.down.weight, block.down.bias, precision, activated=True)
        by_head = [key, value, block.key.bias[:, None], block.value.bias[:, None]]
        self.key, self.value, self.key_bias, self.value_bias = (
            flat.unflatten(0, (heads, -1)).to(precision.states) for flat in by_head
        )
        """Weights (H, E, D) and biases (H, E, 1) of keys and values, not packed: for attention to few tokens."""

    def query(self, states: Tensor) -> Tensor:
        """(N, D) -> (N, H, E)."""
        return self._split(self._query(states), 1)[0]

    def key_value(self, states: Tensor) -> Sequence[Tensor]:
        """(N, D) -> two of (N, H, E)."""
        return self._split(self._key_value(states), 2)

    def query_key_value(self, states: Tensor) -> Sequence[Tensor]:
        """(N, D) -> three of (N, H, E)."""
        return self._split(self._all(states), 3)

    def finish(self, states: Tensor, attended: Tensor) -> Tensor:
        """States (N, D) and attended values (N, A) give the next states (N, D)."""
        states = self._block.attention_norm(self._output(attended).add_(states))
        finished: Tensor = self._block.output_norm(self._down(self._up(states)).add_(states))
        return finished

    def _split(self, flat: Tensor, parts: int) -> Sequence[Tensor]:
        return flat.view(len(flat), parts, self._heads, -1).unbind(1)


def _as_it_is(weight: Tensor) -> Tensor:
    return weight
