"""Gather the figures of the report from the tables: small aggregates, and rows of the sampled users only."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

import numpy as np
from pyspark.sql import DataFrame, Row
from pyspark.sql import Window as W
from pyspark.sql import functions as F

from llmrec import columns as C
from llmrec.domain.private_counts import PrivateCounts
from llmrec.errors import InputTableError
from llmrec.report.facts import (
    NEW_ITEMS,
    NEW_USERS,
    Decile,
    Evaluation,
    Facts,
    Metric,
    Published,
    SampleUser,
    SegmentCount,
    StageTime,
    Suggestion,
)
from llmrec.settings.config import Config
from llmrec.spark.items import available_on
from llmrec.spark.splits import before, likes

_RUNS_READ = 2_000
"""Latest rows of runs looked at: a night writes some twenty."""
_EVALUATIONS_READ = 10
"""Latest runs of evaluate looked at for one that wrote metrics."""
_SEGMENTS_SHOWN = 12
_TITLES_SHOWN = 10
"""Liked and recommended items shown per sampled user, at most."""


@dataclass(frozen=True)
class ReportTables:
    """What the report reads; users, runs and metrics may be empty."""

    recommendations: DataFrame
    events: DataFrame
    items: DataFrame
    users: DataFrame
    runs: DataFrame
    metrics: DataFrame


def choose_run_date(recommendations: DataFrame, wanted: date | None, where: str) -> date:
    """Return ``wanted``, or the latest run date there is.

    Raises InputTableError, naming the dates there are, if nothing was recommended for it.
    """
    rows = recommendations.select(C.RUN_DATE).distinct().orderBy(F.desc(C.RUN_DATE)).limit(400).collect()
    dates: list[date] = [row[0] for row in rows]
    if not dates:
        raise InputTableError(f"{where}: no recommendations for any run date, expected at least one; run score first")
    if wanted is None:
        return dates[0]
    if wanted not in dates:
        there = ", ".join(day.isoformat() for day in dates[:10]) + (", and earlier ones" if len(dates) > 10 else "")
        raise InputTableError(f"{where}: no recommendations for {wanted.isoformat()}; there are {there}")
    return wanted


def gather(
    tables: ReportTables, config: Config, run_date: date, now: datetime, private: PrivateCounts | None = None
) -> Facts:
    """Return what the report says about ``run_date``, for which there are recommendations.

    ``private`` adds noise to the counts of users by segment.
    """
    published = tables.recommendations.filter(F.col(C.RUN_DATE) == F.lit(run_date)).persist()
    events = before(tables.events, run_date).select(C.USER, C.ITEM, C.EVENT, C.VALUE, C.EVENT_TIME).persist()
    try:
        return _gather(replace(tables, recommendations=published, events=events), config, run_date, now, private)
    finally:
        published.unpersist()
        events.unpersist()


def _gather(
    tables: ReportTables, config: Config, run_date: date, now: datetime, private: PrivateCounts | None
) -> Facts:
    published, events = tables.recommendations, tables.events
    sizes = _list_sizes(published)
    origins = published.groupBy(C.SOURCES, C.MODEL_VERSION, C.RUN_ID).count().collect()
    catalogue = _by_popularity(published, events, tables.items.filter(available_on(run_date)))
    runs = tables.runs.orderBy(F.desc("started_at")).limit(_RUNS_READ).collect()
    return Facts(
        published=Published(
            run_date=run_date,
            rows=sizes["rows"],
            users=sizes["users"],
            items=sum(row["shown"] for row in catalogue),
            shortest=sizes["shortest"],
            longest=sizes["longest"],
            catalogue=sum(row["items"] for row in catalogue),
            model_versions=tuple(sorted({row[C.MODEL_VERSION] for row in origins})),
            run_ids=tuple(sorted({row[C.RUN_ID] for row in origins})),
        ),
        evaluation=with_noise(latest_evaluation(tables.metrics, runs), private),
        sources=source_shares(origins),
        deciles=popularity_deciles(catalogue),
        stages=latest_stages(runs),
        samples=_samples(published, events, tables.items, tables.users, config),
        config_sha=config.sha,
        written_at=now,
        segments=segment_counts(published, tables.users, private),
        epsilon=config.report.epsilon,
    )


def segment_counts(
    recommendations: DataFrame, users: DataFrame, private: PrivateCounts | None
) -> tuple[SegmentCount, ...]:
    """Count those who got a list by segment, the largest counts first; none where no user has a segment.

    With noise every segment that ``users`` name has a count: that one is counted must not say that it has somebody.
    """
    segments = users.select(C.USER, C.SEGMENT)
    served = recommendations.select(C.USER).distinct().join(segments, on=C.USER, how="left")
    found = {row[C.SEGMENT]: row["count"] for row in served.groupBy(C.SEGMENT).count().collect()}
    if private:
        named = {row[C.SEGMENT] for row in segments.select(C.SEGMENT).distinct().collect()}
        found = {name: private(f"segment {name!r}", found.get(name, 0)) for name in named | {None}}
    if all(name is None for name in found):
        return ()
    counts = [SegmentCount(name, count) for name, count in found.items()]
    ordered = sorted(counts, key=lambda one: (-one.users, one.segment or ""))
    return tuple(ordered[:_SEGMENTS_SHOWN])


def with_noise(evaluation: Evaluation | None, private: PrivateCounts | None) -> Evaluation | None:
    """Return ``evaluation`` with noise on how many users were new, and how many took a new item, if nobody too.

    Metrics of these users alone are left out: there are some only where there is such a user.
    """
    if evaluation is None or private is None:
        return evaluation
    cold = (NEW_USERS, NEW_ITEMS)
    return replace(
        evaluation,
        rows=tuple(row for row in evaluation.rows if row.segment not in cold),
        noisy={segment: private(segment, evaluation.judged_on(segment)) for segment in cold},
    )


def _list_sizes(recommendations: DataFrame) -> Row:
    lists = recommendations.groupBy(C.USER, C.SCENE).agg(F.count("*").alias("length"))
    return lists.agg(
        F.sum("length").alias("rows"),
        F.countDistinct(C.USER).alias("users"),
        F.min("length").alias("shortest"),
        F.max("length").alias("longest"),
    ).collect()[0]


def source_shares(origins: Sequence[Row]) -> tuple[tuple[str, float], ...]:
    """Return each source's share of the rows, the largest first, from counts by (sources, model version, run)."""
    rows: Counter[str] = Counter()
    for origin in origins:
        rows.update(dict.fromkeys(origin[C.SOURCES], origin["count"]))
    total = sum(origin["count"] for origin in origins)
    return tuple((source, n / total) for source, n in sorted(rows.items(), key=lambda pair: (-pair[1], pair[0])))


