"""Whether a new model may take the champion's place: both, and the encoder as it was, judged by the same users.

They are the users who decided early stopping; the ranker never learned from them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame

from llmrec import columns as C
from llmrec.domain.metrics import expected_calibration_error, paired_bootstrap, user_metrics
from llmrec.nn.artifact import load_encoder
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.device import pick_device
from llmrec.nn.judging import LLMREC
from llmrec.nn.panel import PairFigures, Panel
from llmrec.nn.scorer import Scorer
from llmrec.settings.config import Config
from llmrec.spark.users import in_tasks
from llmrec.spark.workers import NightParts, judge

_K = 10
_RESAMPLES = 1_000
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ListFigures:
    """How good the lists of U users are."""

    ndcg: Floats
    """NDCG@10, (U,), users ordered by id."""
    hr: Floats
    """HR@10, (U,)."""
    loss: float
    """Mean log loss of the probability of a row."""
    calibration_error: float


@dataclass(frozen=True)
class Standing:
    """How one model does."""

    name: str
    pairs: PairFigures | None = None
    """Of its pair scorer alone; None where it has none."""
    lists: ListFigures | None = None
    """Of the lists it would publish; None before fine-tuning, when there is no ranker."""

    def means(self) -> dict[str, float]:
        """Return its figures by name."""
        found: dict[str, float] = {}
        if self.pairs is not None:
            found["pairs: NDCG@10"] = float(self.pairs.ndcg.mean())
            if np.isfinite(self.pairs.loss).any():
                found["pairs: loss"] = float(np.nanmean(self.pairs.loss))
        if self.lists is not None:
            found |= {"lists: NDCG@10": float(self.lists.ndcg.mean()), "lists: HR@10": float(self.lists.hr.mean())}
            found |= {"lists: loss": self.lists.loss, "lists: ECE": self.lists.calibration_error}
        return found


@dataclass(frozen=True)
class Comparison:
    """The difference of two models in NDCG@10, with its 95 % interval and p-value by a paired bootstrap over users."""

    by: str
    """What was compared: lists, or pair scorer."""
    other: str
    difference: float
    low: float
    high: float
    p: float

    def said(self) -> str:
        """Return it in a line."""
        return (
            f"NDCG@10 of {self.by}, new against {self.other}: {self.difference:+.4f} (95 % interval "
            f"{self.low:+.4f} to {self.high:+.4f}, paired bootstrap p = {self.p:.3f})"
        )


def trained_as(manifest: Mapping[str, Any], config: Config) -> Config:
    """Return the settings with the ranker that a model was trained with."""
    ranker = manifest["config"]["train"]["ranker"]
    return config.model_copy(update={"train": config.train.model_copy(update={"ranker": ranker})})


def judge_pairs(panel: Panel, model: Path, catalogue: Path) -> PairFigures | None:
    """Judge the pair scorer in the folder ``model``; None if there is none, or nobody to judge by."""
    scorer, tokens = load_encoder(model)
    if not isinstance(scorer, Scorer) or not panel.users:
        return None
    return panel.figures(scorer.to(pick_device()), tokens, Catalogue.load(catalogue))


def judge_lists(judges: DataFrame, parts: NightParts, tasks: int) -> ListFigures | None:
    """Judge the lists of a model; None if nobody is there to judge by.

    Input: user rows with ``targets``.
    """
    rows = judge(in_tasks(judges, tasks), parts, _K).toPandas().sort_values(C.USER)
    pairs, predicted, liked = (np.sum(rows[name].to_list(), axis=0) for name in ("pairs", "predicted", "liked"))
    if rows.empty or not np.sum(pairs):
        return None
    lists = [next(one["items"] for one in row if one["system"] == LLMREC) for row in rows["lists"]]
    found = [user_metrics(list(items), set(wanted), [_K]) for items, wanted in zip(lists, rows["targets"], strict=True)]
    return ListFigures(
        ndcg=np.array([one["NDCG", _K] for one in found]),
        hr=np.array([one["HR", _K] for one in found]),
        loss=float(rows["loss"].sum() / np.sum(pairs)),
        calibration_error=expected_calibration_error(predicted, liked, pairs),
    )


def compare(new: Standing, other: Standing, seed: int) -> Comparison | None:
    """Compare two models by their lists, or by their pair scorers where one has no lists; None where neither can be."""
    if new.lists is not None and other.lists is not None:
        by, ours, theirs = "lists", new.lists.ndcg, other.lists.ndcg
    elif new.pairs is not None and other.pairs is not None:
        by, ours, theirs = "pair scorer", new.pairs.ndcg, other.pairs.ndcg
    else:
        return None
    return Comparison(by, other.name, *paired_bootstrap(ours, theirs, _RESAMPLES, seed))


def may_follow(new: Standing, champion: Standing, margin: float) -> bool:
    """Tell whether ``new`` is not worse than ``champion`` by more than the share ``margin`` of its mean NDCG@10.

    It is no, where the lists of either cannot be judged.
    """
    if new.lists is None or champion.lists is None:
        return False
    return bool(new.lists.ndcg.mean() >= (1 - margin) * champion.lists.ndcg.mean())


def tracked(standings: Mapping[str, Standing]) -> dict[str, float]:
    """Return the figures of all models as MLflow can name them, by the names they are to have there."""
    signs = str.maketrans({"@": "_at_", ":": None, " ": "_"})
    return {
        f"{prefix}/{name.translate(signs)}": value
        for prefix, standing in standings.items()
        for name, value in standing.means().items()
    }
