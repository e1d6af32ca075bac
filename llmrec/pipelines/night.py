"""What train, score and evaluate share: the catalogue of one moment, and the users as they stood then."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from llmrec import columns as C
from llmrec.domain.exploration import Exploration
from llmrec.domain.rules import ListRules
from llmrec.errors import ArtifactError, InputTableError
from llmrec.nn.approximate import require_faiss, write_index
from llmrec.nn.candidates import CandidateSizes
from llmrec.nn.catalogue import GROUP, RELATIONS, Catalogue, write_catalogue, write_reread
from llmrec.nn.ease import ease
from llmrec.nn.linear import Precision
from llmrec.nn.neighbours import no_neighbours
from llmrec.nn.sources import SOURCES
from llmrec.nn.tokens import LONGEST_PIECE
from llmrec.settings.config import Config
from llmrec.settings.texts import Texts
from llmrec.spark.counts import (
    count_takers,
    covisitation,
    followers,
    popularity,
    popularity_by_segment,
    taken_by_alike,
    together,
)
from llmrec.spark.factors import item_factors
from llmrec.spark.items import AVAILABLE, INDEX, close_items, groups_of, index_items
from llmrec.spark.shipping import Shipped
from llmrec.spark.splits import LIKES, before, days_before, first_moment, likes
from llmrec.spark.users import COUNTED, add_profiles, add_supplied, exclude_denied, gather_users
from llmrec.spark.workers import NightParts

LeftOut = Callable[[str, Exception], None]
"""Takes the name of a part of the catalogue and what came up."""


@dataclass(frozen=True)
class Night:
    """The readable past of one run date, with item indexes in place of item ids."""

    items: DataFrame
    """As spark.items.index_items gives it; cached."""
    events: DataFrame
    """user_id, item, event_time, likes, available, and the other columns of events; before the run date."""
    users: DataFrame
    """user_id, text, segment, attributes."""
    candidates: DataFrame
    """user_id, item, source_score."""
    denied: DataFrame
    """user_id, item: what one user is never to be given."""
    run_date: date


def open_night(
    *,
    events: DataFrame,
    items: DataFrame,
    users: DataFrame,
    candidates: DataFrame,
    denied: DataFrame,
    allowed: DataFrame | None,
    config: Config,
    run_date: date,
) -> Night:
    """Index the items and keep what may be read on ``run_date``; the tables are those of spark.schemas.

    Raises InputTableError if no event is before the run date, or none of them of the scene that texts name, and
    ConfigError if what the settings need is missing.
    """
    if config.candidates.dense_search == "approximate":
        require_faiss()
    readable = before(events, run_date)
    if readable.isEmpty():
        first = events.agg(F.min(C.EVENT_TIME)).head()
        raise InputTableError(
            f"{config.tables.name(C.EVENTS)}: no event is before the run date {run_date}; "
            f"the first is of {first[0] if first else None}, expected a later run date"
        )
    if config.texts.by_scene and readable.filter(F.col(C.SCENE) == config.score.scene).isEmpty():
        raise InputTableError(
            f"{config.tables.name(C.EVENTS)}: no event before the run date {run_date} has the scene "
            f"{config.score.scene!r} (score.scene), expected some, as texts.user_template names the scene"
        )
    indexed = close_items(index_items(items, run_date, config.texts.item_template), allowed, denied).persist()
    index = indexed.select(INDEX, C.ITEM, AVAILABLE)
    liking = config.liking
    return Night(
        items=indexed,
        events=readable.withColumn(LIKES, likes(liking.events, liking.min_value)).join(index, on=C.ITEM, how="inner"),
        users=users,
        candidates=candidates.join(index, on=C.ITEM, how="inner"),
        denied=denied.filter(F.col(C.USER).isNotNull()).join(index, on=C.ITEM, how="inner"),
        run_date=run_date,
    )


def counted_on(config: Config) -> Collection[str]:
    """Return what is counted of users and items together: RELATIONS, and factors (ALS) and segments if asked for."""
    sizes = {C.ALS: config.candidates.als, C.BY_SEGMENT: config.candidates.segment}
    return (*RELATIONS, *(name for name, size in sizes.items() if size))


def counts_needed(config: Config) -> Collection[str]:
    """Return those of `counted_on` that the ranker goes by."""
    return counted_on(config) if config.train.ranker not in SOURCES else {config.train.ranker}


def require_ranker(manifest: Mapping[str, Any], config: Config) -> None:
    """Raise ArtifactError unless the model was trained to rank by what the configuration says."""
    trained = manifest.get("config", {}).get("train", {}).get("ranker")
    if trained != config.train.ranker:
        raise ArtifactError(
            f"{config.model}: was trained with train.ranker {trained}, the configuration says {config.train.ranker}; "
            "expected the same: train again, or set it back"
        )


def with_texts_of(manifest: Mapping[str, Any], config: Config) -> Config:
    """Return ``config`` with the model's settings ``texts``: it reads what it was trained to read; say what differs."""
    trained = Texts.model_validate(manifest["config"]["texts"])
    now = config.texts.model_dump()
    for name, value in trained.model_dump().items():
        if value != now[name]:
            print(f"texts.{name}: the model was trained with {value} and reads that; {now[name]} waits for train")
    return config.model_copy(update={"texts": trained})


