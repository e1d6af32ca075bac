"""Users per second of dense retrieval: llmrec against faiss flat, implicit's top-K and Spark ALS.

    source .venv/java.env && .venv-bench/bin/python -m bench.retrieve [--quick] [--json FILE]

100,000 items of width 384 and users between them, drawn in clusters from a seed; all systems get the same float32
vectors and two threads. In a round, ours, faiss, implicit and the bare matrix multiply of our blocks serve the same
5,000 of 100,000 users (2,000 with --quick); the time for all users is extrapolated from that, and without --quick ours
serves all of them once. Spark's ALSModel is a trained one whose factors were replaced by these vectors:
recommendForAllUsers in local[2], factors cached, lists written to nowhere; its time per user is the difference between
100 and 20 users, so that what a job costs whatever its users is left out. That all find the same items is checked: the
share of ours that each of them has stands in the table; for the approximate search it is the recall.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from implicit.cpu.topk import topk as implicit_topk
from pyspark.ml.recommendation import ALS, ALSModel
from pyspark.sql import DataFrame, SparkSession

from bench.output import arguments, save, show
from bench.timing import interleaved, ratio
from llmrec.nn.approximate import ApproximateIndex, open_index, write_index
from llmrec.nn.retrieval import ExactIndex

ITEMS, USERS, WIDTH, K, THREADS, ROUNDS = 100_000, 100_000, 384, 100, 2, 5
BLOCK = (512, 4096)
"""Users by items of the bare multiply, as in ours."""
OURS, FAISS, IMPLICIT, SPARK, MULTIPLY = "llmrec", "faiss flat", "implicit", "Spark ALS", "bare multiply"
APPROXIMATE = "llmrec approximate (faiss IVF)"
FEW, FEWER, FIXED = 100, 20, "Spark ALS for fewer users"


def main() -> int:
    """Measure, print, save."""
    args = arguments(__doc__).parse_args()
    torch.set_num_threads(THREADS)
    faiss.omp_set_num_threads(THREADS)
    items, users = draw(ITEMS, USERS)
    some, few = users[: 2000 if args.quick else 5000], users[:FEW]
    approximate = clustered(items)
    exact, flat = ExactIndex(items), faiss.IndexFlatIP(WIDTH)
    flat.add(items)
    with spark_als(few, items) as als, spark_als(users[:FEWER], items) as als_of_fewer:
        systems: dict[str, Callable[[], object]] = {
            OURS: partial(exact.top_k, some, K),
            APPROXIMATE: partial(search, approximate, some),
            FAISS: partial(flat.search, some, K),
            IMPLICIT: partial(implicit_topk, items, some, K, num_threads=THREADS),
            SPARK: lambda: als(K).write.format("noop").mode("overwrite").save(),
            FIXED: lambda: als_of_fewer(K).write.format("noop").mode("overwrite").save(),
            MULTIPLY: partial(multiply, torch.from_numpy(some), torch.from_numpy(items)),
        }
        seconds = interleaved(systems, ROUNDS)
        of_spark = {row.user: [best.item for best in row.recommendations] for row in als(K).collect()}
    fixed = seconds.pop(FIXED)
    per_user = {name: [one / len(some) for one in taken] for name, taken in seconds.items()}
    per_user[SPARK] = [(most - least) / (FEW - FEWER) for most, least in zip(seconds[SPARK], fixed, strict=True)]
    wanted = exact.top_k(some, K).items.numpy()
    found = {
        OURS: wanted,
        APPROXIMATE: search(approximate, some),
        FAISS: flat.search(some, K)[1],
        IMPLICIT: implicit_topk(items, some, K, num_threads=THREADS)[0],
        SPARK: np.array([of_spark[user] for user in range(len(few))]),
    }
    shares = {name: shared(wanted, those) for name, those in found.items()}
    rates = {name: 1 / float(np.median(taken)) for name, taken in per_user.items()}
    ratios = {name: ratio(per_user, name, OURS) for name in per_user}
    show(
        f"{ITEMS:,} items x {WIDTH}, k = {K}, {len(some):,} users a round ({FEW} for Spark ALS), "
        f"{THREADS} threads; median of {ROUNDS} rounds",
        [
            {"system": name, "users/s": rates[name], f"s for {USERS:,} users": USERS / rates[name],
             "its time to ours": ratios[name], "share of ours found": shares.get(name, "")}
            for name in per_user
        ],
    )  # fmt: skip
    figures: dict[str, object] = {
        "users": len(some), "users_spark_als": FEW, "items": ITEMS, "width": WIDTH, "k": K,
        "users_per_s": rates[OURS], "rates": rates, "shares_of_items": shares,
        "ratio_to_faiss_flat": ratios[FAISS], "ratio_to_implicit": ratios[IMPLICIT],
        "ratio_to_spark_als": ratios[SPARK], "gemm_limit_fraction": ratios[MULTIPLY],
        "seconds_extrapolated": USERS / rates[OURS],
    }  # fmt: skip
    if not args.quick:
        figures["seconds_all_users"] = _seconds(partial(exact.top_k, users, K))
        print(f"all {USERS:,} users in one call: {figures['seconds_all_users']:.1f} s")
    save(args.json, figures)
    return 0


def draw(items: int, users: int, clusters: int = 1000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw unit vectors: items round the centres of clusters, users between the items of three clusters each."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((clusters, WIDTH), np.float32)

    def around(cluster: np.ndarray) -> np.ndarray:
        drawn = centres[cluster] + rng.standard_normal((len(cluster), WIDTH), np.float32)
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    between = sum(around(rng.integers(clusters, size=users)) for _ in range(3))
    return around(rng.integers(clusters, size=items)), between / np.linalg.norm(between, axis=1, keepdims=True)


def clustered(items: np.ndarray) -> ApproximateIndex:
    """Make the index as a night does."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        write_index(Path(folder), items, np.ones(len(items), np.bool_))
        print(f"clustering {len(items):,} items, once a night: {time.perf_counter() - begun:.1f} s")
        index = open_index(Path(folder))
        assert index is not None
        return index  # the file stays mapped


