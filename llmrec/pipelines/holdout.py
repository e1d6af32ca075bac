"""What is held out of training, as the configuration says."""

from dataclasses import dataclass
from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from llmrec import columns as C
from llmrec.pipelines.night import Night, user_rows
from llmrec.settings.config import Config
from llmrec.spark.splits import PART, TEST, TRAIN, VALIDATION, split_by_last_events, split_by_time
from llmrec.spark.users import add_targets


@dataclass(frozen=True)
class Validation:
    """A night's events in parts, and its users as they were when the validation period began; all persisted."""

    parts: DataFrame
    """The events, with ``part``."""
    learning: DataFrame
    """Those of the training period."""
    until: date
    """See `counted_until`."""
    rows: DataFrame
    """A row for each user."""
    judges: DataFrame
    """Those who liked something in the validation period, with ``targets``."""


def hold_out_validation(night: Night, config: Config) -> Validation:
    """Part what is learned from and who judges it, as the configuration says."""
    until, longest = counted_until(night.run_date, VALIDATION, config), config.candidates.covisitation_events
    parts = split(night, config).persist()
    learning = parts.filter(F.col(PART) == TRAIN)
    rows = user_rows(night, learning, config, liked=longest, until=until).persist()
    judges = add_targets(rows, asked_for(parts.filter(F.col(PART) == VALIDATION), config)).persist()
    return Validation(parts, learning, until, rows, judges)


def split(night: Night, config: Config) -> DataFrame:
    """Add ``part`` to the night's events, as the configuration says."""
    holdout = config.holdout
    if holdout.by == "time":
        return split_by_time(night.events, night.run_date, holdout.days)
    return split_by_last_events(night.events, holdout.events)


def asked_for(held_out: DataFrame, config: Config) -> DataFrame:
    """Keep the events that lists are asked for: where the user's text names the scene, those of ``score.scene``."""
    return held_out.filter(F.col(C.SCENE) == config.score.scene) if config.texts.by_scene else held_out


def counted_until(run_date: date, part: str, config: Config) -> date:
    """Return the day before which the events counted for ``part`` lie: there the popularity window ends.

    By last events each user has a moment of their own, so the window ends at the run date.
    """
    if config.holdout.by == "last_events":
        return run_date
    return run_date - timedelta(days=config.holdout.days * {VALIDATION: 2, TEST: 1}[part])
