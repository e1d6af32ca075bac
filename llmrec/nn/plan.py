"""What fine-tuning is told, and what it tells."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from llmrec.nn.ratings import RatingScale
from llmrec.nn.scorer import Scorer


@dataclass(frozen=True)
class Tuning:
    """What of the encoder learns; see settings.Train for the meaning of each."""

    method: str
    rank: int
    frozen_layers: int
    frozen_embeddings: bool


@dataclass(frozen=True)
class TrainingPlan:
    """How long, how fast and by what to learn; see settings.Train for the meaning of each."""

    seed: int
    objectives: Mapping[str, float]
    negatives: int
    batch_examples: int
    learning_rate: float
    max_epochs: int
    max_minutes: float
    validations: int
    patience: int
    negatives_from: Mapping[str, float] = field(default_factory=lambda: {"covisitation": 1.0, "popularity": 1.0})
    tuning: Tuning = field(default_factory=lambda: Tuning("full", 1, 0, frozen_embeddings=False))
    ratings: RatingScale | None = None
    """Of what is learned, where ratings are."""
    teacher: Path | None = None
    """Folder of `llmrec.nn.teacher.write_teacher`, where a teacher is learned from."""
    position_bias: bool = False
    label_smoothing: float = 0.0
    layer_decay: float = 1.0
    weight_decay: float = 0.01
    warm_up: float = 0.1
    accumulated_batches: int = 1
    max_gradient: float = 1.0
    dropout: float = 0.0
    r_drop: float = 0.0
    adversarial: float = 0.0
    gradient_checkpointing: bool = False

    def steps_of_epoch(self, examples: int) -> int:
        """Return how many steps the optimiser takes in one pass over so many examples."""
        return math.ceil(math.ceil(examples / self.batch_examples) / self.accumulated_batches)


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
    positions: list[float] = field(default_factory=list)
    """What each place of a list adds to the log-odds of a click, against the first; empty where it was not learned."""


Judge = Callable[[Scorer], float]
"""Returns the validation figure of a scorer; higher is better."""
Report = Callable[[Progress], None]
