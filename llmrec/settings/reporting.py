"""Settings of what is told of lists and jobs."""

from pydantic import Field, PositiveInt, model_validator

from llmrec.settings.base import Settings


class Evaluate(Settings):
    """How the pipeline is judged on the held-out events."""

    k: list[PositiveInt] = Field(default=[5, 10, 20], min_length=1)
    """List lengths of the metrics."""
    max_users: PositiveInt = 20_000
    """Users judged (a sample by hash)."""
    bootstrap: PositiveInt = 1_000
    """Resamples of users behind each confidence interval."""


class Report(Settings):
    """The HTML page."""

    path: str = "report.html"
    """Where it is written."""
    sample_users: int = Field(default=5, ge=0)
    """Users shown with what they liked and what they are recommended."""
    epsilon: float | None = Field(default=None, gt=0)
    """Counts of users by segment get Laplace noise of scale 1 / epsilon (differential privacy), from the secret key;
    null: none."""

    @model_validator(mode="after")
    def _hide_all(self) -> "Report":
        """Refuse to hide users in counts and to show some by name."""
        if self.epsilon is not None and self.sample_users:
            raise ValueError(f"epsilon hides single users: sample_users is {self.sample_users}, expected 0")
        return self


class Log(Settings):
    """What those who watch the jobs are told, beside the console and the table runs; on the driver's host. The address
    to call when a job failed is in the environment: LLMREC_FAILURE_WEBHOOK."""

    file: str | None = None
    """Where a line of JSON is added when a stage begins, when it ends, and when the run does; null: nowhere."""
    metrics_folder: str | None = None
    """Folder of Prometheus' node exporter (textfile collector): each job keeps llmrec_JOB.prom there; null: none."""
