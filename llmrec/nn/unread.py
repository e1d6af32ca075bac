"""In place of a scorer where no encoder reads the texts: lists come from events, words and popularity alone."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from llmrec.nn.ragged import Ragged
from llmrec.nn.scorer import ItemStates


@dataclass(frozen=True)
class Strangers:
    """Users of whom nothing was read."""

    vectors: Tensor
    """(B, 1), all 0."""

    def of_users(self, first: int, last: int) -> "Strangers":
        """See `llmrec.nn.scorer.ReadUsers`."""
        return Strangers(self.vectors[first:last])


class Unread(nn.Module):
    """A `llmrec.nn.scorer.PairScorer` without weights: vectors are of width 1 and all 0, so nothing is near to them."""

    name = "none"
    width = outputs = 1
    device = torch.device("cpu")

    def encode_users(self, users: Ragged) -> Strangers:
        """See `PairScorer`."""
        return Strangers(torch.zeros(len(users.lengths), 1))

    def encode_items(self, items: Ragged) -> ItemStates:
        """See `PairScorer`."""
        return ItemStates(torch.zeros(len(items.ids), 1), items.layout)

    def item_vectors(self, items: ItemStates) -> Tensor:
        """See `PairScorer`."""
        return torch.zeros(len(items.layout.lengths), 1)

    def pair_outputs(self, users: Strangers, items: ItemStates, user: Tensor, item: Tensor) -> Tensor:
        """See `PairScorer`; nothing is known of any pair."""
        return torch.zeros(len(user), 1)
