"""The fusion ranker: gradient-boosted trees over all features of a pair, trained to rank, then calibrated."""

import json
from collections.abc import Iterable, Sequence
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

    def __init__(self, boosters: Sequence[lightgbm.Booster], slope: float, intercept: float, gains: Doubles) -> None:
        self._boosters = boosters
        self._slope, self._intercept = slope, intercept
        self.gains = gains
        """DCG@10 of each list it learned from, ranked by trees that had not seen its user, (L,); where it was loaded,
        their mean alone."""

    @property
    def gain(self) -> float:
        """Mean DCG@10 on users that the trees had not seen."""
        return float(np.mean(self.gains))

    @staticmethod
    def train(
        features: Matrix,
        liked: npt.NDArray[np.bool_],
        pairs: npt.NDArray[np.int64],
        owners: npt.NDArray[np.int64],
        *,
        seed: int,
        ensemble: int = 1,
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
            ensemble: how many sets of trees, each with a seed of its own, give the mean of their scores.
        """
        of_pair = np.repeat(np.arange(len(pairs)), pairs)
        telling = np.bincount(of_pair, liked, len(pairs)) > 0  # (L,)
        rows = telling[of_pair]
        data = lightgbm.Dataset(
            features[rows], liked[rows].astype(np.float32), group=pairs[telling], feature_name=list(NAMES)
        )
        fold = None  # of too few users, only the share of likes is learned
        likes = np.bincount(owners, telling) > 0  # by user
        if likes.sum() >= _FOLDS:
            of_user = np.zeros(len(likes), np.int64)
            for kind in (likes, ~likes):
                of_user[kind] = np.arange(kind.sum()) % _FOLDS
            fold = of_user[owners][of_pair]
        fitted = [_fit({**_PARAMETERS, "seed": seed + more}, data, rows, features, fold) for more in range(ensemble)]
        unseen = np.mean([scores for _, scores in fitted], axis=0)
        gains = _list_gains(unseen, liked, pairs)
        return Fusion([booster for booster, _ in fitted], *fit_platt(unseen, liked), gains)

    def probabilities(self, features: Matrix) -> Doubles:
        """Return the probability of each pair, (P,); a higher score has a higher probability, strictly."""
        if not len(features):
            return np.zeros(0)
        scores = np.mean([booster.predict(features, num_threads=1) for booster in self._boosters], axis=0)
        return np.asarray(expit(self._slope * scores + self._intercept), dtype=np.float64)

    def contributions(self, features: Matrix) -> npt.NDArray[np.float64]:
        """Return what each feature added to the log-odds of each pair, (P, F) (TreeSHAP, Lundberg et al., 2018)."""
        if not len(features):
            return np.zeros((0, len(NAMES)))
        added = [booster.predict(features, pred_contrib=True, num_threads=1) for booster in self._boosters]
        return np.asarray(self._slope * np.mean(added, axis=0)[:, :-1], np.float64)

    def importance(self) -> dict[str, float]:
        """Return each feature's share of the total gain."""
        gain = np.sum([booster.feature_importance("gain") for booster in self._boosters], axis=0)
        return dict(zip(NAMES, (gain / max(gain.sum(), 1e-12)).tolist(), strict=True))

    def reads(self, features: Iterable[str]) -> bool:
        """Tell whether a score depends on any of ``features``."""
        used = np.sum([booster.feature_importance("split") for booster in self._boosters], axis=0)
        splits = dict(zip(NAMES, used, strict=True))
        return any(splits[name] for name in features)

    def save(self, path: Path) -> None:
        """Write trees and calibration as JSON."""
        calibrated = {
            "slope": self._slope,
            "intercept": self._intercept,
            "gain": self.gain,
            "trees": [booster.model_to_string() for booster in self._boosters],
        }
        path.write_text(json.dumps(calibrated, indent=1), encoding="utf-8")

    @staticmethod
    def load(path: Path) -> "Fusion":
        """Read what `save` wrote; raises ArtifactError if the trees were trained on other features."""
        saved = json.loads(path.read_text(encoding="utf-8"))
        boosters = [lightgbm.Booster(model_str=trees) for trees in saved["trees"]]
        if tuple(boosters[0].feature_name()) != NAMES:
            raise ArtifactError(
                f"{path}: was trained on features {boosters[0].feature_name()}, expected {list(NAMES)}; train again"
            )
        return Fusion(boosters, saved["slope"], saved["intercept"], np.array([saved["gain"]]))


def _fit(
    parameters: dict[str, Any],
    data: lightgbm.Dataset,
    rows: npt.NDArray[np.bool_],
    features: Matrix,
    fold: npt.NDArray[np.int64] | None,
) -> tuple[lightgbm.Booster, Doubles]:
    """Return trees fitted on all of ``data``, and scores (P,) by trees without the scored user; all 0 without folds."""
    trees, unseen = _LEAST_TREES, np.zeros(len(features))
    if fold is not None:
        trees, unseen = _cross_validate(parameters, data, rows, features, fold)
    return lightgbm.train(parameters, data, trees), unseen


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


def _list_gains(scores: Doubles, liked: npt.NDArray[np.bool_], pairs: npt.NDArray[np.int64]) -> Doubles:
    """Return the DCG@10 of L lists, ``pairs`` (L,) pairs each; gains are not normalised by what is in a list."""
    owner = np.repeat(np.arange(len(pairs)), pairs)
    order = np.lexsort((-scores, owner))
    place = np.arange(len(owner)) - (np.cumsum(pairs) - pairs)[owner]
    gains = np.where(liked[order] & (place < 10), 1 / np.log2(place + 2), 0)
    return np.bincount(owner, gains, len(pairs)).astype(np.float64)
