"""The ranker: what it learns from, and whether it needs what BERT says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame

from llmrec import columns as C
from llmrec.domain.features import FEATURE_ALONE
from llmrec.errors import InputTableError
from llmrec.nn.ablations import ABLATIONS
from llmrec.nn.alone import Alone
from llmrec.nn.artifact import Ranker
from llmrec.nn.catalogue import Floats
from llmrec.nn.fusion import Fusion
from llmrec.pipelines.judges import teaching_users
from llmrec.settings.config import Config
from llmrec.spark.users import in_tasks, sample_users
from llmrec.spark.workers import NightParts, pair_features

_CLEARLY = 1.645
"""What a part of BERT must earn, in standard errors: the one-sided 5 % of the normal distribution."""


@dataclass(frozen=True)
class Rankers:
    """What is fitted on validation likes."""

    ranker: Ranker
    ablations: dict[str, Fusion]
    """The same without some signals, by name of ABLATIONS."""
    fitted: dict[str, float]
    """On what: pairs, and the share of liked ones; and the gain of each ranker on users it had not seen."""


def train_ranker(judges: DataFrame, parts: NightParts, config: Config) -> Rankers:
    """Fit the ranker, and the ablations of the hybrid one, on validation likes, with features counted before them.

    Raises InputTableError if no candidate was liked.
    """
    rows = in_tasks(
        sample_users(teaching_users(judges, config), config.train.max_fusion_users, "learn"), config.score.partitions
    )
    # Partitions arrive in any order; the trees must not depend on it.
    table = pair_features(rows, parts).toArrow()
    order = pc.sort_indices(table, [(C.USER, "ascending"), ("shown_as_new", "ascending")]).to_numpy()
    liked = _numbers(table["liked"], order, np.bool_)
    if not liked.any() or liked.all():
        raise InputTableError(
            f"events: of {len(liked)} candidates of the validation users {int(liked.sum())} were liked; "
            "expected some that were and some that were not"
        )
    features = _numbers(table["features"], order, np.float32).reshape(len(liked), -1)
    sources = _numbers(table[C.SOURCES], order, np.bool_).reshape(len(liked), -1)
    pairs = pc.binary_length(table["liked"]).to_numpy()[order].astype(np.int64)
    of_pair = np.repeat(np.arange(len(pairs)), pairs)
    owners = table[C.USER].take(order).combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)

    facts = {"pairs": len(liked), "liked_share": float(liked.mean())}
    if config.train.ranker != "hybrid":
        return Rankers(Alone.train(FEATURE_ALONE[config.train.ranker], features, liked), {}, facts)

    def fit(features: Floats, kept: npt.NDArray[np.bool_]) -> Fusion:
        left = np.bincount(of_pair[kept], minlength=len(pairs))
        return Fusion.train(
            features[kept], liked[kept], left, owners, seed=config.train.seed, ensemble=config.train.ensemble
        )

    kept = {one: one.candidates(sources) for one in ABLATIONS if one.takes_away(features, sources)}
    ablations = {
        one.name: fit(one.features(features), mask) for one, mask in kept.items() if len(set(liked[mask])) == 2
    }
    whole = fit(features, np.ones_like(liked))
    gains = {f"dcg@10 {name}": one.gain for name, one in {"whole": whole, **ablations}.items()}
    return Rankers(worth_its_parts(whole, ablations), ablations, facts | gains)


def _numbers(column: pa.ChunkedArray, order: npt.NDArray[np.generic], kind: type[np.generic]) -> npt.NDArray[Any]:
    """Return the numbers of a column of bytes, its rows in ``order``, end to end; Arrow could order but 2 GiB of it."""
    rows = column.to_pylist()
    return np.frombuffer(b"".join(rows[place] for place in order), kind)


def worth_its_parts(whole: Fusion, ablations: Mapping[str, Fusion]) -> Fusion:
    """Return ``whole``, or the better of the rankers without parts of BERT if it does not clearly beat that one.

    A pair scorer that had too little time or too few events tells the trees nothing, and reading pairs costs most of a
    night, so it must prove itself. Trees that were fitted without a part never ask for it. Vectors cost little: of the
    two rankers without the pair scorer the one with the better mean is taken, the one without an encoder where equal.
    """
    without = [ablations[name] for name in ("without-bert", "without-pair-scorer") if name in ablations]
    kept = max(without, key=lambda one: one.gain, default=whole)
    if kept is whole or _clearly_better(whole, kept):
        return whole
    print(
        f"train: a ranker without some of BERT's features ranks users it had not seen about as well (mean DCG@10 "
        f"{kept.gain:.4f} for {whole.gain:.4f}), so it is kept; more events or a longer fine-tuning may change that"
    )
    return kept


def _clearly_better(one: Fusion, other: Fusion) -> bool:
    """Tell whether ``one`` ranked the same lists better than ``other``, by a paired test of their gains."""
    more = one.gains - other.gains
    return bool(more.mean() > _CLEARLY * more.std() / np.sqrt(len(more)))
