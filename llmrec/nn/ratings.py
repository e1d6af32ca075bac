"""Ratings as the model learns and tells them."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from torch import Tensor

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class RatingScale:
    """The ratings that were learned from; the model's output counts spreads from their mean."""

    mean: float
    spread: float
    lowest: float
    highest: float

    def outputs(self, ratings: Tensor) -> Tensor:
        """Return what the model should say."""
        return (ratings - self.mean) / self.spread

    def told(self, outputs: Floats) -> Floats:
        """Return the ratings that the model's ``outputs`` stand for, none beyond those that were learned from."""
        ratings: Floats = np.clip(self.mean + self.spread * outputs, self.lowest, self.highest)
        return ratings

    def over(self, other: "RatingScale") -> "RatingScale":
        """Return this scale as far as either reaches: what an output stands for stays the same."""
        reach = min(self.lowest, other.lowest), max(self.highest, other.highest)
        return replace(self, lowest=reach[0], highest=reach[1])
