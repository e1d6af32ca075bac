"""Ratings as the model learns them, and back."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class RatingScale:
    """The ratings that were learned from; the model's output counts spreads from their mean."""

    low: float
    high: float
    mean: float
    spread: float

    def outputs(self, ratings: Tensor) -> Tensor:
        """Return what the model should say."""
        return (ratings - self.mean) / self.spread

    def ratings(self, outputs: Tensor) -> Tensor:
        """Return what the model means, never outside the scale."""
        return (self.mean + self.spread * outputs).clamp(self.low, self.high)
