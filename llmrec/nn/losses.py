"""Training objectives of the pair scorer and of the dense vectors; what they are averaged over is theirs to say."""

import torch
from torch import Tensor
from torch.nn import functional

_TEMPERATURE = 0.05
_SOFTNESS = 2.0
"""Temperature of distillation."""


def listwise(logits: Tensor, is_positive: Tensor) -> Tensor:
    """Softmax of each of Q positives against the negatives of its list, (Q,).

    Args:
        logits: (B, C) one row per user; -inf where padded.
        is_positive: (B, C) True for the items the user took.
    """
    negatives = logits.masked_fill(is_positive, -torch.inf).logsumexp(dim=1, keepdim=True)
    return (torch.logaddexp(logits, negatives) - logits)[is_positive]


def bpr(logits: Tensor, is_positive: Tensor) -> Tensor:
    """Each positive above each negative of its list, by a logistic curve, (comparisons,) (BPR, Rendle et al., 2009).

    Args:
        logits: (B, C) one row per user; -inf where padded.
        is_positive: (B, C) True for the items the user took.
    """
    ordered = is_positive[:, :, None] & (~is_positive & logits.isfinite())[:, None, :]
    more = (logits[:, :, None] - logits[:, None, :])[ordered]
    return functional.softplus(-more)


def two_class(logits: Tensor, taken: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy of the two classes, taken or not, (P,).

    Args:
        logits: (P,) log-odds.
        taken: (P,) of bool.
        smoothing: how far the truth is moved towards even chances, 0 to 1.
    """
    chance = taken.to(logits.dtype) * (1 - smoothing) + smoothing / 2
    return functional.binary_cross_entropy_with_logits(logits, chance, reduction="none")


def disagreement(logits: Tensor, others: Tensor) -> Tensor:
    """Kullback-Leibler divergence of two chances of each pair, mean of both ways, (P,); both (P,) are log-odds."""
    return (logits.sigmoid() - others.sigmoid()) * (logits - others) / 2


def distilled(logits: Tensor, taught: Tensor) -> Tensor:
    """Divergence (Kullback-Leibler) of the softmax over each list from a teacher's (Hinton et al., 2015), (B,).

    Both are softened by a temperature, and the divergence is multiplied by its square, so that gradients keep their
    size.

    Args:
        logits: (B, C) one row per user; -inf where padded.
        taught: (B, C) the teacher's, padded alike.
    """
    own, theirs = ((one / _SOFTNESS).log_softmax(dim=1) for one in (logits, taught))
    more = (theirs - own).masked_fill(taught.isneginf(), 0)
    return _SOFTNESS**2 * (theirs.exp() * more).sum(dim=1)


def distance(outputs: Tensor, ratings: Tensor, power: int) -> Tensor:
    """Absolute (``power`` 1) or squared (2) difference of two (P,), (P,)."""
    return (outputs - ratings).abs().pow(power)


def in_batch(users: Tensor, items: Tensor, log_share: Tensor, known: Tensor, own: Tensor) -> Tensor:
    """Sampled softmax over the items of the batch, corrected for how often each is drawn (logQ; Yi et al., 2019), (Q,).

    Args:
        users: unit vectors of the users of Q pairs, (Q, D).
        items: unit vectors of the items taken in the whole batch, (A, D).
        log_share: log of each item's share of all draws, (A,).
        known: (Q, A) True where the item is one that the user has taken: not a negative.
        own: (Q,) index into items of each pair's own.
    """
    logits = users @ items.T / _TEMPERATURE - log_share
    others = known & (torch.arange(len(items), device=own.device) != own[:, None])
    return functional.cross_entropy(logits.masked_fill(others, -torch.inf), own, reduction="none")
