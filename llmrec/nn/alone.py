"""A ranker that goes by one feature alone: popularity, one kind of collaborative filtering, the pair scorer, ..."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from llmrec.domain.features import COLUMN, NAMES
from llmrec.errors import ArtifactError
from llmrec.nn.platt import Doubles, fit_platt

Matrix = npt.NDArray[np.float32]


class Alone:
    """Orders pairs by a feature; a logistic curve (Platt, 1999) gives their probabilities. Stands in for `Fusion`."""

    def __init__(self, feature: str, slope: float, intercept: float) -> None:
        self.feature = feature
        self._slope, self._intercept = slope, intercept

    @staticmethod
    def train(feature: str, features: Matrix, liked: npt.NDArray[np.bool_]) -> "Alone":
        """Fit the curve on pairs: ``features`` (P, F) and ``liked`` (P,), some of each kind."""
        values = features[:, COLUMN[feature]].astype(np.float64)
        known = np.isfinite(values)
        return Alone(feature, *fit_platt(values[known], liked[known]))

    def probabilities(self, features: Matrix) -> Doubles:
        """Return the probability of each pair, (P,); 0 where the feature is absent."""
        values = features[:, COLUMN[self.feature]].astype(np.float64)
        odds = self._slope * np.where(np.isfinite(values), values, -np.inf) + self._intercept
        return np.asarray(expit(odds), dtype=np.float64)

    def contributions(self, features: Matrix) -> Doubles:
        """Return what each feature added, (P, F): all is said by one."""
        added = np.zeros((len(features), len(NAMES)))
        added[:, COLUMN[self.feature]] = 1
        return added

    def importance(self) -> dict[str, float]:
        """Return each feature's share: all belongs to one."""
        return {name: float(name == self.feature) for name in NAMES}

    @staticmethod
    def wrote(path: Path) -> bool:
        """Tell whether `save` wrote this file."""
        return "feature" in json.loads(path.read_text(encoding="utf-8"))

    @staticmethod
    def load(path: Path) -> "Alone":
        """Read what `save` wrote; raises ArtifactError if there is no such feature."""
        saved = json.loads(path.read_text(encoding="utf-8"))
        if saved["feature"] not in COLUMN:
            raise ArtifactError(f"{path}: goes by the feature {saved['feature']!r}, expected one of {list(NAMES)}")
        return Alone(**saved)

    def save(self, path: Path) -> None:
        """Write feature and curve as JSON."""
        curve = {"feature": self.feature, "slope": self._slope, "intercept": self._intercept}
        path.write_text(json.dumps(curve, indent=1), encoding="utf-8")
