"""What fine-tuning is told, and what it tells."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from llmrec.nn.ratings import RatingScale
from llmrec.nn.tuning import Tuning


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how fast to learn; see settings.Train for the meaning of each."""

    seed: int
    objectives: Mapping[str, float]
    """Weight by name; see nn.objectives."""
    ratings: RatingScale | None
    """Of what is learned, where ratings are."""
    label_smoothing: float
    tuning: Tuning
    layer_decay: float
    negatives: int
    batch_examples: int
    learning_rate: float
    max_epochs: int
    max_minutes: float
    validations: int
    patience: int


@dataclass(frozen=True)
class Progress:
    """Where training stands."""

    step: int
    steps: int
    loss: float = math.nan
    """At a validation, the mean since the last one."""
    ndcg: float | None = None
    """At a validation, the figure that decides early stopping."""


@dataclass(frozen=True)
class Outcome:
    """What training came to."""

    steps: int
    ndcg: float
    """Best validation NDCG@10, whose weights are kept."""
    ndcg_before: float
    """The same before the first step."""
    losses: list[float]
    """Mean training loss between validations."""
    learning: int
    """How many parameters learned."""
    parameters: int
    """How many there were, with those that were added."""
