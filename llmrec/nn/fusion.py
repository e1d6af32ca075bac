"""The fusion ranker: gradient-boosted trees over all features of a pair, trained to rank, then calibrated."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
from scipy.special import expit

from llmrec.domain.features import NAMES
from llmrec.errors import ArtifactError
from llmrec.nn.platt import Doubles, fit_platt

Matrix = npt.NDArray[np.float32]

_PARAMETERS = {
    "objective": "lambdarank",
    "lambdarank_truncation_level": 20,
    "metric": "ndcg",
    "eval_at": [10],
    "num_leaves": 7,
    "learning_rate": 0.05,
    "min_data_in_leaf": 50,
    "lambda_l2": 5.0,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "feature_fraction": 0.5,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}
_LEAST_TREES, _MOST_TREES, _PATIENCE = 60, 400, 60
"""With fewer trees many pairs would have equal scores."""
_FOLDS = 4


class Fusion:
    """Ranks pairs from their features (LambdaMART, Burges 2010) and gives their probabilities (Platt, 1999)."""

    def __init__(self, booster: lightgbm.Booster, slope: float, intercept: float, gain: float = 0.0) -> None:
        self._booster = booster
        self._slope, self._intercept = slope, intercept
        self.gain = gain
        """Mean DCG@10 of the lists it learned from, each ranked by trees that had not seen its user."""

    @staticmethod
    def train(
        features: Matrix,
        liked: npt.NDArray[np.bool_],
        pairs: npt.NDArray[np.int64],
        owners: npt.NDArray[np.int64],
        *,
        seed: int,
    ) -> "Fusion":
        """Fit on the pairs of L lists, end to end.

        Trees learn from lists with a like, since others tell nothing of order. How many trees, cross-validation by
        users decides. Its scores of users that the trees had not seen, with a like or not, are what calibration is
        fitted on.

        Args:
            features: (P, F).
            liked: (P,), at least one of each kind.
            pairs: (L,) how many pairs each list has.
            owners: (L,) the user of each list, from 0 on; one may have several.
            seed: of sampling.
        """
        of_pair = np.repeat(np.arange(len(pairs)), pairs)
        telling = np.bincount(of_pair, liked, len(pairs)) > 0  # (L,)
        rows = telling[of_pair]
        parameters = {**_PARAMETERS, "seed": seed}
        data = lightgbm.Dataset(
            features[rows], liked[rows].astype(np.float32), group=pairs[telling], feature_name=list(NAMES)
        )
        trees, unseen = _LEAST_TREES, np.zeros(len(liked))  # of too few users, only the share of likes is learned
        likes = np.bincount(owners, telling) > 0  # by user
        if likes.sum() >= _FOLDS:
            fold = np.zeros(len(likes), np.int64)
            for kind in (likes, ~likes):
                fold[kind] = np.arange(kind.sum()) % _FOLDS
            trees, unseen = _cross_validate(parameters, data, rows, features, fold[owners][of_pair])
        gain = _mean_gain(unseen, liked, pairs)
        return Fusion(lightgbm.train(parameters, data, trees), *fit_platt(unseen, liked), gain)

    def probabilities(self, features: Matrix) -> Doubles:
        """Return the probability of each pair, (P,); a higher score has a higher probability, strictly."""
        if not len(features):
            return np.zeros(0)
        scores = np.asarray(self._booster.predict(features, num_threads=1), dtype=np.float64)
        return np.asarray(expit(self._slope * scores + self._intercept), dtype=np.float64)

    def contributions(self, features: Matrix) -> npt.NDArray[np.float64]:
        """Return what each feature added to the log-odds of each pair, (P, F) (TreeSHAP, Lundberg et al., 2018)."""
        if not len(features):
            return np.zeros((0, len(NAMES)))
        return self._slope * np.asarray(self._booster.predict(features, pred_contrib=True, num_threads=1))[:, :-1]

    def importance(self) -> dict[str, float]:
        """Return each feature's share of the total gain."""
        gain = self._booster.feature_importance("gain")
        return dict(zip(NAMES, (gain / max(gain.sum(), 1e-12)).tolist(), strict=True))

    def reads(self, features: Iterable[str]) -> bool:
        """Tell whether a score depends on any of ``features``."""
        splits = dict(zip(NAMES, self._booster.feature_importance("split"), strict=True))
        return any(splits[name] for name in features)

    def save(self, path: Path) -> None:
        """Write trees and calibration as JSON."""
        calibrated = {
            "slope": self._slope,
            "intercept": self._intercept,
            "gain": self.gain,
            "trees": self._booster.model_to_string(),
        }
        path.write_text(json.dumps(calibrated, indent=1), encoding="utf-8")

    @staticmethod
    def load(path: Path) -> "Fusion":
        """Read what `save` wrote; raises ArtifactError if the trees were trained on other features."""
        saved = json.loads(path.read_text(encoding="utf-8"))
        booster = lightgbm.Booster(model_str=saved["trees"])
        if tuple(booster.feature_name()) != NAMES:
            raise ArtifactError(
                f"{path}: was trained on features {booster.feature_name()}, expected {list(NAMES)}; train again"
            )
        return Fusion(booster, saved["slope"], saved["intercept"], saved["gain"])


def _cross_validate(
    parameters: dict[str, Any],
    data: lightgbm.Dataset,
    rows: npt.NDArray[np.bool_],
    features: Matrix,
    fold: npt.NDArray[np.int64],
) -> tuple[int, Doubles]:
    """Return how many trees rank unseen users best, and the scores (P,) that users got from trees without them.

    Args:
        parameters: of the trees.
        data: what they learn from: some of the pairs, ``rows`` (P,).
        rows: see ``data``.
        features: (P, F) of all pairs.
        fold: (P,) the same for all pairs of a user.
    """
    inside = fold[rows]
    folds = [(np.flatnonzero(inside != held_out), np.flatnonzero(inside == held_out)) for held_out in range(_FOLDS)]
    stop = lightgbm.early_stopping(_PATIENCE, verbose=False)
    tried = lightgbm.cv(parameters, data, _MOST_TREES, folds, callbacks=[stop], return_cvbooster=True)
    boosters: Any = tried["cvbooster"]
    trees, unseen = max(_LEAST_TREES, boosters.best_iteration), np.zeros(len(features))
    for held_out, booster in enumerate(boosters.boosters):
        unseen[fold == held_out] = booster.predict(features[fold == held_out], num_iteration=trees)
    return trees, unseen


def _mean_gain(scores: Doubles, liked: npt.NDArray[np.bool_], pairs: npt.NDArray[np.int64]) -> float:
    """Return the mean DCG@10 of L lists, ``pairs`` (L,) pairs each; gains are not normalised by what is in a list."""
    owner = np.repeat(np.arange(len(pairs)), pairs)
    order = np.lexsort((-scores, owner))
    place = np.arange(len(owner)) - (np.cumsum(pairs) - pairs)[owner]
    gains = np.where(liked[order] & (place < 10), 1 / np.log2(place + 2), 0)
    return float(gains.sum() / max(1, len(pairs)))
