"""Ratings as the model learns them."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class RatingScale:
    """The ratings that were learned from; the model's output counts spreads from their mean."""

    mean: float
    spread: float

    def outputs(self, ratings: Tensor) -> Tensor:
        """Return what the model should say."""
        return (ratings - self.mean) / self.spread