def _by_popularity(recommendations: DataFrame, events: DataFrame, items: DataFrame) -> list[Row]:
    """Count items, their recommended rows and those shown at all, by how often the items were taken before.

    There are few such counts, at most the root of twice the events.
    """
    taken = events.groupBy(C.ITEM).agg(F.count("*").alias("taken"))
    recommended = recommendations.groupBy(C.ITEM).agg(F.count("*").alias("recommended"))
    by_item = items.select(C.ITEM).join(taken, on=C.ITEM, how="left").join(recommended, on=C.ITEM, how="left")
    by_count = by_item.na.fill(0).groupBy("taken")
    return by_count.agg(
        F.count("*").alias("items"),
        F.sum("recommended").alias("recommended"),
        F.count_if(F.col("recommended") > 0).alias("shown"),
    ).collect()


def popularity_deciles(catalogue: Sequence[Row]) -> tuple[Decile, ...]:
    """Share recommendations and events out to tenths of the catalogue, the most popular first; none without events.

    Items taken equally often that straddle two tenths are divided in proportion.
    """
    rows = sorted(catalogue, key=lambda row: -row["taken"])
    items, taken, shown = (np.array([row[name] for row in rows], float) for name in ("items", "taken", "recommended"))
    events = items * taken
    if not events.sum() or not shown.sum():
        return ()
    borders = np.linspace(0, items.sum(), 11)
    places = np.append(0, items.cumsum())
    recommended, took = (
        np.diff(np.interp(borders, places, np.append(0, amounts.cumsum()))) / amounts.sum()
        for amounts in (shown, events)
    )
    return tuple(Decile(recommended=float(r), taken=float(t)) for r, t in zip(recommended, took, strict=True))


def latest_stages(runs: Sequence[Row]) -> tuple[StageTime, ...]:
    """Return the stages of the latest run of each job, in the order the jobs and stages ran; reports are left out."""
    latest: dict[str, str] = {}
    for row in sorted(runs, key=lambda row: row["started_at"], reverse=True):
        latest.setdefault(row["job"], row[C.RUN_ID])
    fields = ("job", "stage", "status", "seconds", "started_at", "rows_in", "rows_out")
    chosen = [row for row in runs if row["job"] != "report" and latest[row["job"]] == row[C.RUN_ID]]
    times = sorted((StageTime(**{name: row[name] for name in fields}) for row in chosen), key=lambda t: t.started_at)
    order = list(dict.fromkeys(time.job for time in times))
    return tuple(sorted(times, key=lambda time: order.index(time.job)))


