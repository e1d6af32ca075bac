"""Whether a night may be published: its figures beside those of the nights before."""

from collections.abc import Mapping, Sequence
from datetime import date

from pyspark.sql import DataFrame

from llmrec import columns as C
from llmrec.domain.bounds import EMPTY, LAST_DAY, ROWS, Bounds, NightFigures
from llmrec.domain.templates import names
from llmrec.errors import GateError
from llmrec.settings.config import Config
from llmrec.spark.figures import EventFigures, list_figures, missing_shares


def columns_read(config: Config) -> dict[str, list[str]]:
    """Return the columns that may be null and that a night with these settings goes by, by table."""
    texts, segment = config.texts, config.candidates.segment
    of = texts.user_template
    wanted = {
        C.EVENTS: {
            C.VALUE: config.liking.min_value is not None,
            C.SCENE: texts.by_scene,
            C.TEXT: texts.words_tokens > 0,
        },
        C.ITEMS: {
            C.TITLE: True,  # "" where there is none
            C.TEXT: names(texts.item_template, "text"),
            C.CATEGORY: True,
            C.ATTRIBUTES: True,
            C.AVAILABLE_FROM: True,
            C.AVAILABLE_UNTIL: True,
        },
        C.USERS: {
            C.TEXT: names(of, "profile"),
            C.ATTRIBUTES: names(of, "attributes"),
            C.SEGMENT: names(of, "segment") or segment > 0,
        },
    }
    return {table: [name for name, read in columns.items() if read] for table, columns in wanted.items()}


def figures_of_night(
    tables: Mapping[str, DataFrame | None],
    staged: DataFrame,
    listed: Mapping[str, int],
    config: Config,
    *,
    run_date: date,
    model_version: str,
    eligible: int,
    available: int,
    events: EventFigures,
    columns: Mapping[str, str],
) -> NightFigures:
    """Put together what a night is compared by.

    Args:
        tables: what the night was made of; None for one that is not there.
        staged: its lists (spark.staging).
        listed: what `check_lists` counted.
        config: says which columns matter.
        run_date: the night.
        model_version: of the model.
        eligible: users who could get a list.
        available: items that could be in one.
        events: as measured.
        columns: types of the tables' columns.
    """
    of_lists, scores = list_figures(staged)
    counts = {
        "events": events.total,
        LAST_DAY: events.last_day,
        "eligible users": eligible,
        "available items": available,
    }
    filled = {
        table: rows for table in (C.USERS, C.CANDIDATES, C.DENIED, C.ALLOWED) if (rows := tables[table]) is not None
    }
    counts |= {f"{ROWS}{table}": rows.count() for table, rows in filled.items()}
    read = columns_read(config)
    described = {table: rows for table in (C.ITEMS, C.USERS) if (rows := tables[table]) is not None}
    missing = [missing_shares(rows, table, read[table]) for table, rows in described.items()]
    of_users = {
        "share of fallback users": listed["fallback"] / listed["users"],
        "share of short lists": listed["short"] / listed["users"],
        EMPTY: listed["empty"] / eligible,
    }
    return NightFigures(
        run_date=run_date,
        model_version=model_version,
        counts={**{name: float(count) for name, count in counts.items()}, **of_lists},
        shares={**of_users, **events.shares, **{name: share for one in missing for name, share in one.items()}},
        scores=scores,
        columns=columns,
    )


def bounds_of(config: Config) -> Bounds:
    """Return how far a night may be from others."""
    return Bounds(**config.gates.model_dump(exclude={"nights"}))


def compared_with(earlier: Sequence[NightFigures], scene: str) -> str:
    """Say which nights a night is compared with."""
    if not earlier:
        return f"gates: there is no earlier night of scene {scene} to compare with"
    return f"gates: compared with {', '.join(str(night.run_date) for night in earlier)}"


def admit(reasons: Sequence[str], where: str, *, forced_by: str, why: str | None) -> str | None:
    """Return what ``runs`` is to hold about the publication, None where there is nothing to say.

    Args:
        reasons: of `out_of_bounds`.
        where: what would not be published.
        forced_by: who started the run.
        why: the operator's words for publishing all the same; None: they were not asked for.

    Raises GateError with all reasons if there are some and nobody forced it.
    """
    listed = "".join(f"\n  {reason}" for reason in reasons)
    if reasons and why is None:
        raise GateError(
            f"{where}: nothing is published, {len(reasons)} of its figures are out of bounds (settings: gates)"
            f'{listed}\nmend what is wrong and run it again, or publish it as it is: --force "why"'
        )
    if why is None:
        return None
    return f"forced by {forced_by}: {why}; " + (f"out of bounds:{listed}" if reasons else "nothing was out of bounds")
