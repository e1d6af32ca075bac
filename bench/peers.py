"""What others make of the rows of bench.next_item: the same files, targets and metrics.

    make bench-env
    .venv-peers/bin/python -m bench.peers --data FOLDER [--seed S] [--json FILE] [--against FILE ...]

FOLDER is as in bench.next_item. Each system learns from the events of the training period with every setting of a small
grid (bench/peer_models.py) and is judged by NDCG@10 on the valid rows; with the best setting it learns from the events
of both periods and ranks the whole catalogue for the test rows, once; the test rows are used for nothing else. A row's
user is its history:

    SASRec, eSASRec   RecTools' SASRec with a softmax over the catalogue; with LiGR layers and a sampled softmax, as
                      RecTools describes eSASRec. The history is the interactions of a new user. Epochs, as all else,
                      by the valid rows, every 5 epochs
    ALS               implicit; the history is folded in (recalculate_user)
    BPR               implicit; the user has the mean of the history's factors, or his own where the events know him
    item-kNN, EASE    implicit's cosine, TF-IDF or BM25 neighbours; the closed form. Sums over the history
    TF-IDF, MiniLM    words (scikit-learn) or the encoder as it was before fine-tuning (sentence-transformers); cosine
                      with the sum of the history's vectors
    popularity        counts of events

Where a history counts by sums, its items weigh less the older they are, by a factor of the grid. Whether items of the
history keep their places or go to the end is chosen by the valid rows as well: a target that was seen before is then
missed, and no row is left out. Equal scores, and items without an event in systems that know items by events alone,
are ordered by popularity. An item is new if it has no event. --against takes JSON files of bench.next_item, one for
each of its seeds, and compares each system with the mean of them, by a paired bootstrap over rows.
"""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.next_rows import Benchmark, Events, Integers, Rows, differences, figures, ranks, read_gains, without_seen
from bench.output import arguments, save, show
from bench.peer_models import systems
from bench.peer_tuning import Scorer, System
from bench.texts import require_demo_data

HISTORY = ("kept", "at the end")
CHUNK = 1000
"""Rows that are scored at a time."""


def main() -> int:
    """Tune, fit, judge, print, save."""
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="the benchmark's Parquet files")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--against", type=Path, nargs="+", default=[], metavar="FILE", help="JSON of bench.next_item")
    args = parser.parse_args()
    require_demo_data()
    begun = time.monotonic()
    bench = Benchmark.read(args.data)
    ours = read_gains(args.against, bench.test.ids) if args.against else None  # before an hour of tuning
    new = bench.known.counts[bench.test.targets] == 0
    places, chosen = {}, {}
    for system in systems(bench.items, args.seed, args.quick):
        chosen[system.name] = best = _tune(system, bench)
        places[system.name] = _test(system, bench, best)
    tables = {"rows": _table(places, np.ones_like(new)), "rows_of_new_items": _table(places, new) if new.any() else []}
    for title, rows in (("all", tables["rows"]), ("new items", tables["rows_of_new_items"])):
        if rows:
            count = len(new) if title == "all" else new.sum()
            show(f"{count:,} rows, {title}", [
                {name: f"{cell:.4f}" if isinstance(cell, float) else cell for name, cell in row.items()} for row in rows
            ])  # fmt: skip
    compared = [] if ours is None else differences(ours, places)
    if compared:
        show("NDCG@10 of llmrec less that of the system", compared)
    minutes = (time.monotonic() - begun) / 60
    print(f"{minutes:.1f} minutes")
    settings = {name: {**_summary(best), "valid_ndcg@10": best.reached} for name, best in chosen.items()}
    save(args.json, {**tables, "differences": compared, "settings": settings, "seed": args.seed, "minutes": minutes})
    return 0


@dataclass
class Best:
    """The best setting so far, by the valid rows."""

    events: Events
    valid: Rows
    reached: float = -1.0
    setting: dict[str, Any] = field(default_factory=dict)
    history: str = ""
    """One of HISTORY: where the items of a history go."""
    judged: int = 0
    """How many settings were judged."""

    def judge(self, setting: Mapping[str, Any], scorer: Scorer) -> float:
        """Return NDCG@10 with this setting, and remember the setting if it is the best."""
        self.judged += 1
        places = _ranks(scorer, self.events, self.valid)
        choice, reached = max(((one, figures(places[one])["NDCG@10"]) for one in HISTORY), key=lambda pair: pair[1])
        if reached > self.reached:
            self.reached, self.setting, self.history = reached, dict(setting), choice
        return reached


def _tune(system: System, bench: Benchmark) -> Best:
    """Try the system's grid on the valid rows."""
    begun = time.monotonic()
    best = Best(bench.learned, bench.valid)
    system.tune(bench.learned, best.judge)
    setting = ", ".join(f"{name} {value}" for name, value in _summary(best).items())
    print(
        f"{system.name}: {best.reached:.4f} on valid rows, best of {best.judged}, {time.monotonic() - begun:.0f} s: "
        f"{setting}",
        flush=True,
    )
    return best


def _summary(best: Best) -> dict[str, Any]:
    return {**best.setting, "history": best.history}


def _test(system: System, bench: Benchmark, best: Best) -> Integers:
    """Learn from all events and rank for the test rows."""
    return _ranks(system.fit(bench.known, best.setting), bench.known, bench.test)[best.history]


def _ranks(scorer: Scorer, events: Events, rows: Rows) -> dict[str, Integers]:
    """Return the ranks of the rows' targets, for each of HISTORY."""
    found: dict[str, list[Integers]] = {choice: [] for choice in HISTORY}
    for start in range(0, len(rows), CHUNK):
        some = rows.part(start, start + CHUNK)
        scores = scorer(some)
        for choice, own in zip(HISTORY, (scores, without_seen(scores, some)), strict=True):
            found[choice].append(ranks(own, some.targets, events.by_popularity))
    return {choice: np.concatenate(places) for choice, places in found.items()}


def _table(places: Mapping[str, Integers], chosen: np.ndarray[Any, Any]) -> list[dict[str, object]]:
    mask = chosen.astype(bool)
    return [{"system": name, **figures(own[mask])} for name, own in places.items()]


if __name__ == "__main__":
    sys.exit(main())
