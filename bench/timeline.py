"""Nights in a row by the job's own programs: what their lists are worth in the time after each, beside baselines.

    make demo/data
    source .venv/java.env && .venv/bin/python -m bench.timeline --data FOLDER [--nights N] [--seed S] [--json FILE]

FOLDER holds interactions (user_id, item_id, timestamp in Unix seconds, rating if there are any) and items (item_id,
title; text and category, its values separated by "|", if there are any) as Parquet.

The time from one night to the next is --days (7), or, where too few people come, the least of 2, 4, 8 and 16 times as
much that will do: the time is cut backwards from the last event, and the nights are the last --nights periods in a row
in each of which at least --users users who had been there before liked something new to them. A rating of --liked or
more is a like, any other event only says "seen"; without ratings all events are likes.

`prepare` runs once, on everything; a job reads no event of its run date or later. For each night, at the first moment
of its period, `train` makes the model anew (or every --retrain-every nights) from what happened before, as
conf/demo.yaml says: a small model, whose ranker learns from what each user liked last, since a week has too few likes
to learn from, and which keeps the last five of each user from training. `score` publishes the lists of all users. The
likes of the period then judge them, in the steps of `evaluate` with the night as the border, and the lists that these
steps rank are compared with those published. Baselines count the same events. New users had no event before the night:
the table of users names them and says nothing about them. New items had no event either. All items may be recommended
on every night, as nothing in FOLDER says when they came out.

A user of several nights is counted in each, and the intervals take these as different users.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import yaml
from pyspark.sql import functions as F

from bench.local_spark import SPARK
from bench.output import arguments, save, show
from bench.texts import ENCODER, require_demo_data
from jobs import prepare, score, train
from llmrec import columns as C
from llmrec.cli import Run
from llmrec.config import load_config
from llmrec.domain.metrics import bootstrap_interval, paired_bootstrap, user_metrics
from llmrec.nn.artifact import resolve_model
from llmrec.nn.judging import LLMREC
from llmrec.pipelines.evaluate import COMPARED, NEW_ITEMS, NEW_USERS
from llmrec.pipelines.night import build_catalogue, night_parts, open_night, user_rows, with_texts_of
from llmrec.spark.session import start_session
from llmrec.spark.shipping import ship_folder
from llmrec.spark.splits import before, first_moment
from llmrec.spark.users import add_targets, in_tasks
from llmrec.spark.vector_cache import ensure_vectors
from llmrec.spark.workers import judge

DEMO = Path("conf/demo.yaml")
K = 10
RESAMPLES = 2_000
SHOWN = (LLMREC, C.EASE, C.COVISITATION, C.POPULARITY)
KNOWN_USERS = "users with history"
SEGMENTS = ("all", KNOWN_USERS, NEW_USERS, NEW_ITEMS)
DAY = 86_400
LONGER = (1, 2, 4, 8, 16)
SMALL = ("holdout", "train", "candidates", "score")
"""Sections of conf/demo.yaml that make a night of a few minutes, with a small model."""
SETTINGS = {"encoder.path": ENCODER, "evaluate.k": [K], "score.top_n": K, "gates.nights": 0}


def main() -> int:
    """Choose the nights, run them, print, save."""
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="interactions and items, as Parquet")
    parser.add_argument("--nights", type=int, default=4)
    parser.add_argument("--days", type=int, default=7, help="from one night to the next, at least")
    parser.add_argument("--users", type=int, default=10, help="users with history to judge each night by, at least")
    parser.add_argument("--liked", type=float, default=4, help="the least rating that says liked")
    parser.add_argument("--retrain-every", type=int, default=1, metavar="NIGHTS")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="a setting of the jobs")
    args = parser.parse_args()
    require_demo_data()
    nights = choose_nights(_events(args.data, args.liked), 2 if args.quick else args.nights, args.days, args.users)
    print(f"{len(nights)} nights, {nights[0].start} to {nights[-1].start}, one every {nights[0].days} days")
    os.environ.setdefault("PYSPARK_SUBMIT_ARGS", "--driver-memory 4g pyspark-shell")  # it is too late in a session
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        config = _configure(args.data, Path(folder), args.liked, args.seed, args.set)
        _job("prepare", config)
        found = [
            _run_night(night, config, retrain=place % args.retrain_every == 0) for place, night in enumerate(nights)
        ]
    _report(nights, found, (time.monotonic() - begun) / 60, vars(args))
    return 0


@dataclass(frozen=True)
class Night:
    """A run date and the time its lists are for."""

    start: date
    days: int

    @property
    def end(self) -> date:
        """The day after the last of the period, on which the next night is."""
        return self.start + timedelta(days=self.days)


@dataclass(frozen=True)
class Judged:
    """What a night was worth, and what it took."""

    values: pd.DataFrame
    """user_id, system, new (whether the user is), and by metric the user's value: over all likes, and over new items
    where there are any, else NaN."""
    as_published: float
    """Share of the judged users whose published list is the one that was judged."""
    trained: bool
    minutes: dict[str, float]
    """By step."""


def choose_nights(events: pd.DataFrame, nights: int, days: int, users: int) -> list[Night]:
    """Return the nights that the docstring of this file describes.

    Args:
        events: user_id, item_id, day (days since 1970), liked.
        nights: how many.
        days: from one to the next, at least.
        users: users with history who liked something new in each period, at least.

    Ends the program with one sentence if there are no such nights.
    """
    end = int(events["day"].max()) + 1
    first = events.groupby(["user_id", "item_id"])["day"].transform("min")
    since = events.groupby("user_id")["day"].transform("min")
    for length in (days * times for times in LONGER):
        period = (end - 1 - events["day"]) // length
        start = end - (period + 1) * length
        telling = events[events["liked"] & (first >= start) & (since < start)]
        there = telling.groupby(period)["user_id"].nunique()
        enough = [there.get(place, 0) >= users for place in range(int(period.max()) + 1)]
        for last in range(len(enough) - nights + 1):
            if all(enough[last : last + nights]):
                places = range(last + nights - 1, last - 1, -1)
                return [Night(date(1970, 1, 1) + timedelta(days=end - (p + 1) * length), length) for p in places]
    raise SystemExit(
        f"{nights} periods in a row of at most {days * LONGER[-1]} days with {users} users who liked something after "
        "earlier events: there are none; ask for fewer --nights or --users"
    )


def _events(data: Path, liked: float) -> pd.DataFrame:
    raw = pd.read_parquet(data / "interactions.parquet")
    rating = raw["rating"] if "rating" in raw else pd.Series(np.inf, raw.index)
    return raw[["user_id", "item_id"]].assign(day=raw["timestamp"] // DAY, liked=rating.isna() | (rating >= liked))


def _configure(data: Path, folder: Path, liked: float, seed: int, settings: Sequence[str]) -> Path:
    """Write the settings of all jobs, and the table of users."""
    has = {name: pq.read_schema(data / f"{name}.parquet").names for name in ("interactions", "items")}
    users = pd.read_parquet(data / "interactions.parquet", columns=["user_id"]).drop_duplicates()
    users.to_parquet(folder / "users.parquet")
    rated = "rating" in has["interactions"]
    events = {"user_id": "user_id", "item_id": "item_id", "event": "'taken'", "event_time": "timestamp"}
    items = {"item_id": "item_id", "title": "title"} | ({"text": "text"} if "text" in has["items"] else {})
    small = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    wanted = {
        **{section: small[section] for section in SMALL},
        "sources": {
            "events": _source(data / "interactions.parquet", events | ({"value": "rating"} if rated else {})),
            "items": _source(
                data / "items.parquet",
                items | ({"category": "split(category, '[|]')"} if "category" in has["items"] else {}),
            ),
            "users": _source(folder / "users.parquet", {"user_id": "user_id"}),
        },
        "tables": {"location": f"{folder}/lake"}, "model": f"{folder}/model", "work": f"{folder}/work",
        "liking": {"min_value": liked if rated else None}, "spark": SPARK,
    }  # fmt: skip
    base = folder / "base.yaml"
    base.write_text(yaml.safe_dump(wanted))
    given = [*(f"{key}={value}" for key, value in SETTINGS.items()), f"train.seed={seed}", *settings]
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(load_config(base, given).model_dump(mode="json")))
    return path


def _source(path: Path, columns: dict[str, str]) -> dict[str, object]:
    return {"path": str(path.absolute()), "format": "parquet", "columns": columns}


def _job(name: str, config: Path, run_date: date | None = None) -> float:
    """Run a job as it is run every night and return the minutes it took; ends the program where it fails."""
    begun = time.monotonic()
    argv = ["--config", str(config), *(["--run-date", run_date.isoformat()] if run_date else [])]
    program = {"prepare": prepare, "train": train, "score": score}[name]
    if program.JOB.run(argv):
        raise SystemExit(f"{name} {run_date or ''}: failed, see above")
    return (time.monotonic() - begun) / 60


def _run_night(night: Night, path: Path, *, retrain: bool) -> Judged:
    minutes = {"train": _job("train", path, night.start)} if retrain else {}
    minutes |= {"score": _job("score", path, night.start)}
    begun = time.monotonic()
    config = load_config(path)
    run = Run("timeline", config, start_session("timeline", config.spark), night.end)
    with run.closing:
        values, as_published = _judge(run, night)
    return Judged(values, as_published, retrain, minutes | {"judging": (time.monotonic() - begun) / 60})


def _judge(run: Run, border: Night) -> tuple[pd.DataFrame, float]:
    """Judge by the likes of the period, in the steps of jobs/evaluate.py; see `Judged` for what comes back."""
    config, spark = run.config, run.spark
    model = resolve_model(config.model)
    config = with_texts_of(model.manifest, config)
    night = open_night(**run.read_night(), config=config, run_date=run.day)
    work = run.work_folder()
    past = before(night.events, border.start).persist()
    held_out = night.events.filter(F.col(C.EVENT_TIME) >= first_moment(border.start))
    rows = user_rows(night, past, config, liked=config.texts.history_items, until=border.start).persist()
    judges = in_tasks(add_targets(rows, held_out), config.score.partitions)
    shipped = ship_folder(spark, model.folder, f"model-{run.run_id}", work)
    vectors, _ = ensure_vectors(spark, run.table(C.ITEM_VECTORS), night.items, shipped, model.encoder_version)
    catalogue = build_catalogue(night, past, rows, vectors, config, work / "catalogue", border.start)
    shelves = ship_folder(spark, work / "catalogue", f"catalogue-{run.run_id}", work)
    judged = judge(judges, night_parts(shipped, shelves, config, border.start), K).toPandas()
    for cached in (past, rows, night.items):
        cached.unpersist()
    names = np.array(catalogue.table[C.ITEM].to_pylist())
    published = run.read(C.RECOMMENDATIONS).filter(F.col(C.RUN_DATE) == F.lit(border.start))
    shown = published.select(C.USER, C.RANK, C.ITEM).toPandas().sort_values(C.RANK).groupby(C.USER)[C.ITEM].agg(list)
    own_lists = zip(judged[C.USER], judged["lists"], strict=True)
    ours = {user: list(names[_of(lists, LLMREC)]) for user, lists in own_lists}
    same = float(np.mean([shown.get(user) == own for user, own in ours.items()]))
    return pd.DataFrame(_values(judged, catalogue.taken)), same


def _of(lists: Sequence[dict[str, object]], system: str):
    return next(entry["items"] for entry in lists if entry["system"] == system)


def _values(judged: pd.DataFrame, taken: np.ndarray) -> Iterator[dict[str, object]]:
    """One row per user and system."""
    for _, row in judged.iterrows():
        targets = set(row["targets"].tolist())
        new = {item for item in targets if not taken[item]}
        for entry in row.lists:
            of_all, of_new = (user_metrics(entry["items"].tolist(), wanted, [K]) for wanted in (targets, new))
            yield {
                "user_id": row.user_id, "system": entry["system"], "new": row.new_user,
                "empty": not len(entry["items"]),
                **{metric: of_all[metric, K] for metric in ("NDCG", "HR")},
                **{f"{metric} {NEW_ITEMS}": of_new[metric, K] if new else np.nan for metric in ("NDCG", "HR")},
            }  # fmt: skip


def _segment(values: pd.DataFrame, segment: str) -> pd.DataFrame:
    """Return NDCG and HR (user, system) of one of SEGMENTS, the users of all systems in the same order."""
    if segment == NEW_ITEMS:
        kept = values.dropna(subset=[f"NDCG {NEW_ITEMS}"])
        kept = kept.assign(**{metric: kept[f"{metric} {NEW_ITEMS}"] for metric in ("NDCG", "HR")})
    else:
        kept = values[{"all": values["new"] | True, KNOWN_USERS: ~values["new"], NEW_USERS: values["new"]}[segment]]
    return kept.pivot(index="user", columns="system", values=["NDCG", "HR"])


def _figures(values: pd.DataFrame, segment: str) -> dict[str, object]:
    """Return the number of users and, by system, the means with the interval of NDCG."""
    table = _segment(values, segment)
    if table.empty:
        return {"users": 0}
    found: dict[str, object] = {"users": len(table)}
    for system in table["NDCG"].columns:
        mean, low, high = bootstrap_interval(table["NDCG", system].to_numpy(), RESAMPLES, 1)
        found[system] = {f"ndcg@{K}": mean, "low": low, "high": high, f"hr@{K}": float(table["HR", system].mean())}
    return found


def _report(nights: Sequence[Night], found: Sequence[Judged], minutes: float, args: dict[str, object]) -> None:
    """Print the tables, and write the JSON object."""
    every = pd.concat(one.values.assign(user=one.values["user_id"] + f" {place}") for place, one in enumerate(found))
    idle = every.groupby("system")["empty"].transform("all")
    every = every[~idle]
    weeks = [
        {
            "night": night.start.isoformat(),
            "trained": judged.trained,
            "as_published": judged.as_published,
            "minutes": judged.minutes,
            **{segment: _figures(every[every["user"].str.endswith(f" {place}")], segment) for segment in SEGMENTS},
        }
        for place, (night, judged) in enumerate(zip(nights, found, strict=True))
    ]
    whole = {segment: _figures(every, segment) for segment in SEGMENTS}
    for metric in ("NDCG", "HR"):
        title = f"{metric}@{K} of each night, judged by the {nights[0].days} days from it on"
        show(title, [_week_row(week, metric.lower()) for week in weeks])
    systems = [name for name in dict.fromkeys(every["system"]) if not name.startswith("without-")]
    show(f"all nights, NDCG@{K} and HR@{K}", [{"system": name, **_system_row(whole, name)} for name in systems])
    against = {segment: _against(every, segment) for segment in ("all", KNOWN_USERS)}
    for segment, other, gain in ((a, b, c) for a, others in against.items() for b, c in others.items()):
        low, high, p = gain["low"], gain["high"], gain["p"]
        print(f"NDCG@{K}, {segment}, against {other}: {gain['gain']:+.4f} ({low:+.4f} to {high:+.4f}), p = {p:.3f}")
    same = min(one.as_published for one in found)
    print(f"{same:.0%} or more of the judged lists of each night are those published; {minutes:.1f} minutes in all")
    save(args["json"], {  # type: ignore[arg-type]
        "data": str(args["data"]), "seed": args["seed"], "days": nights[0].days, "retrain_every": args["retrain_every"],
        "settings": args["set"], "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "nights": weeks, "all_nights": whole, "against": against, "minutes": minutes,
    })  # fmt: skip


def _against(values: pd.DataFrame, segment: str) -> dict[str, dict[str, float]]:
    """Return by how much NDCG is better than that of what evaluate compares with, the interval and the p-value."""
    table = _segment(values, segment)["NDCG"]
    return {
        other: dict(zip(("gain", "low", "high", "p"), paired_bootstrap(
            table[LLMREC].to_numpy(), table[other].to_numpy(), RESAMPLES, 1
        ), strict=True))
        for other in COMPARED if other in table
    }  # fmt: skip


def _week_row(week: dict[str, Any], metric: str) -> dict[str, object]:
    return {
        "night": week["night"], "users": week["all"]["users"], "new": week[NEW_USERS]["users"],
        **{name: _cell(week["all"], name, metric) for name in SHOWN},
        **{f"{name}, new users": _cell(week[NEW_USERS], name, metric) for name in (LLMREC, C.POPULARITY)},
        "llmrec, new items": f"{_cell(week[NEW_ITEMS], LLMREC, metric)} ({week[NEW_ITEMS]['users']})",
        "minutes": f"{sum(week['minutes'].values()):.1f}" + ("" if week["trained"] else " (old model)"),
    }  # fmt: skip


def _system_row(whole: dict[str, dict[str, Any]], system: str) -> dict[str, str]:
    return {
        f"{segment} ({found['users']})": f"{_cell(found, system, 'ndcg')} {_cell(found, system, 'hr')}"
        for segment, found in whole.items()
    }


def _cell(found: dict[str, Any], system: str, metric: str) -> str:
    return f"{found[system][f'{metric}@{K}']:.3f}" if system in found else "-"


if __name__ == "__main__":
    sys.exit(main())
