"""Which validation users decide when to stop, and by which the ranker learns."""

from pyspark.sql import DataFrame

from llmrec import columns as C
from llmrec.nn.panel import Panel
from llmrec.settings.config import Config
from llmrec.spark.users import TARGETS, sample_users, to_users

_STOPPING = (0.0, 0.2)
"""Slice of the users by hash from which those come who decide early stopping; they never teach the ranker."""


def stopping_users(judges: DataFrame, config: Config) -> DataFrame:
    """Choose those of the validation users who decide early stopping, and whether a model may become champion."""
    return sample_users(judges, config.train.max_validation_users, "learn", _STOPPING)


def teaching_users(judges: DataFrame, config: Config) -> DataFrame:
    """Keep the other validation users, by whom the ranker learns."""
    return judges.join(stopping_users(judges, config).select(C.USER), on=C.USER, how="left_anti")


def stopping_panel(judges: DataFrame) -> Panel:
    """Gather those who decide early stopping, as `stopping_users` chooses them, on the driver."""
    rows = judges.toPandas()
    return Panel(to_users(rows), [set(targets.tolist()) for targets in rows[TARGETS]])
