"""What every scorer of (user, candidate) pairs has in common: its interface, a backbone, a head, and text vectors."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from llmrec.nn.backbone import Backbone, Block, whole
from llmrec.nn.ragged import Layout, Ragged
from llmrec.nn.ratings import RatingScale

# Shape letters: B users, P pairs, S sequences, N tokens, H heads, E head width, D = H * E.

USER_SIDE, ITEM_SIDE = 0, 1


@dataclass(frozen=True)
class ItemStates:
    """What users need of S items: states after the part that no user changes, laid end to end."""

    states: Tensor
    """(N, D)."""
    layout: Layout


class ReadUsers(Protocol):
    """B users read; what else there is to them, their scorer knows."""

    @property
    def vectors(self) -> Tensor:
        """(B, D) of unit length."""

    def of_users(self, first: int, last: int) -> "ReadUsers":
        """Return users ``first`` to ``last`` (excluded) alone."""


class PairScorer(Protocol):
    """Reads users and items and scores pairs of them."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    @property
    def width(self) -> int:
        """Width of states and vectors."""

    @property
    def outputs(self) -> int:
        """1: a logit, which may stand for a rating; 2: a logit and a rating."""

    def encode_users(self, users: Ragged) -> Any:
        """Read B user texts once; gives `ReadUsers`."""

    def encode_items(self, items: Ragged) -> ItemStates:
        """Do the part of S item texts that no user changes."""

    def item_vectors(self, items: ItemStates) -> Tensor:
        """(S, D) of unit length."""

    def pair_outputs(self, users: Any, items: ItemStates, user: Tensor, item: Tensor) -> Tensor:
        """Return what is said of each pair, (P, outputs): a logit first (higher is better, not a probability), a rating
        of its own last if any.

        Args:
            users: B users read.
            items: S items.
            user: (P,) index into users, ascending.
            item: (P,) index into items.
        """


class Scorer(nn.Module, ABC):
    """A `PairScorer` that can be trained. A text that attends to itself alone gives the vector of dense retrieval."""

    name: ClassVar[str]
    """As the configuration calls it."""

    def __init__(self, backbone: Backbone, cached_layers: int, head: nn.Module, outputs: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.cached_layers = cached_layers
        """Lower blocks whose states of a candidate no user changes; above the embeddings of words, if 0."""
        self.head = head
        self.outputs = outputs
        self.ratings: RatingScale | None = None
        """Of the ratings that it learned to tell, if any."""
        self.is_rounded = False
        """Whether int8 holds its weights as they are (nn.int8)."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.backbone.embeddings.norm.weight.device

    @property
    def width(self) -> int:
        """Width of states and vectors."""
        return self.backbone.shape.width

    @abstractmethod
    def encode_users(self, users: Ragged) -> Any:
        """See `PairScorer`."""

    @abstractmethod
    def encode_items(self, items: Ragged) -> ItemStates:
        """See `PairScorer`."""

    @abstractmethod
    def item_vectors(self, items: ItemStates) -> Tensor:
        """See `PairScorer`."""

    @abstractmethod
    def pair_outputs(self, users: Any, items: ItemStates, user: Tensor, item: Tensor) -> Tensor:
        """See `PairScorer`."""

    def _own_blocks(self, states: Tensor, layout: Layout, blocks: Iterable[Block]) -> Tensor:
        """Run sequences through ``blocks``, each attending to itself."""
        count, states = len(states), whole(states)
        for block in blocks:
            key, value = block.keys_values(states, layout.position)
            attended = self._attend_own(block, block.queries(states, layout.position), key, value, layout)
            states = block.after_attention(states, attended)
        return states[:count]

    def _attend_own(self, block: Block, query: Tensor, key: Tensor, value: Tensor, layout: Layout) -> Tensor:
        query, key, value = (layout.pad(flat).transpose(1, 2) for flat in (query, key, value))
        key, value = block.with_virtual(key, value)
        position = layout.pad(layout.position)  # padding asks from the first place, so that it sees something
        seen = block.with_virtual_seen(block.sees(position, position, layout.valid))[:, None]
        if key.device.type == "cpu" and key.dtype is torch.bfloat16:  # torch's own is slow there, backwards above all
            logits = (query * key.shape[-1] ** -0.5 @ key.transpose(-1, -2)).masked_fill(~seen, -torch.inf)
            attended = logits.softmax(-1).to(value.dtype) @ value
        else:
            attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        return layout.flatten(attended.transpose(1, 2)).flatten(1)


def mean_vectors(states: Tensor, layout: Layout) -> Tensor:
    """Mean state of each sequence, (N, D) -> (S, D) of unit length, in float32."""
    return functional.normalize(layout.mean(states).float(), dim=-1)


def fresh_head(width: int, outputs: int) -> nn.Linear:
    """Return an untrained output layer."""
    head = nn.Linear(width, outputs)
    nn.init.normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    return head


def read_off(head: nn.Linear, states: Tensor) -> Tensor:
    """Apply an output layer in float32, (P, D) -> (P, outputs)."""
    with torch.autocast(states.device.type, enabled=False):
        return functional.linear(states.float(), head.weight.float(), head.bias.float())
