"""What the fast pair scorer costs in quality: the prefix scorer next to the joint cross-encoder, trained alike.

    make demo/data
    .venv/bin/python -m bench.quality --data FOLDER --work FOLDER [--json FILE]

Both start from the same encoder and take the same steps: same seed, examples, negatives, losses, batch size. Joint and
prefix at k = 2 have each the learning rate that is best on validation rows (of its RATES, with the first seed), the
other prefix scorers that of k = 2; then all SEEDS. Each test row is a list of 50: the target and the items nearest to
the history by co-visitation and by the frozen encoder. NDCG@10 of the target's place, ties counted against it;
differences are of the same rows, averaged over seeds before they are resampled. All are computed in the best floats of
the processor; k = 2 in float32 and int8 too, on the same weights.

FOLDER of the data holds items (item_id, title), events (user_id, item_id, position, period), valid and test (user_id,
history, target) as Parquet. A run that is finished is kept in the work folder, so the command can be stopped and
started again; it takes hours.
"""

import itertools
import json
import math
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from scipy import sparse

from bench.output import arguments, save, show
from bench.texts import ENCODER, require_demo_data
from llmrec import columns as C
from llmrec.domain.metrics import bootstrap_interval, paired_bootstrap
from llmrec.domain.users import User
from llmrec.nn.catalogue import RELATIONS, Catalogue, write_catalogue
from llmrec.nn.encoding import encode_texts
from llmrec.nn.examples import cut_examples, write_examples
from llmrec.nn.inference import for_inference
from llmrec.nn.linear import Precision, best_float
from llmrec.nn.pairs import score_pairs
from llmrec.nn.plan import TrainingPlan
from llmrec.nn.pretrained import load_backbone, load_tokens
from llmrec.nn.ragged import Ragged
from llmrec.nn.scorer import Scorer
from llmrec.nn.scorers import make_scorer
from llmrec.nn.state_cache import StateCache
from llmrec.nn.tokens import TextLimits, Tokens
from llmrec.nn.training import fine_tune

SEEDS = (1, 2, 3)
TUNED = PREFIX, JOINT = "prefix-2", "joint"
RATES = {PREFIX: (1e-5, 3e-5, 1e-4), JOINT: (3e-5, 1e-4, 3e-4)}
SYSTEMS = (*TUNED, "prefix-0", "prefix-4")
EXAMPLES, VALIDATION_ROWS, TEST_ROWS, CANDIDATES = 2400, 400, 600, 50
LIMITS = TextLimits(history_items=5, history_tokens=16, max_user_tokens=86, max_item_tokens=26)


@dataclass(frozen=True)
class Row:
    """A history and a list of candidates, the target first."""

    history: np.ndarray
    candidates: np.ndarray


@dataclass(frozen=True)
class Benchmark:
    """The data as the model sees it."""

    catalogue: Catalogue
    learners: list[User]
    valid: list[Row]
    test: list[Row]

    @cached_property
    def tokens(self) -> Tokens:
        """The encoder's tokenizer."""
        return load_tokens(str(ENCODER), LIMITS)


@dataclass(frozen=True)
class Trial:
    """One training."""

    system: str
    rate: float
    seed: int

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.system}-{self.rate:g}-{self.seed}"


def main() -> int:
    """Train what is missing, judge, print, save."""
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="the benchmark's Parquet files")
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER", help="finished runs are kept here")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time, one thread each (default 2)")
    args = parser.parse_args()
    require_demo_data()
    args.work.mkdir(parents=True, exist_ok=True)
    open_benchmark(args.data, args.work)
    with ProcessPoolExecutor(args.processes, multiprocessing.get_context("spawn")) as pool:
        tried = [Trial(system, rate, SEEDS[0]) for system in TUNED for rate in RATES[system]]
        found = dict(zip(tried, pool.map(partial(_validate, args.data, args.work), tried), strict=True))
        best = {s: max((t for t in tried if t.system == s), key=lambda t: found[t]).rate for s in TUNED}
        chosen = [Trial(system, best.get(system, best[PREFIX]), seed) for seed in SEEDS for system in SYSTEMS]
        results = dict(zip(chosen, pool.map(partial(_test, args.data, args.work), chosen), strict=True))
    table = _compare(results)
    show(f"{TEST_ROWS} rows of {CANDIDATES}, {len(SEEDS)} seeds, {EXAMPLES} examples each", table)
    save(
        args.json,
        {"table": table, "validation": {trial.name: ndcg for trial, ndcg in found.items()}, "best_rate": best},
    )
    return 0


