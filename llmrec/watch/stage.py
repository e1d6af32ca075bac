"""What one stage of a run did."""

from dataclasses import dataclass, field
from datetime import datetime, timezone

SCORED = "pairs scored"
"""The count by which a stage that scores pairs says how many it did."""


@dataclass
class Stage:
    """Filled in by the job while it runs."""

    name: str
    rows_in: int | None = None
    rows_out: int | None = None
    counts: dict[str, int] = field(default_factory=dict)
    started_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    seconds: float = 0.0
    status: str = "running"
    message: str | None = None

    @property
    def pairs_per_second(self) -> float | None:
        """Pairs that the model scored, over the whole stage's time; None for a stage that scores none."""
        if SCORED not in self.counts or not self.seconds:
            return None
        return self.counts[SCORED] / self.seconds
