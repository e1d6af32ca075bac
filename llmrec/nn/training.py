"""Fine-tuning of the encoder: the pair scorer and the dense vectors learn together from one pass over each user."""

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from llmrec.domain.users import Items, User
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.device import autocast
from llmrec.nn.examples import Example, NegativeSampler, cut_examples
from llmrec.nn.losses import in_batch, listwise
from llmrec.nn.ragged import Ragged, take
from llmrec.nn.scorer import ItemStates, Scorer
from llmrec.nn.state_cache import StateCache
from llmrec.nn.tokens import Pieces, Tokens


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how fast to learn; see settings.Train for the meaning of each."""

    seed: int
    frozen_layers: int
    max_examples: int
    positives: int
    negatives: int
    batch_examples: int
    learning_rate: float
    max_epochs: int
    max_minutes: float
    validations: int
    patience: int


@dataclass(frozen=True)
class Progress:
    """Where training stands."""

    step: int
    steps: int
    loss: float
    """Mean since the last report."""
    ndcg: float | None
    """At a validation, the figure that decides early stopping."""


@dataclass(frozen=True)
class Outcome:
    """What training came to."""

    steps: int
    ndcg: float
    """Best validation NDCG@10, whose weights are kept."""
    ndcg_before: float
    """The same before the first step."""
    losses: list[float]
    """Mean training loss between validations."""


_WARM_UP, _LEAST = 0.1, 0.01
_SLACK = 0.01
Judge = Callable[[], float]
"""Returns the validation figure of the scorer as it is now; higher is better."""


def fine_tune(
    scorer: Scorer,
    tokens: Tokens,
    catalogue: Catalogue,
    users: Sequence[User],
    plan: TrainingPlan,
    judge: Judge,
    report: Callable[[Progress], None],
) -> Outcome:
    """Train ``scorer`` in place and leave it with the weights of its best validation.

    Raises ValueError if no user has two liked items, and FloatingPointError if the loss is not finite.
    """
    torch.manual_seed(plan.seed)
    rng = np.random.default_rng(plan.seed)
    epoch = len(cut_examples(users, plan.positives, plan.max_examples, np.random.default_rng(plan.seed)))
    if not epoch:
        raise ValueError(f"no training example among {len(users)} users: none has two liked items before the cut-off")
    per_epoch = math.ceil(epoch / plan.batch_examples)
    steps, every = per_epoch * plan.max_epochs, max(1, per_epoch // plan.validations)
    scorer.backbone.freeze_lower(plan.frozen_layers)
    learner = _Learner(scorer, tokens, catalogue, NegativeSampler(catalogue, rng), plan)
    best = _Best(scorer, judge)
    report(Progress(0, steps, math.nan, best.figure))

    started, before, losses, pending = time.monotonic(), best.figure, [], []
    for step, batch in enumerate(_batches(users, plan, rng), start=1):
        spent = (time.monotonic() - started) / (60 * plan.max_minutes)
        pending.append(learner.learn(batch, _done((step - 1) / steps, spent)))
        if not math.isfinite(pending[-1]):
            raise FloatingPointError(f"training loss is {pending[-1]} at step {step}")
        late = spent > 1
        if step % every and step != steps and not late:
            report(Progress(step, steps, float(np.mean(pending)), None))
            continue
        losses.append(float(np.mean(pending)))
        pending.clear()
        report(Progress(step, steps, losses[-1], best.look()))
        if best.stale >= plan.patience or late:
            break
    best.restore()
    return Outcome(step, best.figure, before, losses)


def _batches(users: Sequence[User], plan: TrainingPlan, rng: np.random.Generator) -> Iterator[list[Example]]:
    for _ in range(plan.max_epochs):
        examples = cut_examples(users, plan.positives, plan.max_examples, rng)
        for start in range(0, len(examples), plan.batch_examples):
            yield examples[start : start + plan.batch_examples]


class _Best:
    """Keeps the weights of the best validation so far."""

    def __init__(self, scorer: Scorer, judge: Judge) -> None:
        self._scorer, self._judge = scorer, judge
        self.figure, self.stale = -math.inf, 0
        self.look()

    def look(self) -> float:
        """Validate, and keep the weights if they are better than ever before."""
        self._scorer.eval()
        figure = self._judge()
        if figure > self.figure:
            self.figure, self.stale = figure, 0
            self._weights = copy.deepcopy(self._scorer.state_dict())
        else:
            self.stale += 1
        return figure

    def restore(self) -> None:
        """Put the best weights back."""
        self._scorer.load_state_dict(self._weights)
        self._scorer.eval()


class _Learner:
    """Takes optimiser steps."""

    def __init__(
        self,
        scorer: Scorer,
        tokens: Tokens,
        catalogue: Catalogue,
        sampler: NegativeSampler,
        plan: TrainingPlan,
    ) -> None:
        self._scorer, self._tokens, self._catalogue = scorer, tokens, catalogue
        self._sampler, self._negatives = sampler, plan.negatives
        # Where all lower layers keep their weights, so do the states of items after them.
        constant = plan.frozen_layers and plan.frozen_layers >= scorer.cached_layers
        self._frozen = StateCache(scorer, tokens, catalogue) if constant else None
        self._optimiser = _optimiser(scorer, plan.learning_rate)
        self._rates = [group["lr"] for group in self._optimiser.param_groups]

    def learn(self, examples: Sequence[Example], done: float) -> float:
        """Take one step on ``examples``, the share ``done`` of all learning lying behind, and return their loss."""
        for group, rate in zip(self._optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * _share_of_rate(done)
        self._scorer.train()
        loss = self._loss(examples)
        self._optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._scorer.parameters(), 1.0)
        self._optimiser.step()
        return loss.item()

    def _loss(self, examples: Sequence[Example]) -> Tensor:
        """Add the listwise loss of the pair scorer and the in-batch loss of the vectors."""
        device = self._scorer.device
        lists = [np.concatenate([e.positives, self._sampler.draw(e, self._negatives)]) for e in examples]
        distinct, place = np.unique(np.concatenate(lists), return_inverse=True)
        item = torch.from_numpy(place).to(device)
        sizes = torch.tensor([len(one) for one in lists], device=device)
        user = torch.repeat_interleave(torch.arange(len(examples), device=device), sizes)
        column = torch.arange(len(user), device=device) - (torch.cumsum(sizes, 0) - sizes)[user]
        taken = torch.tensor([len(e.positives) for e in examples], device=device)
        is_positive = torch.arange(int(sizes.max()), device=device)[None, :] < taken[:, None]
        of_positive = is_positive[user, column]  # pairs of liked items: the only vectors that the second loss needs
        liked, row = torch.unique(item[of_positive], return_inverse=True)

        with autocast(device):
            items = self._item_states(distinct)
            users = self._scorer.encode_users(Ragged.of(self._user_sequences(examples), device))
            logits = self._scorer.pair_logits(users, items, user, item)
            vectors = self._scorer.item_vectors(ItemStates(*take(items.states, items.layout, liked)))[row]

        table = torch.full(is_positive.shape, -torch.inf, device=device).index_put((user, column), logits)
        owner = user[of_positive]
        share, known = self._shares_and_known(examples)
        return listwise(table, is_positive) + in_batch(
            users.vectors[owner], vectors, share.log().to(device), known.to(device)[owner]
        )

    def _item_states(self, items: Items) -> ItemStates:
        if self._frozen is not None:
            return self._frozen.states(items)
        sequences = [self._tokens.item_sequence(self._catalogue.pieces(item)) for item in items]
        return self._scorer.encode_items(Ragged.of(sequences, self._scorer.device))

    def _user_sequences(self, examples: Sequence[Example]) -> list[Pieces]:
        profiles = self._tokens.pieces([e.user.text for e in examples], self._tokens.limits.max_user_tokens)
        return [
            self._tokens.user_sequence(profile, [self._catalogue.pieces(item) for item in e.history])
            for e, profile in zip(examples, profiles, strict=True)
        ]

    def _shares_and_known(self, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
        """Return each positive's share of all events (Q,), and which of them each user has taken (B, Q)."""
        chosen = np.concatenate([e.positives for e in examples])
        counts = np.asarray(self._catalogue.taken)
        share = (counts[chosen] + 1) / (counts.sum() + len(counts))
        known = np.stack([np.isin(chosen, e.user.seen) for e in examples])
        return torch.from_numpy(share).float(), torch.from_numpy(known)


def _optimiser(scorer: Scorer, rate: float) -> torch.optim.Optimizer:
    head = {"params": list(scorer.head.parameters()), "lr": 10 * rate}
    body = {"params": [p for p in scorer.backbone.parameters() if p.requires_grad], "lr": rate}
    return torch.optim.AdamW([group for group in (body, head) if group["params"]], weight_decay=0.01, fused=True)


def _done(of_steps: float, of_time: float) -> float:
    """Return how much of the learning lies behind: by the steps, unless time will run out before them.

    The clock has no say in a run that it does not cut short, so that this one can be repeated.
    """
    return of_steps if of_time < of_steps + _SLACK else min(of_time, 1.0)


def _share_of_rate(done: float) -> float:
    """Warm up over the first tenth, then decay linearly; no step is without any effect."""
    return max(_LEAST, min(done / _WARM_UP, (1 - done) / (1 - _WARM_UP)))
