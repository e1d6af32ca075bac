"""The content-based scorer: what is like the user's items in the vectors of the pretrained encoder. Nothing learns."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from llmrec.nn.backbone import Backbone
from llmrec.nn.ragged import Layout, Ragged
from llmrec.nn.scorer import USER_SIDE, ItemStates
from llmrec.nn.towers import TowerScorer, UserParts, split_parts

# Shape letters: P pairs, S items.


class ContentScorer(TowerScorer):
    """The cosine of the item's vector and the mean of those of the user's parts (Lops et al., 2011).

    Profile and history items are each read as an item is, as the encoder reads a text that stands alone: a user whose
    history is one item, short enough to be read whole, has the vector of that item.
    """

    name: ClassVar[str] = "content"

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone, nn.Identity(), outputs=1)

    def encode_users(self, users: Ragged) -> UserParts:
        """Read each part of B user texts for itself."""
        parts, of_users = split_parts(users)
        return UserParts(self._read(_opened(parts, of_users), USER_SIDE), of_users)

    def encode_items(self, items: Ragged) -> ItemStates:
        """Read S item texts; a state is one row, the item's vector."""
        return ItemStates(self._read(items, USER_SIDE), Layout(torch.ones_like(items.lengths)))

    def pair_outputs(self, users: UserParts, items: ItemStates, user: Tensor, item: Tensor) -> Tensor:
        """See `Scorer`; (P, 1), a cosine."""
        return (users.vectors[user] * items.states[item]).sum(-1, keepdim=True).float()


def _opened(parts: Ragged, of_users: Layout) -> Ragged:
    """Put the token that opens a text before each part but the first of each user, which has it."""
    later = of_users.position > 0
    at = parts.layout.starts[later]
    copies = torch.ones_like(parts.ids)
    copies[at] = 2
    ids = parts.ids.repeat_interleave(copies)
    ids[(copies.cumsum(0) - copies)[at]] = parts.ids[:1]  # every user's text opens with the same
    return Ragged(ids, parts.lengths + later)
