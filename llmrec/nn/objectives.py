"""What fine-tuning makes smaller: the losses of a batch of lists, added up."""

import torch
from torch import Tensor, nn

from llmrec.nn.batches import Batch
from llmrec.nn.device import autocast
from llmrec.nn.losses import in_batch, listwise
from llmrec.nn.ragged import take
from llmrec.nn.scorer import ItemStates, Scorer
from llmrec.nn.state_cache import StateCache


class Objectives(nn.Module):
    """The scorer in training: batches in, their loss out.

    ``cache`` gives the lower states of items where these do not change, because all layers below keep their weights.
    """

    def __init__(self, scorer: Scorer, cache: StateCache | None) -> None:
        super().__init__()
        self.scorer = scorer
        self._cache = cache

    def forward(self, fields: dict[str, Tensor]) -> Tensor:
        """Add the listwise loss of the pair scorer and the in-batch loss of the vectors, ()."""
        batch, scorer = Batch(**fields), self.scorer
        # Pairs of liked items: the only vectors that the second loss needs.
        liked, row = torch.unique(batch.item[batch.positive], return_inverse=True)
        with autocast(scorer.device):
            items = self._items(batch)
            users = scorer.encode_users(batch.users)
            logits = scorer.pair_logits(users, items, batch.user, batch.item)
            vectors = scorer.item_vectors(ItemStates(*take(items.states, items.layout, liked)))[row]
        owner = batch.user[batch.positive]
        lists = listwise(batch.table(logits, -torch.inf), batch.table(batch.positive, False))
        return lists + in_batch(users.vectors[owner], vectors, batch.shares.log(), batch.known[owner])

    def _items(self, batch: Batch) -> ItemStates:
        if self._cache is not None:
            return self._cache.states(batch.items.cpu().numpy())
        return self.scorer.encode_items(batch.texts)
