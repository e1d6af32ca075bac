"""The user-prefix cross-encoder: reads a user's text once and scores many candidates against it.

User tokens attend to user tokens. A candidate's tokens attend to their own candidate only in the first
``cached_layers`` blocks, and to the user's tokens as well in the blocks above; the logit is read at the candidate's
own first token. Positions start at zero on both sides and token types tell them apart. The idea of splitting the
lower layers is that of PreTTR (MacAvaney et al., 2020) and DeFormer (Cao et al., 2020).

The same encoder gives the vectors of dense retrieval: the mean of the last states of a text that attends to itself.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from llmrec.nn.backbone import Backbone, Block
from llmrec.nn.ragged import Layout, Ragged, take
from llmrec.nn.scorer import ITEM_SIDE, USER_SIDE, ItemStates, Scorer, fresh_head, mean_vectors, read_off

# Shape letters: B users, P pairs, S sequences, N tokens, T longest sequence, H heads, E head width, D = H * E.


@dataclass(frozen=True)
class UserStates:
    """What candidates need of B users: keys and values of every upper block, and the dense vectors."""

    keys: list[Tensor]
    """(B, H, T, E) per block from ``cached_layers`` on."""
    values: list[Tensor]
    """Like ``keys``."""
    valid: Tensor
    """(B, T) False where padded."""
    vectors: Tensor
    """(B, D) of unit length."""

    def of_users(self, first: int, last: int) -> "UserStates":
        """Return the states of users ``first`` to ``last`` (excluded) alone."""
        part = slice(first, last)
        return UserStates(
            [key[part] for key in self.keys],
            [value[part] for value in self.values],
            self.valid[part],
            self.vectors[part],
        )


class PrefixScorer(Scorer):
    """Scores (user, candidate) pairs and gives user and item vectors.

    Raises ValueError if ``cached_layers`` leaves no block in which the candidate sees the user.
    """

    name: ClassVar[str] = "prefix"
    head: nn.Linear

    def __init__(self, backbone: Backbone, *, cached_layers: int, outputs: int = 1) -> None:
        if not 0 <= cached_layers < len(backbone.stack):
            raise ValueError(
                f"train.cached_layers is {cached_layers}, expected 0 to {len(backbone.stack) - 1}: "
                f"the encoder has {len(backbone.stack)} layers and one must see the user"
            )
        super().__init__(backbone, cached_layers, fresh_head(backbone.shape.width, outputs), outputs)

    def encode_users(self, users: Ragged) -> UserStates:
        """Read B user texts once."""
        layout = users.layout
        states = self.backbone.embed(users.ids, layout.position, USER_SIDE)
        keys, values = [], []
        for depth, block in enumerate(self.backbone.stack):
            key, value = self._split(block.key(states)), self._split(block.value(states))
            if depth >= self.cached_layers:
                seen = block.with_virtual(layout.pad(key).transpose(1, 2), layout.pad(value).transpose(1, 2))
                keys.append(seen[0])
                values.append(seen[1])
            states = block.after_attention(states, self._attend_own(block, states, key, value, layout))
        return UserStates(keys, values, self.backbone.with_virtual(layout.valid), mean_vectors(states, layout))

    def encode_items(self, items: Ragged) -> ItemStates:
        """Run S item texts through the lower blocks, which do not depend on the user."""
        states = self.backbone.embed(items.ids, items.layout.position, ITEM_SIDE)
        states = self._own_blocks(states, items.layout, self.backbone.stack[: self.cached_layers])
        return ItemStates(states, items.layout)

    def item_vectors(self, items: ItemStates) -> Tensor:
        """Finish S items alone, for dense retrieval: (S, D) of unit length."""
        states = self._own_blocks(items.states, items.layout, self.backbone.stack[self.cached_layers :])
        return mean_vectors(states, items.layout)

    def pair_outputs(self, users: UserStates, items: ItemStates, user: Tensor, item: Tensor) -> Tensor:
        """See `Scorer`."""
        states, layout = take(items.states, items.layout, item)
        by_user = Layout(torch.bincount(user[layout.sequence], minlength=len(users.valid)))
        upper = self.backbone.stack[self.cached_layers :]
        for block, key, value in zip(upper[:-1], users.keys, users.values, strict=False):
            attended = self._attend_user_and_own(
                block, states, states, layout, layout, by_user, key, value, users.valid
            )
            states = block.after_attention(states, attended)
        # Only the first token of each candidate is read, so the last block computes nothing else.
        first = Layout(torch.ones_like(layout.lengths))
        first_by_user = Layout(torch.bincount(user, minlength=len(users.valid)))
        heads = states[layout.starts]
        attended = self._attend_user_and_own(
            upper[-1], heads, states, first, layout, first_by_user, users.keys[-1], users.values[-1], users.valid
        )
        return read_off(self.head, upper[-1].after_attention(heads, attended))

    def _attend_user_and_own(
        self,
        block: Block,
        asking: Tensor,
        states: Tensor,
        asking_layout: Layout,
        layout: Layout,
        by_user: Layout,
        user_key: Tensor,
        user_value: Tensor,
        user_valid: Tensor,
    ) -> Tensor:
        """One softmax over the user's tokens and the candidate's own; returns (tokens asking, D).

        ``asking`` are the states that query, grouped by candidate (asking_layout) and by user (by_user).
        """
        scale = user_key.shape[-1] ** -0.5
        query = self._split(block.query(asking)) * scale
        key = layout.pad(self._split(block.key(states))).transpose(1, 2)  # (P, H, T, E)
        value = layout.pad(self._split(block.value(states))).transpose(1, 2)
        to_user = by_user.pad(query).transpose(1, 2) @ user_key.transpose(-1, -2)  # (B, H, n, T_user)
        to_user = to_user.masked_fill(~user_valid[:, None, None, :], -torch.inf)
        to_own = asking_layout.pad(query).transpose(1, 2) @ key.transpose(-1, -2)  # (P, H, t, T)
        to_own = to_own.masked_fill(~layout.valid[:, None, None, :], -torch.inf)
        flat_user = by_user.flatten(to_user.transpose(1, 2))  # (n, H, T_user)
        flat_own = asking_layout.flatten(to_own.transpose(1, 2))  # (n, H, T)
        weights = torch.cat([flat_user, flat_own], dim=-1).softmax(-1)
        user_weights, own_weights = weights.split([flat_user.shape[-1], flat_own.shape[-1]], dim=-1)
        from_user = by_user.flatten((by_user.pad(user_weights).transpose(1, 2) @ user_value).transpose(1, 2))
        from_own = asking_layout.flatten((asking_layout.pad(own_weights).transpose(1, 2) @ value).transpose(1, 2))
        return (from_user + from_own).flatten(1)