def search(index: ApproximateIndex, users: np.ndarray) -> np.ndarray:
    """Search as a night does, with nothing seen."""
    nothing = [np.zeros(0, np.int64)] * len(users)
    return index.top_k(torch.from_numpy(users), K, excluded=nothing).items.numpy()


def multiply(users: torch.Tensor, items: torch.Tensor) -> None:
    """Compute all products and keep none."""
    room = torch.empty(BLOCK[0] * BLOCK[1])
    for some in users.split(BLOCK[0]):
        for block in items.split(BLOCK[1]):
            torch.mm(some, block.T, out=room[: len(some) * len(block)].view(len(some), len(block)))


@contextmanager
def spark_als(users: np.ndarray, items: np.ndarray) -> Iterator[Callable[[int], DataFrame]]:
    """Yield recommendForAllUsers of an ALSModel that has these factors."""
    master, threads = f"local[{THREADS}]", str(THREADS)
    options = {"driver.memory": "4g", "sql.shuffle.partitions": threads, "ui.showConsoleProgress": "false"}
    spark = (
        SparkSession.builder.master(master)
        .config(map={f"spark.{key}": value for key, value in options.items()})
        .getOrCreate()
    )
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "als"
        ratings = spark.createDataFrame([(0, 0, 1.0)], "user int, item int, rating float")
        ALS(rank=WIDTH, maxIter=0).fit(ratings).write().save(str(model))
        _write_factors(model / "userFactors", users)
        _write_factors(model / "itemFactors", items)
        als = ALSModel.load(str(model))
        for factors in (als.userFactors, als.itemFactors):
            factors.cache().count()
        yield als.recommendForAllUsers
        spark.stop()


def _write_factors(folder: Path, vectors: np.ndarray) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    for part, ids in enumerate(np.array_split(np.arange(len(vectors), dtype=np.int32), THREADS)):
        features = pa.FixedSizeListArray.from_arrays(pa.array(vectors[ids].ravel()), WIDTH)
        table = pa.table({"id": ids, "features": features.cast(pa.list_(pa.float32()))})
        pq.write_table(table, folder / f"part-{part}.parquet")


def shared(wanted: np.ndarray, found: np.ndarray) -> float:
    """Return the share of the ``wanted`` items of each row that are among the ``found`` of the same row."""
    pairs = zip(wanted[: len(found)], found, strict=True)
    return float(np.mean([np.isin(one, other).mean() for one, other in pairs]))


def _seconds(run: Callable[[], object]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())