def user_rows(night: Night, events: DataFrame, config: Config, *, liked: int, until: date) -> DataFrame:
    """One row per user who has events among ``events``, all before ``until``, or a profile; see spark.users."""
    sizes, texts = config.candidates, config.texts
    gathered = gather_users(
        events, until=until, recent=sizes.recent_events, counted=sizes.covisitation_events, liked=liked,
        again_before=config.rules.again_before(until),
        words=texts.words_tokens * LONGEST_PIECE if texts.words_tokens or texts.by_scene else None,
    )  # fmt: skip
    named = add_profiles(gathered, night.users, texts.user_template, config.score.scene)
    known = add_supplied(named, night.candidates, sizes.supplied)
    return exclude_denied(known, night.denied)


def build_catalogue(
    night: Night,
    events: DataFrame,
    rows: DataFrame,
    vectors: DataFrame,
    config: Config,
    folder: Path,
    until: date,
    *,
    wanted: Collection[str] | None = None,
    left_out: LeftOut | None = None,
) -> Catalogue:
    """Write the catalogue of ``events`` to ``folder``.

    Args:
        night: gives the items.
        events: the events that count: all of the night, or those before a cut-off.
        rows: user rows of the same events, for co-visitation and what comes next.
        vectors: tokens and vector by text_sha, of one encoder.
        config: gives the popularity window and the number of neighbours.
        folder: where it is written; must not exist.
        until: the day on which the popularity window ends.
        wanted: what is counted, the rest knows nothing; None: `counted_on`.
        left_out: told of each part that failed and is left out; None: an error is raised.
    """
    counts = popularity(events, until, config.candidates.popularity_days)
    kinds = dict.fromkeys((C.CATEGORY, C.ATTRIBUTES, *config.rules.at_most))
    columns = night.items.join(vectors.select(C.TEXT_SHA, C.TOKENS, C.VECTOR), on=C.TEXT_SHA, how="inner").join(
        counts, on=INDEX, how="left"
    )
    whole = columns.select(
        INDEX, C.ITEM, C.TITLE, C.TOKENS, C.VECTOR, AVAILABLE,
        *(groups_of(kind).alias(f"{GROUP}{kind}") for kind in kinds), "idle", _days_available(until).alias("age"),
        *(F.coalesce(name, F.lit(0)).cast("long").alias(name) for name in ("taken", "taken_lately", "liked")),
    ).orderBy(INDEX)  # fmt: skip
    table = whole.toArrow()
    if table[INDEX].to_pylist() != list(range(night.items.count())):  # arrays are read by index
        raise RuntimeError(f"catalogue: {len(table)} items have vectors, expected all {night.items.count()}")
    ways = _ways(night, events, rows, len(table), config, until, folder.with_name("checkpoints"))
    names = counted_on(config) if wanted is None else wanted
    found = {name: _unless_failed(name, ways[name], left_out) for name in ways if name in names}
    related = {name: no_neighbours() if found.get(name) is None else found[name] for name in RELATIONS}
    catalogue = write_catalogue(folder, table, related, found.get(C.BY_SEGMENT), found.get(C.ALS))
    if config.candidates.dense_search == "approximate":
        cluster = partial(write_index, folder, catalogue.vectors, catalogue.available)
        _unless_failed("dense_search", cluster, left_out)
    return catalogue


