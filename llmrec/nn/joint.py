"""The ordinary cross-encoder: every pair is one text, read whole (Nogueira and Cho, 2019).

``[CLS] user [SEP] candidate [SEP]``, token types telling the two apart; two classes, taken or not, are read at the
first token. Nothing of a pair is shared with another, so it is many times slower than `PrefixScorer`: the reference for
its quality.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from llmrec.nn.backbone import Backbone
from llmrec.nn.ragged import Layout, Ragged, take
from llmrec.nn.scorer import ITEM_SIDE, USER_SIDE, ItemStates, Scorer, fresh_head, mean_vectors, read_off

# Shape letters: B users, P pairs, S sequences, N tokens, D width.


@dataclass(frozen=True)
class UserWords:
    """B users: their words, to be read again with every candidate, and their vectors."""

    words: Tensor
    """(N, D) embeddings of words, without positions."""
    layout: Layout
    vectors: Tensor
    """(B, D) of unit length."""

    def of_users(self, first: int, last: int) -> "UserWords":
        """Return users ``first`` to ``last`` (excluded) alone."""
        chosen = torch.arange(first, last, device=self.words.device)
        return UserWords(*take(self.words, self.layout, chosen), self.vectors[first:last])


class JointScorer(Scorer):
    """Scores (user, candidate) pairs, each as one text, and gives user and item vectors."""

    name: ClassVar[str] = "joint"
    head: nn.Linear

    def __init__(self, backbone: Backbone, *, outputs: int = 1) -> None:
        super().__init__(backbone, 0, fresh_head(backbone.shape.width, 1 + outputs), outputs)

    def encode_users(self, users: Ragged) -> UserWords:
        """Look up the words of B users; their vectors come of the users' texts alone."""
        words, layout = self.backbone.words(users.ids), users.layout
        return UserWords(words, layout, self._own_vectors(words, layout, USER_SIDE))

    def encode_items(self, items: Ragged) -> ItemStates:
        """Look up the words of S items; all the rest depends on the user."""
        return ItemStates(self.backbone.words(items.ids), items.layout)

    def item_vectors(self, items: ItemStates) -> Tensor:
        """Read S items alone, for dense retrieval: (S, D) of unit length."""
        return self._own_vectors(items.states, items.layout, ITEM_SIDE)

    def pair_outputs(self, users: UserWords, items: ItemStates, user: Tensor, item: Tensor) -> Tensor:
        """See `Scorer`. Each pair needs a position for each of its tokens."""
        user_words, read = take(users.words, users.layout, user)
        item_words, shown = take(items.states, items.layout, item)
        said = shown.position > 0  # the pair has one [CLS], the user's
        layout = Layout(read.lengths + shown.lengths - 1)
        after = shown.position[said] - 1 + read.lengths[shown.sequence[said]]
        states = torch.cat([
            self.backbone.place(user_words, read.position, USER_SIDE),
            self.backbone.place(item_words[said], after, ITEM_SIDE),
        ])  # fmt: skip
        places = torch.cat([
            layout.starts[read.sequence] + read.position,
            layout.starts[shown.sequence[said]] + after,
        ])  # fmt: skip
        states = self._own_blocks(states[torch.argsort(places)], layout, self.backbone.stack)
        ignored, taken, *others = read_off(self.head, states[layout.starts]).unbind(-1)
        return torch.stack([taken - ignored, *others], dim=-1)  # first the log-odds of the two classes

    def _own_vectors(self, words: Tensor, layout: Layout, side: int) -> Tensor:
        states = self.backbone.place(words, layout.position, side)
        return mean_vectors(self._own_blocks(states, layout, self.backbone.stack), layout)
