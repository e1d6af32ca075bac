"""The night: every eligible user's ranked list."""

import hashlib
import json
from collections.abc import Mapping
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from llmrec import __version__
from llmrec import columns as C
from llmrec.errors import InputTableError
from llmrec.nn.artifact import library_versions
from llmrec.pipelines.night import Night
from llmrec.settings.config import Config
from llmrec.settings.lists import Gates
from llmrec.settings.reporting import Log
from llmrec.spark.items import AVAILABLE
from llmrec.spark.schemas import SCHEMAS
from llmrec.spark.splits import first_moment
from llmrec.spark.tables import Commit
from llmrec.spark.workers import FAILED


class WrongListsError(RuntimeError):
    """Lists break what they promise: a bug."""


def scoring_key(
    run_date: date,
    model_version: str,
    tables: Mapping[str, Commit],
    counted: object,
    config: Config,
    pseudonyms: str | None = None,
) -> str:
    """Return what the lists of a night depend on, in 12 hexadecimal digits: the same key, the same lists.

    Args:
        run_date: the night.
        model_version: of the model.
        tables: what was read of the tables.
        counted: what was counted for the catalogue; it names what could not be.
        config: all settings; how far a night may be from others and who is told of it change no list.
        pseudonyms: fingerprint of their key; None where there are none.
    """
    sha = config.model_copy(update={"gates": Gates(), "log": Log()}).sha
    read = [f"{table} {commit.version} {commit.time}" for table, commit in sorted(tables.items())]
    named = [__version__, library_versions(), str(run_date), model_version, read, str(counted), sha, pseudonyms]
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()[:12]


def published_rows(staged: DataFrame, *, run_date: date, scene: str, model_version: str, run_id: str) -> DataFrame:
    """Turn staged lists (spark.staging) into the rows of ``recommendations``."""
    constants = {
        C.RUN_DATE: F.lit(run_date),
        C.SCENE: F.lit(scene),
        C.MODEL_VERSION: F.lit(model_version),
        C.RUN_ID: F.lit(run_id),
    }
    return staged.withColumns(constants).select(*SCHEMAS[C.RECOMMENDATIONS].names)


def users_without(staged: DataFrame) -> dict[str, int]:
    """Count the users whose lists lack a source because it failed, by source."""
    found = staged.select(C.USER, F.explode(FAILED).alias("source")).distinct().groupBy("source").count()
    return {row["source"]: row["count"] for row in found.collect()}


def check_lists(
    rows: DataFrame, night: Night, *, top_n: int, eligible: int, again_before: date | None
) -> dict[str, int]:
    """Check what is about to be published, and count it.

    Each user has distinct items at ranks 1 to at most ``top_n`` without gaps, all available, none denied to the user
    and none that the user last had on ``again_before`` or later (None: ever).
    Raises WrongListsError if not, and InputTableError if there is no row at all. Nothing is published then.
    Returns the counts users, rows, short (users with fewer than ``top_n`` rows), fallback (users without history) and
    empty (of the ``eligible`` users, those for whom no item was left).
    """
    per_user = rows.groupBy(C.USER).agg(
        F.count("*").alias("rows"),
        F.size(F.collect_set(C.ITEM)).alias("items"),  # counting distinct ones would copy each row
        F.size(F.collect_set(C.RANK)).alias("ranks"),
        F.max(C.RANK).alias("last"),
        F.max(F.array_contains(C.SOURCES, C.FALLBACK).cast("int")).alias("fallback"),
    )
    ordered = (F.col("rows") == F.col("items")) & (F.col("rows") == F.col("ranks")) & (F.col("rows") == F.col("last"))
    counts = per_user.agg(
        F.count("*").alias("users"),
        F.coalesce(F.sum("rows"), F.lit(0)).alias("rows"),
        F.coalesce(F.sum((F.col("rows") < top_n).cast("int")), F.lit(0)).alias("short"),
        F.coalesce(F.sum("fallback"), F.lit(0)).alias("fallback"),
        F.coalesce(F.sum((~ordered | (F.col("last") > top_n)).cast("int")), F.lit(0)).alias("wrong"),
    ).first()
    had = (
        night.events if again_before is None else night.events.filter(F.col(C.EVENT_TIME) >= first_moment(again_before))
    )
    listed = rows.select(C.USER, C.ITEM)  # on the right, since they are few beside events: no event need be moved
    repeated = had.select(C.USER, C.ITEM).join(listed, on=[C.USER, C.ITEM], how="left_semi").distinct().count()
    denied = rows.join(night.denied.select(C.USER, C.ITEM), on=[C.USER, C.ITEM], how="left_semi").count()
    closed = rows.join(night.items.filter(~F.col(AVAILABLE)).select(C.ITEM), on=C.ITEM, how="left_semi").count()
    values = {name: int(value) for name, value in counts.asDict().items()} if counts else {}
    if values.pop("wrong", 0) or repeated or denied or closed:
        raise WrongListsError(
            f"lists to publish are wrong: {values}, {repeated} rows of items had before, {denied} of items denied to "
            f"the user and {closed} of closed items"
        )
    if not values.get("rows"):
        raise InputTableError(f"items: none of them is left to recommend to any of {eligible} users, expected some")
    return {**values, "empty": eligible - values["users"]}


def require_users(users: DataFrame, where: str) -> int:
    """Return the number of eligible users; raise InputTableError if there is none."""
    count = users.count()
    if not count:
        raise InputTableError(f"{where}: no user has events before the run date or a profile, expected at least one")
    return count
