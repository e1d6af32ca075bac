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
    return losses[is_positive].mean() if is_positive.any() else logits[is_positive].sum()


def bpr(logits: Tensor, is_positive: Tensor) -> Tensor:
    """Each positive above each negative of its list, by a logistic curve, averaged (BPR, Rendle et al., 2009).

    Args:
        logits: (B, C) one row per user; -inf where padded.
        is_positive: (B, C) True for the items the user took.
    """
    ordered = is_positive[:, :, None] & (~is_positive & logits.isfinite())[:, None, :]
    more = (logits[:, :, None] - logits[:, None, :])[ordered]
    return functional.softplus(-more).mean() if len(more) else logits[is_positive].sum() * 0


def two_class(logits: Tensor, taken: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy of the two classes, taken or not, averaged over pairs.

    Args:
        logits: (P,) log-odds.
        taken: (P,) of bool.
        smoothing: how far the truth is moved towards even chances, 0 to 1.
    """
    chance = taken.to(logits.dtype) * (1 - smoothing) + smoothing / 2
    return functional.binary_cross_entropy_with_logits(logits, chance) if len(logits) else logits.sum()


def disagreement(logits: Tensor, others: Tensor) -> Tensor:
    """Kullback-Leibler divergence of two chances of each pair, both ways, averaged; both (P,) are log-odds."""
    return ((logits.sigmoid() - others.sigmoid()) * (logits - others)).mean() / 2


def distance(outputs: Tensor, ratings: Tensor, power: int) -> Tensor:
    """Mean absolute (``power`` 1) or squared (2) difference of two (P,)."""
    return (outputs - ratings).abs().pow(power).mean() if len(outputs) else outputs.sum()


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