def latest_evaluation(metrics: DataFrame, runs: Sequence[Row]) -> Evaluation | None:
    """Return the metrics of the latest run of evaluate that wrote any, None if there is none."""
    newest_first = sorted((run for run in runs if run["job"] == "evaluate"), key=lambda run: run["started_at"])[::-1]
    run_ids = list(dict.fromkeys(run[C.RUN_ID] for run in newest_first))[:_EVALUATIONS_READ]
    if not run_ids:
        return None
    found = metrics.filter(F.col(C.RUN_ID).isin(run_ids)).collect()
    latest = min((row[C.RUN_ID] for row in found), key=run_ids.index, default=None)
    rows = [row for row in found if row[C.RUN_ID] == latest]
    if not rows:
        return None
    fields = ("system", "metric", "segment", "value", "k", "low", "high", "users")
    return Evaluation(
        run_date=rows[0][C.RUN_DATE],
        model_version=rows[0][C.MODEL_VERSION],
        rows=tuple(Metric(**{name: row[name] for name in fields}) for row in rows),
    )


def _samples(
    recommendations: DataFrame, events: DataFrame, items: DataFrame, users: DataFrame, config: Config
) -> tuple[SampleUser, ...]:
    """Return the sampled users, those with a history first: by hash, so the same ones every night."""
    liking = events.filter(likes(config.liking.events, config.liking.min_value))
    history = liking.groupBy(C.USER).agg(F.count("*").alias("likes"))
    served = recommendations.select(C.USER).distinct().join(history, on=C.USER, how="left")
    known = F.least(F.coalesce("likes", F.lit(0)), F.lit(5))  # someone who took five things makes a telling example
    chosen = served.orderBy(F.desc(known), F.xxhash64(C.USER), C.USER).limit(config.report.sample_users).collect()
    names = [row[C.USER] for row in chosen]
    titles = items.select(C.ITEM, C.TITLE)
    shown = _suggestions(recommendations.filter(F.col(C.USER).isin(names)), titles, config.score.scene)
    past = _liked_titles(liking.filter(F.col(C.USER).isin(names)), titles)
    segments = {row[0]: row[1] for row in users.filter(F.col(C.USER).isin(names)).select(C.USER, C.SEGMENT).collect()}
    return tuple(
        SampleUser(
            user=name,
            segment=segments.get(name),
            liked=tuple(past.get(name, ())),
            suggestions=tuple(shown.get(name, ())),
        )
        for name in names
    )


def _suggestions(recommendations: DataFrame, titles: DataFrame, scene: str) -> dict[str, list[Suggestion]]:
    """Return the first rows of each user's list in ``scene``, or in the user's first scene."""
    in_scene = F.col(C.SCENE) == scene
    lists = recommendations.withColumn("lists", F.rank().over(W.partitionBy(C.USER).orderBy(F.desc(in_scene), C.SCENE)))
    top = lists.filter((F.col("lists") == 1) & (F.col(C.RANK) <= _TITLES_SHOWN))
    rows = top.join(titles, on=C.ITEM, how="left").orderBy(C.USER, C.RANK).collect()
    by_user: dict[str, list[Suggestion]] = {}
    for row in rows:
        reason = row[C.REASON] or _from_sources(row[C.SOURCES])
        suggestion = Suggestion(row[C.RANK], row[C.TITLE] or row[C.ITEM], row[C.SCORE], reason)
        by_user.setdefault(row[C.USER], []).append(suggestion)
    return by_user


def _from_sources(sources: Sequence[str]) -> str:
    return f"from {' and '.join(sources)}" if sources else ""


def _liked_titles(likes: DataFrame, titles: DataFrame) -> dict[str, list[str]]:
    """Return each user's latest liked titles, the latest first, each item once."""
    latest = likes.groupBy(C.USER, C.ITEM).agg(F.max(C.EVENT_TIME).alias(C.EVENT_TIME))
    place = F.row_number().over(W.partitionBy(C.USER).orderBy(F.desc(C.EVENT_TIME), C.ITEM))
    rows = latest.withColumn("place", place).filter(F.col("place") <= _TITLES_SHOWN)
    by_user: dict[str, list[str]] = {}
    for row in rows.join(titles, on=C.ITEM, how="left").orderBy(C.USER, "place").collect():
        by_user.setdefault(row[C.USER], []).append(row[C.TITLE] or row[C.ITEM])
    return by_user
