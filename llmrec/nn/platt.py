"""From scores to probabilities: a logistic curve (Platt, "Probabilistic Outputs for Support Vector Machines", 1999)."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

Doubles = npt.NDArray[np.float64]


def fit_platt(scores: Doubles, liked: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Fit slope and intercept of a logistic curve by log loss; the slope is positive, so that the order stays."""

    def loss(at: Doubles) -> float:
        odds = np.exp(at[0]) * scores + at[1]
        return float(np.mean(np.logaddexp(0, odds) - liked * odds))

    share = (liked.sum() + 1) / (len(liked) + 2)
    best = minimize(loss, np.array([0.0, np.log(share / (1 - share))]), method="Nelder-Mead").x
    return float(np.exp(best[0])), float(best[1])
