"""A night that reuses what the night before read, beside one that reads everything: work, seconds, and their lists.

    make demo/data
    source .venv/java.env && .venv/bin/python -m bench.incremental [--users N] [--changed SHARE] [--json FILE]

The users are those of MovieLens 100k, as many times as it takes, each copy with another part of the history. Films and
settings are those of conf/demo.yaml, but for the candidates, which are those of conf/default.yaml. The encoder is the
pretrained one with an untrained head, and lists are ordered by what it says of pairs (train.ranker: bert), so that all
of them depend on it: what they are worth does not matter here.

A night reads everything. Before the next one, a day later, a share of the users likes another film and a share of the
films gets another category. That night is scored twice, reading everything and reusing. "scores" is the stage that
reads, ranks and stages; "whole" the job with all its stages, in a Spark that has been started. The command fails if a
row has another item, or if more than a tenth of the pairs or of the users are read.
"""

import os
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from delta.tables import DeltaTable
from pyspark.sql import functions as F

from bench.local_spark import SPARK
from bench.output import arguments, save, show
from bench.texts import ENCODER, require_demo_data
from jobs import prepare, score
from llmrec.config import load_config
from llmrec.nn.alone import Alone
from llmrec.nn.artifact import finish_model, save_encoder
from llmrec.nn.pretrained import load_backbone, load_tokens
from llmrec.nn.scorers import make_scorer
from llmrec.nn.tokens import TextLimits
from llmrec.spark.session import start_session

DEMO = Path("conf/demo.yaml")
DATA = Path("demo/data/ml-100k")
FIRST = date(1998, 4, 23)
READ, SCORED, REUSED = "users encoded", "pairs scored", "pairs reused"
_AT_MOST = 0.1
"""Share of pairs, and of users, that a night of 1 % of changes may read."""


def main() -> int:
    """Run the nights, print, save."""
    parser = arguments(__doc__)
    parser.add_argument("--users", type=int, default=3_000)
    parser.add_argument("--changed", type=float, default=0.01, metavar="SHARE", help="of the users and of the films")
    args = parser.parse_args()
    require_demo_data()
    users = 500 if args.quick else args.users
    os.environ.setdefault("PYSPARK_SUBMIT_ARGS", "--driver-memory 4g pyspark-shell")  # it is too late in a session
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        config, rng = _configure(place), np.random.default_rng(1)
        events, items = _many(pd.read_csv(DATA / "ml-100k.inter", sep="\t"), users, rng), _films()
        second = FIRST + timedelta(days=1)
        _write(place, config, events, items)
        rows = {"first night": _night(config, FIRST)}
        _write(place, config, *_change(events, items, args.changed, rng))
        rows["second, reading all"] = _night(config, second, "score.reuse=false")
        whole = _lists(place, second, delete=True)  # so that neither night replaces lists
        rows["second, reusing"] = _night(config, second)
        same = _lists(place, second)
    show(
        f"{users:,} users, {args.changed:.0%} of users and films changed", [{"night": n, **r} for n, r in rows.items()]
    )
    _, full, reusing = rows.values()
    share = {
        "pairs scored": reusing[SCORED] / full[SCORED],
        "users encoded": reusing[READ] / full[READ],
        "seconds of scores": reusing["scores s"] / full["scores s"],
        "seconds of all": reusing["whole s"] / full["whole s"],
    }
    print("of the night that reads everything: " + ", ".join(f"{name} {value:.1%}" for name, value in share.items()))
    joined = whole.merge(same, on=["user_id", "rank"], how="outer", suffixes=("", "_reusing"))
    differ = int((joined["item_id"] != joined["item_id_reusing"]).sum())
    apart = float((joined["score"] - joined["score_reusing"]).abs().max())
    print(f"rows {len(joined):,}, with another item {differ:,}, scores apart by at most {apart:.2g}")
    save(args.json, {"nights": rows, "share": share, "rows": len(joined), "rows_that_differ": differ, "apart": apart})
    return int(differ > 0 or max(share["pairs scored"], share["users encoded"]) > _AT_MOST)


