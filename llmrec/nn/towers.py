"""Scorers that read user and item apart, and then only compare vectors: cheap, since an item is read for all users.

A text's vector is the mean of the last states of a text that attends to itself, of unit length, as in dense retrieval.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from llmrec.nn.backbone import Backbone
from llmrec.nn.ragged import Layout, Ragged, take
from llmrec.nn.scorer import ITEM_SIDE, USER_SIDE, ItemStates, Scorer, mean_vectors, read_off

# Shape letters: B users, P pairs, S items, M parts of the users' texts, L the most that one has, D width.

_SHARPNESS = 20.0
"""What cosines are multiplied with at first: the temperature .05 of the in-batch loss."""


@dataclass(frozen=True)
class UserVectors:
    """B users read."""

    vectors: Tensor
    """(B, D) of unit length."""

    def of_users(self, first: int, last: int) -> "UserVectors":
        """Return users ``first`` to ``last`` (excluded) alone."""
        return UserVectors(self.vectors[first:last])


class TowerScorer(Scorer):
    """Common to the scorers below: an item's state is its vector."""

    def __init__(self, backbone: Backbone, head: nn.Module, outputs: int) -> None:
        super().__init__(backbone, len(backbone.stack), head, outputs)

    def encode_users(self, users: Ragged) -> "UserVectors | UserParts":
        """Read B user texts."""
        return UserVectors(self._read(users, USER_SIDE))

    def encode_items(self, items: Ragged) -> ItemStates:
        """Read S item texts; a state is one row, the item's vector."""
        return ItemStates(self._read(items, ITEM_SIDE), Layout(torch.ones_like(items.lengths)))

    def item_vectors(self, items: ItemStates) -> Tensor:
        """See `PairScorer`."""
        return items.states.float()

    def _read(self, texts: Ragged, side: int) -> Tensor:
        states = self.backbone.embed(texts.ids, texts.layout.position, side)
        return mean_vectors(self._own_blocks(states, texts.layout, self.backbone.stack), texts.layout)


class DotScorer(TowerScorer):
    """The cosine of the two vectors, scaled and shifted."""

    name: ClassVar[str] = "dot"
    head: nn.Linear

    def __init__(self, backbone: Backbone, *, outputs: int = 1) -> None:
        super().__init__(backbone, nn.Linear(1, outputs), outputs)
        nn.init.constant_(self.head.weight, _SHARPNESS)
        nn.init.zeros_(self.head.bias)

    def pair_outputs(self, users: UserVectors, items: ItemStates, user: Tensor, item: Tensor) -> Tensor:
        """See `Scorer`."""
        cosines = (users.vectors[user] * items.states[item]).sum(-1, keepdim=True)
        return read_off(self.head, cosines)


class BilinearScorer(TowerScorer):
    """A matrix between the two vectors, and a vector that says what items are liked whoever asks."""

    name: ClassVar[str] = "bilinear"
    head: nn.Linear

    def __init__(self, backbone: Backbone, *, outputs: int = 1) -> None:
        width = backbone.shape.width
        super().__init__(backbone, nn.Linear(width, outputs * width), outputs)
        with torch.no_grad():
            self.head.weight.copy_(_SHARPNESS * torch.eye(width).repeat(outputs, 1))
            self.head.bias.zero_()

    def pair_outputs(self, users: UserVectors, items: ItemStates, user: Tensor, item: Tensor) -> Tensor:
        """See `Scorer`."""
        turned = read_off(self.head, users.vectors).unflatten(-1, (self.outputs, -1))  # (B, outputs, D)
        products: Tensor = turned[user] * items.states[item][:, None]
        return products.sum(-1)


@dataclass(frozen=True)
class UserParts:
    """B users read part by part."""

    parts: Tensor
    """(M, D) of unit length: the profile, if any, and each item of the history, each read for itself."""
    layout: Layout
    """How many parts each user has; at least one."""

    @property
    def vectors(self) -> Tensor:
        """(B, D) of unit length."""
        return functional.normalize(self.layout.mean(self.parts), dim=-1)

    def of_users(self, first: int, last: int) -> "UserParts":
        """Return users ``first`` to ``last`` (excluded) alone."""
        return UserParts(*take(self.parts, self.layout, torch.arange(first, last, device=self.parts.device)))


def split_parts(users: Ragged) -> tuple[Ragged, Layout]:
    """Return the parts of user texts, each of which ends with the token that its text ends with, and whose they are.

    A text without parts is one token, and one part.
    """
    ids, layout = users.ids, users.layout
    ends = ids == ids[layout.starts + layout.lengths - 1][layout.sequence]
    parts = Ragged(ids, torch.bincount(torch.cumsum(ends, 0) - ends.long()))
    return parts, Layout(torch.bincount(layout.sequence[ends]))


class _Attention(nn.Module):
    """What a candidate asks the history for, and what the answer says of it."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.ask = nn.Linear(width, width, bias=False)
        self.weigh = nn.Linear(width, outputs)
        with torch.no_grad():
            self.ask.weight.copy_(_SHARPNESS * torch.eye(width))
            self.weigh.weight.fill_(_SHARPNESS)
            self.weigh.bias.zero_()

    def forward(self, items: Tensor, parts: Tensor, valid: Tensor) -> Tensor:
        """Return (P, outputs): items (P, D) ask the users' parts (P, L, D), as far as valid (P, L)."""
        asked = (self.ask(items)[:, None] * parts).sum(-1).masked_fill(~valid, -torch.inf)
        found = (asked.softmax(-1)[..., None] * parts).sum(1)
        weighed: Tensor = self.weigh(found * items)
        return weighed


class AttentionScorer(TowerScorer):
    """Weighs the items of the history by what they have to do with the candidate (DIN, Zhou et al., 2018)."""

    name: ClassVar[str] = "attention"
    head: _Attention

    def __init__(self, backbone: Backbone, *, outputs: int = 1) -> None:
        super().__init__(backbone, _Attention(backbone.shape.width, outputs), outputs)

    def encode_users(self, users: Ragged) -> UserParts:
        """Read each part of B user texts for itself."""
        parts, of_users = split_parts(users)
        return UserParts(self._read(parts, USER_SIDE), of_users)

    def pair_outputs(self, users: UserParts, items: ItemStates, user: Tensor, item: Tensor) -> Tensor:
        """See `Scorer`."""
        parts, valid = users.layout.pad(users.parts), users.layout.valid
        with torch.autocast(self.device.type, enabled=False):
            kind = self.head.ask.weight.dtype
            outputs: Tensor = self.head(items.states[item].to(kind), parts[user].to(kind), valid[user])
        return outputs.float()
