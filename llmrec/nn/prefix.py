"""The user-prefix cross-encoder: reads a user's text once and scores many candidates against it.

User tokens attend to user tokens. A candidate's tokens attend to their own candidate only in the first
``cached_layers`` blocks, and to the user's tokens as well in the blocks above; the logit is read at the candidate's
own first token. The idea of splitting the lower layers is that of PreTTR (MacAvaney et al., 2020) and DeFormer (Cao et
al., 2020).

Learned positions start at zero on both sides, and token types, where there are any, tell the sides apart. Rotary ones
are distances, so the candidate stands right after the user as in one text: its tokens count from 0 and the user's up
to -1. A user's keys are turned once for all candidates, and what a candidate finds among its own tokens depends on no
user. Blocks with a window see of the user what lies within it: the end, where the latest items are.

The same encoder gives the vectors of dense retrieval: the mean of the last states of a text that attends to itself.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from llmrec.nn.backbone import Backbone, Block, whole
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
    position: Tensor
    """(B, T) before the candidate's first token, which is 0."""
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
            self.position[part],
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
        states = whole(self.backbone.embed(users.ids, layout.position, USER_SIDE))
        position = layout.position - layout.lengths[layout.sequence]
        keys, values = [], []
        for depth, block in enumerate(self.backbone.stack):
            key, value = block.keys_values(states, position)
            if depth >= self.cached_layers:
                seen = block.with_virtual(layout.pad(key).transpose(1, 2), layout.pad(value).transpose(1, 2))
                keys.append(seen[0])
                values.append(seen[1])
            attended = self._attend_own(block, block.queries(states, position), key, value, layout)
            states = block.after_attention(states, attended)
        return UserStates(
            keys, values, layout.pad(position), layout.valid, mean_vectors(states[: len(users.ids)], layout)
        )

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
        taken, layout = take(items.states, items.layout, item)
        states = whole(taken)
        by_user = Layout(torch.bincount(user[layout.sequence], minlength=len(users.valid)))
        upper = self.backbone.stack[self.cached_layers :]
        for depth, block in enumerate(upper[:-1]):
            attended = self._attend_user_and_own(block, depth, states, states, layout, layout, by_user, users)
            states = block.after_attention(states, attended)
        # Only the first token of each candidate is read, so the last block computes nothing else.
        first = Layout(torch.ones_like(layout.lengths))
        first_by_user = Layout(torch.bincount(user, minlength=len(users.valid)))
        heads, depth = states[layout.starts], len(upper) - 1
        attended = self._attend_user_and_own(upper[-1], depth, heads, states, first, layout, first_by_user, users)
        return read_off(self.head, upper[-1].after_attention(heads, attended))

    def _attend_user_and_own(
        self,
        block: Block,
        depth: int,
        asking: Tensor,
        states: Tensor,
        asking_layout: Layout,
        layout: Layout,
        by_user: Layout,
        users: UserStates,
    ) -> Tensor:
        """One softmax over the user's tokens and the candidate's own; returns (tokens asking, D).

        ``asking`` are the states that query, grouped by candidate (asking_layout) and by user (by_user); ``depth``
        counts the blocks that see the user.
        """
        user_key, user_value, position = users.keys[depth], users.values[depth], asking_layout.position
        query = block.queries(asking, position) * user_key.shape[-1] ** -0.5
        own_key, own_value = block.keys_values(states, layout.position)
        key, value = layout.pad(own_key).transpose(1, 2), layout.pad(own_value).transpose(1, 2)  # (P, H, T, E)
        seen = block.with_virtual_seen(block.sees(by_user.pad(position), users.position, users.valid))
        to_user = by_user.pad(query).transpose(1, 2) @ user_key.transpose(-1, -2)  # (B, H, n, T_user)
        to_user = to_user.masked_fill(~seen[:, None], -torch.inf)
        near = block.sees(asking_layout.pad(position), layout.pad(layout.position), layout.valid)
        to_own = asking_layout.pad(query).transpose(1, 2) @ key.transpose(-1, -2)  # (P, H, t, T)
        to_own = to_own.masked_fill(~near[:, None], -torch.inf)
        flat_user = by_user.flatten(to_user.transpose(1, 2))  # (n, H, T_user)
        flat_own = asking_layout.flatten(to_own.transpose(1, 2))  # (n, H, T)
        weights = torch.cat([flat_user, flat_own], dim=-1).softmax(-1)
        user_weights, own_weights = weights.split([flat_user.shape[-1], flat_own.shape[-1]], dim=-1)
        from_user = by_user.flatten((by_user.pad(user_weights).transpose(1, 2) @ user_value).transpose(1, 2))
        from_own = asking_layout.flatten((asking_layout.pad(own_weights).transpose(1, 2) @ value).transpose(1, 2))
        return (from_user + from_own).flatten(1)
