"""What fine-tuning makes smaller: the losses of a batch of lists, added up."""

import torch
from torch import Tensor, nn

from llmrec.nn.batches import Batch
from llmrec.nn.device import autocast
from llmrec.nn.losses import bpr, disagreement, distance, distilled, in_batch, listwise, two_class
from llmrec.nn.parallel import gather, mean
from llmrec.nn.plan import TrainingPlan
from llmrec.nn.positions import PositionBias
from llmrec.nn.ragged import take
from llmrec.nn.scorer import ItemStates, Scorer
from llmrec.nn.state_cache import StateCache

IN_BATCH, DISTILL = "in-batch", "distill"
RATING = frozenset({"mse", "mae"})
"""Objectives that teach ratings."""
DRAWS = frozenset({"listwise", "bpr", "two-class", DISTILL})
"""Objectives that compare with what was drawn."""
RANKING = DRAWS | {"bce"}
"""Objectives that teach what is taken."""


class Objectives(nn.Module):
    """The scorer in training: batches in, their loss out.

    ``cache`` gives the lower states of items where these do not change, because all layers below keep their weights.
    """

    def __init__(self, scorer: Scorer, plan: TrainingPlan, cache: StateCache | None) -> None:
        super().__init__()
        self.scorer = scorer
        self.positions = PositionBias() if plan.position_bias else None
        self._plan, self._cache = plan, cache

    def forward(self, fields: dict[str, Tensor]) -> Tensor:
        """Add the losses of the plan's objectives, each by its weight, ().

        With R-drop (Liang et al., 2021) a batch is read twice, with other outputs left out, and what is said the two
        times is drawn together.
        """
        batch = Batch(**fields)
        loss, logits = self._read(batch)
        if not self._plan.r_drop:
            return loss
        other, others = self._read(batch)
        return (loss + other) / 2 + self._plan.r_drop * mean(disagreement(logits, others))

    def _read(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the losses of the objectives, added, (), and the logits (P,)."""
        scorer, weights = self.scorer, self._plan.objectives
        with autocast(scorer.device):
            items = self._items(batch)
            users = scorer.encode_users(batch.users)
            outputs = scorer.pair_outputs(users, items, batch.user, batch.item)
        logits = outputs[:, 0] if self.positions is None else outputs[:, 0] + self.positions(batch.position)
        losses = [
            of * mean(self._of_pairs(name, batch, logits, outputs[:, -1]))
            for name, of in weights.items()
            if name != IN_BATCH
        ]
        if IN_BATCH in weights:
            losses.append(weights[IN_BATCH] * mean(self._of_vectors(batch, items, users.vectors)))
        return torch.stack(losses).sum(), outputs[:, 0]

    def _of_vectors(self, batch: Batch, items: ItemStates, users: Tensor) -> Tensor:
        """Return the in-batch loss of the positives, (Q,)."""
        # Of items that nobody took no vector is needed.
        liked, row = torch.unique(batch.item[batch.positive], return_inverse=True)
        with autocast(self.scorer.device):
            vectors = users.new_zeros(0, users.shape[1])
            if len(liked):
                vectors = self.scorer.item_vectors(ItemStates(*take(items.states, items.layout, liked)))[row]
        owner, everyones = batch.user[batch.positive], gather(vectors, batch.taken.tolist())
        return in_batch(users[owner], everyones, batch.shares.log(), batch.known[owner], batch.own)

    def _of_pairs(self, name: str, batch: Batch, logits: Tensor, ratings: Tensor) -> Tensor:
        """Return the losses ``name`` of the logits and ratings of pairs, both (P,)."""
        positive = batch.positive
        if name in RATING:
            known = ~batch.ratings.isnan()
            return distance(ratings[known], self._standard(batch.ratings[known]), 2 if name == "mse" else 1)
        if name == "two-class":
            return two_class(logits, positive, self._plan.label_smoothing)
        if name == "bce":
            return two_class(logits[batch.observed], positive[batch.observed], self._plan.label_smoothing)
        if name == DISTILL:
            if batch.taught.isnan().any():
                raise ValueError("objectives learn from a teacher, expected a plan that has one")
            return distilled(batch.table(logits, -torch.inf), batch.table(batch.taught, -torch.inf))
        of_lists = {"listwise": listwise, "bpr": bpr}[name]
        return of_lists(batch.table(logits, -torch.inf), batch.table(positive, False))

    def _items(self, batch: Batch) -> ItemStates:
        if self._cache is not None:
            return self._cache.states(batch.items.cpu().numpy())
        return self.scorer.encode_items(batch.texts)

    def _standard(self, ratings: Tensor) -> Tensor:
        if self._plan.ratings is None:
            raise ValueError("objectives learn ratings, expected a plan that knows their scale")
        return self._plan.ratings.outputs(ratings)
