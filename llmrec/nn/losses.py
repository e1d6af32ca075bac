"""Training objectives of the pair scorer and of the dense vectors."""

import torch
from torch import Tensor
from torch.nn import functional

_TEMPERATURE = 0.05


def listwise(logits: Tensor, is_positive: Tensor) -> Tensor:
    """Softmax of each positive against the negatives of its list, averaged.

    Args:
        logits: (B, C) one row per user; -inf where padded.
        is_positive: (B, C) True for the items the user took.
    """
    negatives = logits.masked_fill(is_positive, -torch.inf).logsumexp(dim=1, keepdim=True)
    losses = torch.logaddexp(logits, negatives) - logits
    return losses[is_positive].mean()


def in_batch(users: Tensor, items: Tensor, log_share: Tensor, known: Tensor) -> Tensor:
    """Sampled softmax over the items of the batch, corrected for how often each is drawn (logQ; Yi et al., 2019).

    Args:
        users: unit vectors of the users of Q pairs, (Q, D).
        items: unit vectors of the items of the same pairs, (Q, D).
        log_share: log of each item's share of all draws, (Q,).
        known: (Q, Q) True where the column's item is one that the row's user has taken: not a negative.
    """
    logits = users @ items.T / _TEMPERATURE - log_share
    own = torch.eye(len(users), dtype=torch.bool, device=users.device)
    logits = logits.masked_fill(known & ~own, -torch.inf)
    return functional.cross_entropy(logits, torch.arange(len(users), device=users.device))
