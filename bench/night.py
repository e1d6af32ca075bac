"""A whole night in volume by the job's own programs: seconds and peak memory of every stage, without and with BERT.

    make demo/data
    source .venv/java.env && .venv/bin/python -m bench.night --data FOLDER [--json FILE]

FOLDER holds interactions (user_id, item_id, seq: the order of a user's events) and items (item_id, title) as Parquet.
Each kind of night has its own tables and runs prepare, train and score, each a process of its own, for all users:

- item-based: `train.ranker: co-visitation`, as RePlay's ItemKNN;
- hybrid: all sources and the learned ranker, but no encoder (`train.scorer: none`);
- BERT: `train.ranker: bert`, fine-tuned for at most --tuning-minutes; it reads 50 candidates of each user, whom all
  sources find. The learned ranker would leave it out where it does not pay.

--quick leaves the last one out. Memory is that of a program and all its processes, shared pages counted once (PSS),
looked at every two seconds. "fitting and scoring" are the stages of train and score; starting Spark is in the minutes
of the whole alone.
"""

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.output import arguments, save, show
from bench.texts import ENCODER, require_demo_data

RUN_DATE = "2020-02-01"
JOBS = ("prepare", "train", "score")
KINDS: dict[str, dict[str, Any]] = {
    "item-based": {"train": {"ranker": "co-visitation"}},
    "hybrid": {"train": {"scorer": "none"}},
    "BERT": {"train": {"ranker": "bert"}, "candidates": {"pair_scored": 50}},
}
_BEGINS, _ENDS = re.compile(r"\[(\w+)\] ([\w -]+) \.\.\."), re.compile(r"\[(\w+)\] ([\w -]+): done, ([\d.]+) s")
_EVERY = 2.0
"""Seconds between two looks at the memory."""


@dataclass
class Stage:
    """One stage of one job."""

    job: str
    stage: str
    seconds: float = 0.0
    peak_mib: float = 0.0


def main() -> int:
    """Run the nights, print, save."""
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="interactions and items in Parquet")
    parser.add_argument("--tuning-minutes", type=float, default=5, metavar="M", help="of the night with BERT")
    args = parser.parse_args()
    require_demo_data()
    found = {}
    for kind in KINDS:
        if kind == "BERT" and args.quick:
            continue
        with tempfile.TemporaryDirectory() as folder:
            begun = time.monotonic()
            stages = _night(kind, args.data, Path(folder), args.tuning_minutes)
            found[kind] = _summary(stages, (time.monotonic() - begun) / 60)
            show(kind, [asdict(stage) for stage in stages])
            print(", ".join(f"{name.replace('_', ' ')} {value:,.1f}" for name, value in found[kind].items()))
            found[kind]["stages"] = [asdict(stage) for stage in stages]
    save(args.json, found)
    return 0


def _night(kind: str, data: Path, folder: Path, tuning_minutes: float) -> list[Stage]:
    config = folder / "night.yaml"
    config.write_text(yaml.safe_dump(_settings(kind, data, folder, tuning_minutes)))
    return [stage for job in JOBS for stage in _run(job, config)]


def _settings(kind: str, data: Path, folder: Path, tuning_minutes: float) -> dict[str, Any]:
    order = "timestamp_seconds(1577836800 + seq)"  # a second after the other: times are not known
    settings: dict[str, Any] = {
        "sources": {
            "events": {
                "path": f"{data.absolute()}/interactions.parquet", "format": "parquet",
                "columns": {"user_id": "user_id", "item_id": "item_id", "event": "'taken'", "event_time": order},
            },
            "items": {
                "path": f"{data.absolute()}/items.parquet", "format": "parquet",
                "columns": {"item_id": "item_id", "title": "title"},
            },
        },
        "tables": {"location": f"{folder}/lake"}, "model": f"{folder}/model", "work": f"{folder}/work",
        "encoder": {"path": str(ENCODER.absolute())},
        "holdout": {"by": "last_events", "events": 1},
        "train": {"max_minutes": tuning_minutes, "max_fusion_users": 5000, "max_validation_users": 300},
        "candidates": {"ease_items": 1, "popularity_days": 365},
        "spark": {
            "spark.master": f"local[{os.cpu_count()}]", "spark.ui.enabled": "false",
            "spark.sql.shuffle.partitions": "4", "spark.databricks.delta.snapshotPartitions": "2",
        },
    }  # fmt: skip
    for part, own in KINDS[kind].items():
        settings[part] = {**settings[part], **own}
    return settings


def _run(job: str, config: Path) -> list[Stage]:
    """Run one job and watch it."""
    command = [sys.executable, f"jobs/{job}.py", "--config", str(config), "--run-date", RUN_DATE]
    stages = [Stage(job, "start")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        over = threading.Event()
        watch = threading.Thread(target=_watch, args=(process.pid, stages, over))
        watch.start()
        begun, said = time.monotonic(), list[str]()
        for line in process.stdout or ():
            said.append(line)
            if starts := _BEGINS.search(line):
                if stages[-1].stage == "start":
                    stages[-1].seconds = time.monotonic() - begun
                stages.append(Stage(job, starts[2]))
            if ends := _ENDS.search(line):
                stages[-1].seconds = float(ends[3])
        over.set()
        watch.join()
    if process.returncode:
        raise SystemExit(f"{job} ended with {process.returncode}:\n{''.join(said[-40:])}")
    return stages


def _watch(root: int, stages: list[Stage], over: threading.Event) -> None:
    while not over.wait(_EVERY):
        stages[-1].peak_mib = max(stages[-1].peak_mib, sum(map(_pss_mib, _family(root))))


def _family(root: int) -> Iterator[int]:
    """Yield a process and all that descend from it."""
    yield root
    for task in Path(f"/proc/{root}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:  # ended meanwhile
            continue
        for child in children:
            yield from _family(int(child))


def _pss_mib(process: int) -> float:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:  # ended meanwhile
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _summary(stages: list[Stage], minutes: float) -> dict[str, Any]:
    working = [stage for stage in stages if stage.job != "prepare" and stage.stage != "start"]
    return {
        "fitting_and_scoring_seconds": sum(stage.seconds for stage in working),
        "minutes_of_all": minutes,
        "peak_mib": max(stage.peak_mib for stage in stages),
    }


if __name__ == "__main__":
    sys.exit(main())
