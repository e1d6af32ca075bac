"""One user's held-out likes against the ranked lists of several systems, all on the same rows."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmrec import columns as C
from llmrec.domain.features import COLUMN
from llmrec.domain.metrics import auc, log_loss
from llmrec.domain.ranking import best_first
from llmrec.domain.users import Items
from llmrec.nn.ablations import ABLATIONS, Ablation
from llmrec.nn.catalogue import Floats, Longs
from llmrec.nn.fusion import Fusion
from llmrec.nn.recommender import Recommender, Scored
from llmrec.nn.sources import SOURCES

LLMREC, BERT = "llmrec", "bert"
ALONE = (C.EASE, C.NEXT, C.LEXICAL, C.USER_BASED, C.COVISITATION, C.POPULARITY)
"""Sources that can rank all items by themselves."""
AMONG = (C.ALS, C.SEQUENTIAL, C.DENSE, C.SIMILAR)
"""Sources that are asked about the candidates alone."""
SYSTEMS = (LLMREC, *ALONE, *AMONG, BERT, *(one.name for one in ABLATIONS))
BINS = 10


@dataclass(frozen=True)
class Judged:
    """What evaluation needs of one user."""

    user_id: str
    new_user: bool
    """Without history."""
    targets: list[int]
    lists: list[Mapping[str, object]]
    found: list[Mapping[str, object]]
    pairs: list[int]
    """Rows of llmrec's list, by bins of their probability; likewise ``predicted`` and ``liked``, sums over them."""
    predicted: list[float]
    liked: list[int]
    loss: float
    """Log loss of the probabilities, summed over the rows of the list."""


def judge_user(
    recommender: Recommender, ablations: Mapping[str, Fusion], scored: Scored, targets: Items, longest: int
) -> Judged:
    """Rank with every system; lists are cut to ``longest`` after the AUC is taken of the whole.

    llmrec, bert and AMONG rank the candidates, ``ablations`` (rankers by name of ABLATIONS) those of the sources they
    go by; the other systems all available items they know that are not excluded.
    """
    probabilities = recommender.probabilities(scored)
    items, features = scored.proposals.items, scored.features
    ties = recommender.catalogue.popularity_place[items]  # the same for all systems, or one of them has luck
    best = best_first(probabilities, ties)
    orders = {
        LLMREC: items[best],
        **{source: scored.answers[source].best(len(recommender.catalogue)) for source in ALONE},
        **{source: _rank_by(scored.proposals.scored_by(source), items, ties) for source in AMONG},
        BERT: _rank_read(items, features[:, COLUMN["pair_logit"]], ties),
        **{one.name: _rank_without(one, ablations.get(one.name), scored, ties) for one in ABLATIONS},
    }
    rankable = int(recommender.catalogue.available.sum() - recommender.catalogue.available[scored.user.excluded].sum())
    wanted = set(targets.tolist())
    hits = np.isin(items, targets)
    shown = best[:longest]  # of the other candidates nearly all are near 0, and would hide what is wrong with these
    told, liked = probabilities[shown], hits[shown]
    bins = np.minimum((told * BINS).astype(int), BINS - 1)
    return Judged(
        user_id=scored.user.user_id,
        new_user=scored.user.without_history,
        targets=targets.tolist(),
        lists=[
            {"system": name, "items": order[:longest].tolist(), "auc": auc(order.tolist(), wanted, rankable)}
            for name, order in orders.items()
        ],
        found=_recall(scored, hits, len(wanted)),
        pairs=np.bincount(bins, minlength=BINS).tolist(),
        predicted=np.bincount(bins, told, minlength=BINS).tolist(),
        liked=np.bincount(bins, liked, minlength=BINS).astype(int).tolist(),
        loss=log_loss(told, liked),
    )


def _rank_without(ablation: Ablation, ranker: Fusion | None, scored: Scored, ties: Longs) -> Items:
    """Rank what the other sources propose; nothing, where the model has no ranker for it."""
    if ranker is None:
        return np.zeros(0, np.int32)
    kept = ablation.candidates(scored.proposals.sources)
    probabilities = ranker.probabilities(ablation.features(scored.features[kept]))
    return scored.proposals.items[kept][best_first(probabilities, ties[kept])]


def _rank_by(scores: Floats, items: Items, ties: Longs) -> Items:
    """Rank the candidates by what a source says; none, where it says nothing of any: an order by index is no answer."""
    return items[best_first(scores, ties)] if scores.any() else items[:0]


def _rank_read(items: Items, logits: Floats, ties: Longs) -> Items:
    """Rank the candidates that the pair scorer read."""
    read = np.isfinite(logits)
    return items[read][best_first(logits[read], ties[read])]


def _recall(scored: Scored, hits: npt.NDArray[np.bool_], wanted: int) -> list[Mapping[str, object]]:
    by_source = dict(zip(SOURCES, scored.proposals.sources.T, strict=True))
    by_source["union"] = np.ones_like(hits)
    return [{"source": name, "recall": float((hits & there).sum() / wanted)} for name, there in by_source.items()]