def _compare(results: dict[Trial, dict[str, list[float]]]) -> list[dict[str, object]]:
    """Rows of the table: NDCG@10 of each system and precision, and its difference to the joint scorer."""
    by_row: dict[str, list[list[float]]] = {}
    for trial, judged in results.items():
        for precision, values in judged.items():
            by_row.setdefault(f"{trial.system} {precision}", []).append(values)
    means = {name: np.mean(values, axis=0) for name, values in by_row.items()}
    reference = means[f"{JOINT} {best_float().value}"]
    table = list[dict[str, object]]()
    for name, values in means.items():
        ndcg, low, high = bootstrap_interval(values, 1000, seed=0)
        difference, least, most, p = paired_bootstrap(values, reference, 1000, seed=0)
        table.append({
            "system": name, "NDCG@10": f"{ndcg:.4f} ({low:.4f} to {high:.4f})",
            "to joint": f"{difference:+.4f} ({least:+.4f} to {most:+.4f})", "p": f"{p:.3f}",
            "each seed": " ".join(f"{np.mean(one):.4f}" for one in by_row[name]),
        })  # fmt: skip
    return table


def _train(data: Path, work: Path, trial: Trial) -> Scorer:
    """Train once, unless that was done before."""
    weights, scorer = work / f"{trial.name}.pt", _untrained(trial)
    if not weights.is_file():
        bench = open_benchmark(data, work)
        plan = TrainingPlan(
            seed=trial.seed, objectives={"listwise": 1.0, "in-batch": 1.0}, negatives=4, batch_examples=16,
            learning_rate=trial.rate, max_epochs=1, max_minutes=math.inf, validations=1, patience=1,
        )  # fmt: skip
        looks = itertools.count()  # the last is the best: every system takes all steps
        cuts = cut_examples(bench.learners, positives=1, history=LIMITS.history_items)
        chosen = np.random.default_rng(trial.seed).permutation(len(cuts))[:EXAMPLES]
        begun = time.process_time()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_examples(folder / "examples", [cuts[place] for place in chosen])
            fine_tune(
                scorer, bench.tokens, bench.catalogue, folder / "examples", plan, lambda _: next(looks), lambda _: None,
                folder / "checkpoints",
            )  # fmt: skip
        torch.save(scorer.state_dict(), weights)
        _say(trial, f"trained for {time.process_time() - begun:.0f} s of CPU")
    scorer.load_state_dict(torch.load(weights, weights_only=True))
    return scorer


def _validate(data: Path, work: Path, trial: Trial) -> float:
    """NDCG@10 on the validation rows."""
    [values] = _judge(data, work, trial, "valid", [None]).values()
    return float(np.mean(values))


def _test(data: Path, work: Path, trial: Trial) -> dict[str, list[float]]:
    """NDCG@10 of every test row, by precision."""
    return _judge(data, work, trial, "test", list(Precision) if trial.system == PREFIX else [None])


def _judge(
    data: Path, work: Path, trial: Trial, part: str, precisions: Sequence[Precision | None]
) -> dict[str, list[float]]:
    """NDCG@10 of every row of a part by precision, from the work folder if it was judged before."""
    judged = work / f"{trial.name}-{part}.json"
    if not judged.is_file():
        torch.set_num_threads(1)
        scorer, bench = _train(data, work, trial), open_benchmark(data, work)
        rows = {"valid": bench.valid, "test": bench.test}[part]
        values = {(p or best_float()).value: judge_rows(scorer, p, bench, rows) for p in precisions}
        judged.write_text(json.dumps(values))
        _say(trial, ", ".join(f"{part} NDCG@10 {np.mean(own):.4f} in {p}" for p, own in values.items()))
    found: dict[str, list[float]] = json.loads(judged.read_text())
    return found


def _say(trial: Trial, what: str) -> None:
    print(f"{trial.name}: {what}", file=sys.stderr, flush=True)


def _untrained(trial: Trial) -> Scorer:
    torch.manual_seed(trial.seed)  # the head's first weights
    name, _, cached = trial.system.partition("-")
    return make_scorer(name, load_backbone(str(ENCODER)), int(cached or 0))


