"""The fusion ranker: gradient-boosted trees over all features of a pair, giving the probability that it is liked."""

from pathlib import Path

import lightgbm
import numpy as np
import numpy.typing as npt

from llmrec.domain.features import NAMES
from llmrec.errors import ArtifactError

Matrix = npt.NDArray[np.float32]

_PARAMETERS = {
    "objective": "binary",
    "num_leaves": 7,
    "learning_rate": 0.05,
    "min_data_in_leaf": 50,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "feature_fraction": 0.8,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}
_TREES = 120


class Fusion:
    """Scores pairs from their features; log loss makes the scores probabilities."""

    def __init__(self, booster: lightgbm.Booster) -> None:
        self._booster = booster

    @staticmethod
    def train(features: Matrix, liked: npt.NDArray[np.bool_], *, seed: int) -> "Fusion":
        """Fit on pairs: features (P, F) and whether each was liked (P,), at least one of each kind."""
        data = lightgbm.Dataset(features, liked.astype(np.float32), feature_name=list(NAMES))
        return Fusion(lightgbm.train({**_PARAMETERS, "seed": seed}, data, num_boost_round=_TREES))

    def probabilities(self, features: Matrix) -> npt.NDArray[np.float64]:
        """Return the probability of each pair, (P,)."""
        if not len(features):
            return np.zeros(0)
        return np.asarray(self._booster.predict(features, num_threads=1), dtype=np.float64)

    def contributions(self, features: Matrix) -> npt.NDArray[np.float64]:
        """Return what each feature added to the log-odds of each pair, (P, F) (TreeSHAP, Lundberg et al., 2018)."""
        if not len(features):
            return np.zeros((0, len(NAMES)))
        return np.asarray(self._booster.predict(features, pred_contrib=True, num_threads=1))[:, :-1]

    def importance(self) -> dict[str, float]:
        """Return each feature's share of the total gain."""
        gain = self._booster.feature_importance("gain")
        return dict(zip(NAMES, (gain / max(gain.sum(), 1e-12)).tolist(), strict=True))

    def save(self, path: Path) -> None:
        """Write the trees as text."""
        self._booster.save_model(str(path))

    @staticmethod
    def load(path: Path) -> "Fusion":
        """Read trees; raises ArtifactError if they were trained on other features."""
        booster = lightgbm.Booster(model_file=str(path))
        if tuple(booster.feature_name()) != NAMES:
            raise ArtifactError(
                f"{path}: was trained on features {booster.feature_name()}, expected {list(NAMES)}; train again"
            )
        return Fusion(booster)