def reread_catalogue(night: Night, counted: Path, vectors: DataFrame, config: Config, folder: Path) -> Catalogue:
    """Write the catalogue in ``counted`` to ``folder`` as another encoder reads its items; see `build_catalogue`."""
    read = night.items.join(vectors.select(C.TEXT_SHA, C.TOKENS, C.VECTOR), on=C.TEXT_SHA, how="inner")
    catalogue = write_reread(folder, counted, read.select(INDEX, C.ITEM, C.TOKENS, C.VECTOR).orderBy(INDEX).toArrow())
    if config.candidates.dense_search == "approximate":
        write_index(folder, catalogue.vectors, catalogue.available)
    return catalogue


def _days_available(until: date) -> Column:
    """Return the days since an item became available; null if that is not known or later."""
    return F.when(F.col(C.AVAILABLE_FROM) <= first_moment(until), days_before(until, F.col(C.AVAILABLE_FROM)))


def _ways(
    night: Night, events: DataFrame, rows: DataFrame, items: int, config: Config, until: date, checkpoints: Path
) -> dict[str, Callable[[], Any]]:
    """Return how each of `counted_on` is counted."""
    sizes, counted = config.candidates, rows.filter(F.size(COUNTED) > 0)
    neighbours, takers = sizes.neighbours, count_takers(counted, items)
    return {
        C.COVISITATION: lambda: covisitation(counted, takers, neighbours).toArrow(),
        C.USER_BASED: lambda: taken_by_alike(counted, neighbours).toArrow(),
        C.NEXT: lambda: followers(counted, takers, neighbours, itself=config.rules.repeats).toArrow(),
        C.EASE: lambda: solve_ease(counted, items, config),
        C.ALS: lambda: item_factors(counted, items, config.train.seed, checkpoints),
        C.BY_SEGMENT: lambda: popularity_by_segment(
            events, night.users, until, sizes.popularity_days, neighbours
        ).toArrow(),
    }


def _unless_failed(name: str, make: Callable[[], Any], left_out: LeftOut | None) -> Any:
    try:
        return make()
    except Exception as error:
        if left_out is None:
            raise
        left_out(name, error)
        return None


def solve_ease(counted: DataFrame, items: int, config: Config) -> pa.Table:
    """Weigh items by EASE; without rows, and a message, where it is off or the catalogue too large for it.

    Args:
        counted: user rows, as of spark.counts.
        items: size of the catalogue.
        config: gives the limits.
    """
    sizes = config.candidates
    if sizes.ease and items > sizes.ease_items:
        print(f"candidates.ease: is off, the catalogue has {items:,} items and ease_items allows {sizes.ease_items:,}")
    taken = np.zeros((items, items) if sizes.ease and items <= sizes.ease_items else (0, 0))
    if len(taken):
        pairs = together(counted).toArrow()
        taken[pairs["item"].to_numpy(), pairs["neighbour"].to_numpy()] = pairs["weight"].to_numpy()
    return ease(taken, sizes.neighbours)


def night_parts(model: Shipped, catalogue: Shipped, config: Config, run_date: date) -> NightParts:
    """Put together what the workers need on ``run_date``."""
    named = {field.name for field in fields(CandidateSizes)}
    rules = config.rules
    sizes = CandidateSizes(**config.candidates.model_dump(include=named), at_least=config.score.top_n)
    return NightParts(
        model=model,
        catalogue=catalogue,
        rules=ListRules(rules.min_score, tuple(sorted(rules.at_most.items())), rules.diversity),
        exploration=Exploration(rules.explore_share, rules.explore_below, run_date.isoformat()),
        sizes=sizes.alone(config.train.ranker),
        only=config.train.ranker if config.train.ranker in SOURCES else None,
        precision=precision_of(config),
    )


def precision_of(config: Config) -> Precision | None:
    """Return what pairs are scored in; None: what suits processor and model."""
    return None if config.score.precision == "auto" else Precision(config.score.precision)