@torch.inference_mode()
def judge_rows(scorer: Scorer, precision: Precision | None, bench: Benchmark, rows: list[Row]) -> list[float]:
    """NDCG@10 of the target of each row."""
    fast, tokens, catalogue = for_inference(scorer, precision), bench.tokens, bench.catalogue
    cache, found, nothing = StateCache(fast, tokens, catalogue), [], np.zeros(0, np.int32)
    for start in range(0, len(rows), 8):
        part = rows[start : start + 8]
        users = [tokens.user_sequence(nothing, [catalogue.pieces(item) for item in row.history]) for row in part]
        distinct, place = np.unique(np.concatenate([row.candidates for row in part]), return_inverse=True)
        user = np.repeat(np.arange(len(part)), [len(row.candidates) for row in part])
        states = fast.encode_users(Ragged.of(users))
        logits = score_pairs(fast, states, cache.states(distinct), user, place.astype(np.int64))
        for at in range(len(part)):
            own = logits[user == at]
            above = int((own[1:] >= own[0]).sum())
            found.append(1 / math.log2(2 + above) if above < 10 else 0.0)
    return found


def open_benchmark(data: Path, work: Path, valid: int = VALIDATION_ROWS, test: int = TEST_ROWS) -> Benchmark:
    """Read the data, with so many rows to judge by; the catalogue is made once."""
    items = pd.read_parquet(data / "items.parquet")
    place = {name: at for at, name in enumerate(items["item_id"])}
    events = pd.read_parquet(data / "events.parquet").query("period == 'train'").sort_values(["user_id", "position"])
    sequences = [
        np.array([place[name] for name in own], np.int32) for _, own in events.groupby("user_id", sort=True)["item_id"]
    ]
    if not (work / "catalogue").is_dir():
        _make_catalogue(items, sequences, work / "catalogue")
    catalogue = Catalogue.load(work / "catalogue")
    learners = [User(str(at), own, own, own, own) for at, own in enumerate(sequences) if len(own) > 1]
    parts = {"valid": valid, "test": test}
    tables = {part: pd.read_parquet(data / f"{part}.parquet").sample(n, random_state=0) for part, n in parts.items()}
    rows = {part: [_row(catalogue, place, *pair) for pair in zip(table["history"], table["target"], strict=True)]
            for part, table in tables.items()}  # fmt: skip
    return Benchmark(catalogue, learners, **rows)


def _make_catalogue(items: pd.DataFrame, sequences: list[np.ndarray], folder: Path) -> None:
    tokens = load_tokens(str(ENCODER), LIMITS)
    frozen = for_inference(make_scorer("prefix", load_backbone(str(ENCODER)), 0))
    pieces, vectors = encode_texts(frozen, tokens, items["title"].tolist())
    count = len(items)
    owner = np.repeat(np.arange(len(sequences)), [len(own) for own in sequences])
    taken = sparse.csr_matrix((np.ones(len(owner)), (owner, np.concatenate(sequences))), (len(sequences), count))
    taken.data[:] = 1
    popularity = np.asarray(taken.sum(axis=0)).ravel()
    together = (taken.T @ taken).tocoo()
    apart = together.row != together.col
    row, column = together.row[apart], together.col[apart]
    rows = pa.table({
        "item_id": items["item_id"].tolist(), "title": items["title"].tolist(),
        "tokens": pa.array([p.tolist() for p in pieces], pa.list_(pa.int32())),
        "vector": pa.array(list(vectors), pa.list_(pa.float32())),
        "available": [True] * count,
        **dict.fromkeys(("taken", "taken_lately", "liked"), popularity.astype(int)),
        **dict.fromkeys(("idle", "age"), np.full(count, np.nan, np.float32)),
    })  # fmt: skip
    weight = together.data[apart] / np.sqrt(popularity[row] * popularity[column])
    covisited = pa.table({"item": row.astype(np.int32), "neighbour": column.astype(np.int32), "weight": weight})
    write_catalogue(folder, rows, {**dict.fromkeys(RELATIONS, covisited.slice(0, 0)), C.COVISITATION: covisited})


def _row(catalogue: Catalogue, place: dict[str, int], history: np.ndarray, target: str) -> Row:
    """Half of the others by co-visitation with the history, the rest by the frozen vectors."""
    own, wanted = np.array([place[name] for name in history], np.int32), place[target]
    [covisited_with] = catalogue.related[C.COVISITATION].sums([own])
    weights = covisited_with.look_up(np.arange(len(catalogue), dtype=np.int32))
    taken = {wanted, *own.tolist()}
    covisited = [int(item) for item in np.argsort(-weights, kind="stable") if weights[item] > 0 and item not in taken]
    others = covisited[: (CANDIDATES - 1) // 2]
    similar = catalogue.vectors @ catalogue.vectors[own].mean(axis=0)
    near = (int(item) for item in np.argsort(-similar, kind="stable") if item not in taken and item not in set(others))
    others += itertools.islice(near, CANDIDATES - 1 - len(others))
    return Row(own, np.array([wanted, *others], np.int32))


if __name__ == "__main__":
    sys.exit(main())
