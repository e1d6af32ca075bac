"""How good ranked lists are: per-user metrics, metrics of whole list sets, and how sure the averages are.

Binary relevance throughout. Definitions follow trec_eval, so that figures can be compared with other work; the tests
compare them with `ir_measures`. Per-user values are averaged by the caller, and a user without relevant items is left
out of that average. In the formulas r(i) is 1 where the i-th item is relevant, else 0, and R is the number of relevant
items.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Ranking = Sequence[Any] | npt.NDArray[Any]
Keys = AbstractSet[Any]

_RESAMPLED_AT_ONCE = 2_000_000
"""Resampled values held in memory at a time: 16 MB of positions and as much of values."""
_ALPHA = 0.05


def user_metrics(ranked: Ranking, relevant: Keys, ks: Sequence[int]) -> dict[tuple[str, int], float]:
    """Return HR, precision, recall, F1, NDCG, MRR and MAP of one user's list, by metric and k.

    A list shorter than k counts as followed by items that are not relevant. All are 0 without relevant items.

    - HR@k: 1 if any of the first k is relevant (Success@k in trec_eval).
    - precision@k = sum r(i) / k; recall@k = sum r(i) / R; F1@k: their harmonic mean (van Rijsbergen 1979).
    - NDCG@k = DCG@k / DCG of min(k, R) relevant items first, with DCG@k = sum r(i) / log2(i + 1)
      (Järvelin and Kekäläinen 2002).
    - MRR@k: 1 / position of the first relevant item, 0 if it is beyond k (Voorhees 1999).
    - MAP@k = sum r(i) precision@i / R over i <= k (trec_eval's map_cut: R, not min(k, R)).

    Raises ValueError if a k is below 1 or an item is ranked twice.

    >>> round(user_metrics(["a", "b", "c"], {"b", "z"}, [2])["NDCG", 2], 4)
    0.3869
    """
    if min(ks, default=1) < 1:
        raise ValueError(f"each k must be at least 1, got {list(ks)}")
    items = list(ranked[: max(ks, default=0)])
    if len(set(items)) < len(items):
        raise ValueError(
            f"ranked must not hold an item twice, got {len(items)} items, {len(set(items))} of them different"
        )
    positions = [position for position, item in enumerate(items, start=1) if item in relevant]
    values: dict[tuple[str, int], float] = {}
    for k in ks:
        found = [position for position in positions if position <= k]
        precision = len(found) / k
        recall = len(found) / len(relevant) if relevant else 0.0
        ideal = sum(1 / math.log2(i + 1) for i in range(1, min(k, len(relevant)) + 1))
        gained = sum(1 / math.log2(i + 1) for i in found)
        precisions = sum(hits / position for hits, position in enumerate(found, start=1))
        values["HR", k] = float(bool(found))
        values["precision", k] = precision
        values["recall", k] = recall
        values["F1", k] = 2 * precision * recall / (precision + recall) if found else 0.0
        values["NDCG", k] = gained / ideal if found else 0.0
        values["MRR", k] = 1 / found[0] if found else 0.0
        values["MAP", k] = precisions / len(relevant) if found else 0.0
    return values


def auc(ranked: Ranking, relevant: Keys, catalogue_size: int) -> float | None:
    """Return the share of (relevant, other) pairs of the catalogue in the right order; None if there is no such pair.

    AUC of one user (Rendle et al. 2009, BPR) over all ``catalogue_size`` rankable items: those not in ``ranked`` tie
    below it, and a tie counts half. ``relevant`` holds rankable items only.
    Raises ValueError if ``ranked`` and ``relevant`` together have more than ``catalogue_size`` items.
    """
    hits = np.fromiter((item in relevant for item in ranked), dtype=bool, count=len(ranked))
    found, others = int(hits.sum()), catalogue_size - len(relevant)
    if len(ranked) + len(relevant) - found > catalogue_size:
        raise ValueError(
            f"catalogue_size is {catalogue_size}, expected at least the {len(ranked) + len(relevant) - found}"
            " items that are ranked or relevant"
        )
    if not relevant or not others:
        return None
    others_above = np.cumsum(~hits)[hits]
    won = float((others - others_above).sum())
    tied = (len(relevant) - found) * (others - (len(ranked) - found))
    return (won + tied / 2) / (len(relevant) * others)


def bootstrap_interval(values: Floats, resamples: int, seed: int) -> tuple[float, float, float]:
    """Return the mean of ``values``, (users,), with the bounds of its 95 % bootstrap percentile interval.

    Efron and Tibshirani 1993, chapter 13; users are resampled. Raises ValueError if there are none.
    """
    means = _resampled_means(values, resamples, seed)
    low, high = np.quantile(means, [_ALPHA / 2, 1 - _ALPHA / 2])
    return float(np.mean(values)), float(low), float(high)


def paired_bootstrap(a: Floats, b: Floats, resamples: int, seed: int) -> tuple[float, float, float, float]:
    """Return mean(a - b) with its 95 % interval and a two-sided p-value; both (users,), same users in the same order.

    The p-value is the share of resampled differences, shifted to a mean of zero, that lie at least as far from zero as
    the one observed (Efron and Tibshirani 1993, chapter 16; for rankings Sakai 2006); the observed one counts as a
    resample, so p is never 0 (Davison and Hinkley 1997). Raises ValueError if the lengths differ or are 0.
    """
    if len(a) != len(b):
        raise ValueError(f"a and b must hold the same users, got {len(a)} and {len(b)} values")
    differences = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    means = _resampled_means(differences, resamples, seed)
    observed = float(differences.mean())
    low, high = np.quantile(means, [_ALPHA / 2, 1 - _ALPHA / 2])
    as_far = int((np.abs(means - observed) >= abs(observed)).sum())
    return observed, float(low), float(high), (1 + as_far) / (1 + resamples)


def _resampled_means(values: Floats, resamples: int, seed: int) -> npt.NDArray[np.float64]:
    """Return the means of ``resamples`` samples of users drawn with replacement, in bounded memory."""
    values = np.asarray(values, dtype=np.float64)
    if not len(values) or resamples < 1:
        raise ValueError(f"needs at least one user and one resample, got {len(values)} and {resamples}")
    random = np.random.default_rng(seed)
    step = max(1, _RESAMPLED_AT_ONCE // len(values))
    means = np.empty(resamples)
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        means[start : start + count] = values[random.integers(len(values), size=(count, len(values)))].mean(axis=1)
    return means


def coverage(lists: Iterable[Ranking], catalogue_size: int) -> float:
    """Return the share of the catalogue that stands in at least one list (Ge et al. 2010, catalogue coverage)."""
    if catalogue_size < 1:
        raise ValueError(f"catalogue_size must be at least 1, got {catalogue_size}")
    return len({item for ranked in lists for item in ranked}) / catalogue_size


def novelty(ranked: Ranking, popularity: Mapping[Any, float], unseen: float | None = None) -> float:
    """Return the mean self-information -log2 p of a list in bits (Zhou et al. 2010); 0 for an empty list.

    Args:
        ranked: one user's items.
        popularity: p of each item, its share of all users or events, above 0.
        unseen: p of items that ``popularity`` lacks, for instance 1 / (events + 1).

    Raises ValueError for an item without a share if ``unseen`` is not given, or with a share of 0.
    """
    shares = [popularity.get(item, unseen) for item in ranked]
    bits = [-math.log2(share) for share in shares if share]
    if len(bits) < len(shares):
        raise ValueError(f"{len(shares) - len(bits)} of {len(shares)} items have no popularity share above 0")
    return sum(bits) / len(bits) if bits else 0.0


def diversity(vectors: Floats) -> float | None:
    """Return the mean of 1 - cosine over all pairs of a list's ``vectors``, (n, D); None if there is no pair.

    Intra-list diversity (Ziegler et al. 2005). A zero vector has cosine 0 with every other.
    """
    count = len(vectors)
    if count < 2:
        return None
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, lengths, out=np.zeros(vectors.shape), where=lengths > 0)
    cosines = float(np.square(unit.sum(axis=0)).sum() - np.square(unit).sum())
    return 1 - cosines / (count * (count - 1))


def log_loss(predicted: Floats, came_true: npt.NDArray[np.bool_]) -> float:
    """Return the sum of -log of the probability given to what happened (Good 1952), both (n,); 0 for none.

    Probabilities of 0 and 1 count as 1e-6 away from that.
    """
    sure = np.clip(np.asarray(predicted, np.float64), 1e-6, 1 - 1e-6)
    return float(-np.log(np.where(came_true, sure, 1 - sure)).sum())


def expected_calibration_error(
    predicted_sum: Floats, label_sum: Floats, count: Floats | npt.NDArray[np.int64]
) -> float:
    """Return the mean distance of predicted and observed probability, weighted by bin size (Naeini et al. 2015).

    Args:
        predicted_sum: sum of predicted probabilities per bin, (bins,).
        label_sum: number of pairs in the bin that came true, (bins,).
        count: number of pairs in the bin, (bins,); empty bins do not matter.

    Raises ValueError if all bins are empty.
    """
    pairs = float(np.sum(count))
    if pairs <= 0:
        raise ValueError(f"needs at least one pair, got {pairs:g} over all bins")
    return float(np.abs(np.subtract(predicted_sum, label_sum)).sum() / pairs)