def _configure(folder: Path) -> Path:
    """Write the settings of both jobs and the model."""
    demo = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    demo["sources"]["events"]["path"] = f"{folder}/events.tsv"
    demo["sources"]["items"]["path"] = f"{folder}/items.tsv"
    del demo["sources"]["users"]
    demo |= {
        "tables": {"location": f"{folder}/lake"}, "model": f"{folder}/model", "work": f"{folder}/work", "spark": SPARK,
    }  # fmt: skip
    demo["train"] |= {"ranker": "bert"}
    demo["gates"] = {"nights": 0}  # few events come in a night of few changes
    demo["candidates"] = {"popularity_days": demo["candidates"]["popularity_days"]}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(demo))
    config = load_config(path)
    texts = config.texts.model_dump(include=set(TextLimits.__dataclass_fields__))
    scorer = make_scorer("prefix", load_backbone(str(ENCODER)), config.train.cached_layers, seed=1)
    save_encoder(folder / "model", scorer, load_tokens(str(ENCODER), TextLimits(**texts)))
    facts = {"config": config.model_dump(mode="json"), "metrics": {"importance": {}}}
    finish_model(folder / "model", Alone("pair_logit", 1.0, 0.0), facts)
    return path


def _films() -> pd.DataFrame:
    return pd.read_csv(DATA / "ml-100k.item", sep="\t", dtype=str, keep_default_na=False)


def _many(events: pd.DataFrame, users: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return as many users, each with the first 50 to 100 % of someone's history."""
    by_user = [own for _, own in events.sort_values("timestamp:float", kind="stable").groupby("user_id:token")]
    copies = []
    for user in range(users):
        own = by_user[user % len(by_user)]
        some = own.head(max(1, int(len(own) * rng.uniform(0.5, 1))))
        copies.append(some.assign(**{"user_id:token": user}))
    return pd.concat(copies)


def _change(
    events: pd.DataFrame, items: pd.DataFrame, share: float, rng: np.random.Generator
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Let that share of the users like a film on the first night's day, and give that share of films a category."""
    people = events["user_id:token"].unique()
    chosen = rng.choice(people, max(1, int(len(people) * share)), replace=False)
    at = pd.Timestamp(FIRST, tz="UTC").timestamp() + 3600
    films = rng.choice(events["item_id:token"].unique(), len(chosen))
    liked = pd.DataFrame({"user_id:token": chosen, "item_id:token": films, "rating:float": 5.0, "timestamp:float": at})
    items = items.copy()
    rows = rng.choice(len(items), max(1, int(len(items) * share)), replace=False)
    items.loc[items.index[rows], "class:token_seq"] += " Restored"
    return pd.concat([events, liked]), items


def _write(folder: Path, config: Path, events: pd.DataFrame, items: pd.DataFrame) -> None:
    events.to_csv(folder / "events.tsv", sep="\t", index=False)
    items.to_csv(folder / "items.tsv", sep="\t", index=False)
    if prepare.JOB.run(["--config", str(config)]):
        raise SystemExit("prepare: failed, see above")


def _night(config: Path, night: date, *settings: str) -> dict[str, Any]:
    """Score a night; return what it read and how long it took."""
    begun = time.monotonic()
    given = ["--set", *settings] if settings else []
    if score.JOB.run(["--config", str(config), "--run-date", night.isoformat(), *given]):
        raise SystemExit(f"score {night}: failed, see above")
    seconds = time.monotonic() - begun
    runs = start_session("bench", SPARK).read.format("delta").load(f"{config.parent}/lake/runs")
    [stage] = runs.filter("job = 'score' and stage = 'scores'").orderBy(F.desc("started_at")).limit(1).collect()
    counts = stage["counts"]
    return {
        **{name: counts[name] for name in (READ, SCORED, REUSED)},
        "scores s": stage["seconds"], "whole s": seconds,
    }  # fmt: skip


def _lists(folder: Path, night: date, *, delete: bool = False) -> pd.DataFrame:
    table = DeltaTable.forPath(start_session("bench", SPARK), f"{folder}/lake/recommendations")
    of_night = F.col("run_date") == night
    rows = table.toDF().filter(of_night).select("user_id", "rank", "item_id", "score").toPandas()
    if delete:
        table.delete(of_night)
    return rows


if __name__ == "__main__":
    sys.exit(main())
