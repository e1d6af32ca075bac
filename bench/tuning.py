"""What ways of tuning and what objectives come to on real data, all on the same examples, steps and lists.

    make demo/data
    .venv/bin/python -m bench.tuning --data FOLDER --work FOLDER [--json FILE]

FOLDER of the data is that of bench.quality, from which the examples and lists come too: 1,200 examples with 4 negatives
each, one epoch, the prefix scorer at k = 4 with two seeds; lists of 50, the target and the items nearest to the history
by co-visitation and by the frozen encoder. Where several rates are given, that is taken which is best with the first
seed on 400 rows of the validation file; the figures are of 600 others of that file. Test rows are not used. Minutes are
of CPU, one thread; memory is the most that the process had, libraries and data included. A training that is finished is
kept in the work folder.
"""

import itertools
import json
import math
import multiprocessing
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from bench.output import arguments, save, show
from bench.quality import LIMITS, judge_rows, open_benchmark
from bench.texts import ENCODER, require_demo_data
from llmrec.domain.metrics import bootstrap_interval
from llmrec.nn.examples import cut_examples, write_examples
from llmrec.nn.plan import TrainingPlan, Tuning
from llmrec.nn.pretrained import load_backbone
from llmrec.nn.scorer import Scorer
from llmrec.nn.scorers import make_scorer
from llmrec.nn.training import fine_tune

SEEDS = (1, 2)
CHOOSING, JUDGING = 400, 600
EXAMPLES = 1200
USUAL = {"listwise": 1.0, "in-batch": 1.0}
ADDED = (5e-4, 2e-3)
"""Rates for what is added to the encoder, which wants higher ones."""


@dataclass(frozen=True)
class Way:
    """One line of a table."""

    name: str
    tuning: Tuning = Tuning("full", 8, 0, frozen_embeddings=False)  # noqa: RUF009, it is frozen
    objectives: tuple[tuple[str, float], ...] = tuple(USUAL.items())
    rates: tuple[float, ...] = (1e-4,)


def _tuning(method: str, frozen_layers: int = 0, rank: int = 8) -> Tuning:
    return Tuning(method, rank, frozen_layers, frozen_embeddings=False)


METHODS = (
    Way("full"),
    Way("top 4 layers", _tuning("full", frozen_layers=2)),
    Way("top 2 layers", _tuning("full", frozen_layers=4)),
    Way("head", _tuning("head"), rates=(1e-4, 1e-3)),
    Way("lora", _tuning("lora"), rates=ADDED),
    Way("adalora", _tuning("adalora"), rates=ADDED),
    Way("adapters", _tuning("adapters", rank=32), rates=ADDED),
    Way("prefix", _tuning("prefix"), rates=ADDED),
)
OBJECTIVES = tuple(
    Way(" + ".join(named), objectives=tuple(dict.fromkeys(named, 1.0).items()))
    for named in (["listwise"], ["bpr"], ["two-class"], ["two-class", "in-batch"])
)


@dataclass(frozen=True)
class Trial:
    """One training."""

    way: Way
    rate: float
    seed: int

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.way.name.replace(' ', '-')}-{self.rate:g}-{self.seed}"


def main() -> int:
    """Train what is missing, judge, print, save."""
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="the benchmark's Parquet files")
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER", help="finished trainings are kept here")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time, one thread each (default 2)")
    args = parser.parse_args()
    require_demo_data()
    args.work.mkdir(parents=True, exist_ok=True)
    open_benchmark(args.data, args.work)
    ways = (*METHODS, *OBJECTIVES)
    # A process for each training: the most memory it had is its own.
    with ProcessPoolExecutor(args.processes, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        run = partial(_run, args.data, args.work, args.quick)
        tried = [Trial(way, rate, SEEDS[0]) for way in ways for rate in way.rates]
        found = dict(zip(tried, pool.map(run, tried), strict=True))
        best = [max((one for one in tried if one.way == way), key=lambda one: found[one]["chosen_by"]) for way in ways]
        again = [Trial(one.way, one.rate, seed) for one in best for seed in SEEDS[1:]]
        found |= dict(zip(again, pool.map(run, again), strict=True))
    tables = {
        name: [_row([found[one] for one in found if (one.way, one.rate) == (trial.way, trial.rate)], trial)
               for trial in best if trial.way in part]
        for name, part in (("methods", METHODS), ("objectives", (METHODS[0], *OBJECTIVES)))
    }  # fmt: skip
    for name, table in tables.items():
        show(f"{name}: {JUDGING} validation rows of 50, {len(SEEDS)} seeds, {EXAMPLES} examples", table)
    save(args.json, {**tables, "tried": {trial.name: one["chosen_by"] for trial, one in found.items()}})
    return 0


def _row(results: list[dict], trial: Trial) -> dict[str, object]:
    ndcg, low, high = bootstrap_interval(np.mean([one["judged"] for one in results], axis=0), 1000, seed=0)
    return {
        "way": trial.way.name,
        "NDCG@10": f"{ndcg:.4f} ({low:.4f} to {high:.4f})",
        "each seed": " ".join(f"{np.mean(one['judged']):.4f}" for one in results),
        "rate": f"{trial.rate:g}",
        "minutes": f"{np.mean([one['seconds'] for one in results]) / 60:.1f}",
        "learning": f"{results[0]['learning']:,} of {results[0]['parameters']:,}",
        "MiB": f"{max(one['most_memory'] for one in results):,.0f}",
    }


def _run(data: Path, work: Path, quick: bool, trial: Trial) -> dict:
    """Train and judge, or read what an earlier run came to."""
    kept = work / f"tuning-{trial.name}{'-quick' if quick else ''}.json"
    if not kept.is_file():
        torch.set_num_threads(1)
        kept.write_text(json.dumps(_train(data, work, 80 if quick else EXAMPLES, trial)))
    found: dict = json.loads(kept.read_text())
    print(f"{trial.name}: NDCG@10 {found['chosen_by']:.4f} in {found['seconds']:.0f} s", file=sys.stderr, flush=True)
    return found


def _train(data: Path, work: Path, examples: int, trial: Trial) -> dict:
    bench = open_benchmark(data, work, valid=CHOOSING + JUDGING)
    torch.manual_seed(trial.seed)  # the head's first weights
    scorer: Scorer = make_scorer("prefix", load_backbone(str(ENCODER)), 4)
    plan = TrainingPlan(
        seed=trial.seed, objectives=dict(trial.way.objectives), negatives=4, batch_examples=16, tuning=trial.way.tuning,
        learning_rate=trial.rate, max_epochs=1, max_minutes=math.inf, validations=1, patience=1,
    )  # fmt: skip
    looks = itertools.count()  # the last is the best: every way takes all steps
    cuts = cut_examples(bench.learners, positives=1, history=LIMITS.history_items)
    chosen = np.random.default_rng(trial.seed).permutation(len(cuts))[:examples]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_examples(folder / "examples", [cuts[place] for place in chosen])
        begun = time.process_time()
        outcome = fine_tune(
            scorer, bench.tokens, bench.catalogue, folder / "examples", plan, lambda _: next(looks), lambda _: None,
            folder / "checkpoints",
        )  # fmt: skip
        seconds = time.process_time() - begun
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    ndcg = judge_rows(scorer, None, bench, bench.valid)
    return {
        "chosen_by": float(np.mean(ndcg[:CHOOSING])), "judged": ndcg[CHOOSING:], "seconds": seconds,
        "most_memory": most, "learning": outcome.learning, "parameters": outcome.parameters,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
