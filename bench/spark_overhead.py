"""What Spark costs around the engine: the scoring stage in local[2] against the same users in two bare processes.

    make demo bench-env
    source .venv/java.env && .venv-bench/bin/python -m bench.spark_overhead [--quick] [--json FILE]

The tables and the encoder are the demo's; lists are ordered by the pair scorer. The users are there several times
over, so that the stage has the length of a small night. Spark's time counts everything: transport both ways, the lists
written to nowhere, the start of the Python workers and the loading of the model. What of it is start, two stages of a
few users tell, with new workers and with those of the stage before. The bare processes are timed from the moment both
have the model and the users in memory. The last system is the idiom everyone starts from: predict_batch_udf round
CrossEncoder.predict, one row per pair, on fewer pairs; its time is per pair, start not counted.
"""

import multiprocessing
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import date
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pandas as pd
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import FloatType

from bench.output import arguments, save, show
from bench.texts import ENCODER
from bench.timing import interleaved, ratio
from llmrec import columns as C
from llmrec.config import load_config
from llmrec.models import find_model
from llmrec.nn.alone import Alone
from llmrec.nn.artifact import RANKER
from llmrec.nn.device import set_up_torch
from llmrec.pipelines.night import build_catalogue, night_parts, open_night, user_rows, with_texts_of
from llmrec.settings.config import Config
from llmrec.spark.schemas import SCHEMAS
from llmrec.spark.session import start_session
from llmrec.spark.shipping import ship_folder
from llmrec.spark.staging import stage_lists
from llmrec.spark.tables import read_table
from llmrec.spark.users import to_users
from llmrec.spark.vector_cache import ensure_vectors
from llmrec.spark.workers import NightParts, worker_recommender

ROUNDS, PROCESSES, PAIRS = 5, 2, 400
COPIES, FEW = 5, 16
"""Of each user in the stage; users of the stages that tell what starting costs."""
SPARK, BARE = "Spark, all counted", "two bare processes"
NEW, SAME = "few users, workers start", "few users, workers there"


def main() -> int:
    """Measure, print, save."""
    args = arguments(__doc__).parse_args()
    config = load_config(Path("conf/demo.yaml"), [])
    spark = start_session("bench", config.spark)
    with tempfile.TemporaryDirectory() as folder:
        people, parts = _night(spark, config, Path(folder))
        some = to_users(people.limit(50).toPandas())
        read = [len(one.proposals.agreed(parts.sizes.pair_scored)) for one in worker_recommender(parts).score(some)]
        pairs = float(np.mean(read))
        users = _several(people, 1 if args.quick else COPIES).persist()
        rows = users.toPandas()
        stage = partial(_score, people.limit(FEW), parts, config.score.top_n, PROCESSES)
        few = interleaved({NEW: partial(stage, new_workers=True), SAME: partial(stage, new_workers=False)}, ROUNDS)
        halves = [rows.iloc[start::PROCESSES] for start in range(PROCESSES)]
        with _Bare(parts, halves, config.score.top_n) as bare:
            stage = partial(_score, users, parts, config.score.top_n, config.score.partitions)
            both: dict[str, Callable[[], object]] = {SPARK: partial(stage, new_workers=True), BARE: bare.run}
            seconds = interleaved(both, 1 if args.quick else ROUNDS, warm_up=False)
        idiom = _idiom_pairs_per_s(spark)
    rates = {name: len(rows) * pairs / float(np.median(seconds[name])) for name in seconds}
    start = float(np.median(np.subtract(few[NEW], few[SAME])))
    overhead = ratio(seconds, SPARK, BARE) - 1
    table: list[dict[str, object]] = [
        {"system": name, "s": float(np.median(seconds[name])), "pairs/s": rate} for name, rate in rates.items()
    ]
    idiom_row = {"system": "predict_batch_udf round CrossEncoder", "s": "", "pairs/s": idiom}
    show(f"{len(rows)} users, of each about {pairs:.0f} candidates read by BERT", [*table, idiom_row])
    print(f"over the bare processes {overhead:+.1%}; of it the workers' start {start:.1f} s")
    save(args.json, {"users": len(rows), "candidates": pairs, "overhead": overhead, "start_s": start,
                     "pairs_per_s": rates, "predict_batch_udf_pairs_per_s": idiom,
                     "ratio_to_predict_batch_udf": rates[SPARK] / idiom})  # fmt: skip
    return 0


def _several(users: DataFrame, copies: int) -> DataFrame:
    """Give each user ``copies`` times, under names of their own."""
    numbered = users.crossJoin(users.sparkSession.range(copies).withColumnRenamed("id", "copy"))
    return numbered.withColumn(C.USER, F.concat_ws("-", C.USER, "copy")).drop("copy")


def _night(spark: SparkSession, config: Config, work: Path) -> tuple[DataFrame, NightParts]:
    """Make the night of the demo's run date, up to the scoring stage."""
    day, model = date(1998, 4, 23), find_model(config, work / "registered")
    config = with_texts_of(model.manifest, config)
    tables = {name: read_table(spark, config.tables.name(name), name) for name in (C.EVENTS, C.ITEMS, C.USERS)}
    missing = {name: spark.createDataFrame([], SCHEMAS[name]) for name in (C.CANDIDATES, C.DENIED)}
    night = open_night(**tables, **missing, allowed=None, config=config, run_date=day)
    users = user_rows(night, night.events, config, liked=config.texts.history_items, until=day).persist()
    shutil.copytree(model.folder, work / "model")
    Alone("pair_logit", 1.0, 0.0).save(work / "model" / RANKER)  # one that has pairs read, whatever the demo's does
    shipped = ship_folder(spark, work / "model", "model", work)
    vectors, _ = ensure_vectors(spark, config.tables.name(C.ITEM_VECTORS), night.items, shipped, model.encoder_version)
    build_catalogue(night, night.events, users, vectors, config, work / "catalogue", day)
    return users, night_parts(shipped, ship_folder(spark, work / "catalogue", "catalogue", work), config, day)


def _score(users: DataFrame, parts: NightParts, top_n: int, buckets: int, new_workers: bool) -> None:
    """Run the stage, with Python workers that start for it or with those of the run before."""
    if new_workers:  # workers of another environment are not reused
        users.sparkSession.sparkContext.environment["BENCH_RUN"] = uuid.uuid4().hex
    with tempfile.TemporaryDirectory() as folder:
        stage_lists(users, parts, top_n, buckets, Path(folder))


def _to_nowhere(rows: DataFrame) -> None:
    rows.write.format("noop").mode("overwrite").save()


class _Bare:
    """Processes that hold the model and their users, and recommend when told to."""

    def __init__(self, parts: NightParts, halves: list, top_n: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._ends = []
        for half in halves:
            here, there = context.Pipe()
            context.Process(target=_recommend_when_told, args=(there, parts, half, top_n), daemon=True).start()
            self._ends.append(here)
        for end in self._ends:
            end.recv()

    def run(self) -> None:
        """Recommend to all users once."""
        for end in self._ends:
            end.send("go")
        for end in self._ends:
            end.recv()

    def __enter__(self) -> "_Bare":
        return self

    def __exit__(self, *_: object) -> None:
        for end in self._ends:
            end.send("stop")


def _recommend_when_told(end: Connection, parts: NightParts, rows: pd.DataFrame, top_n: int) -> None:
    set_up_torch(1)
    recommender, users = worker_recommender(parts), to_users(rows)
    end.send("ready")
    while end.recv() == "go":
        end.send(sum(len(best) for best in recommender.recommend(users, top_n)))
        worker_recommender.cache_clear()
        recommender = worker_recommender(parts)  # with nothing kept of the last round


def _cross_encoder():
    """The idiom: load a model, return a function of arrays of texts."""
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(ENCODER.absolute()), num_labels=1, local_files_only=True)

    def predict(users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return model.predict(list(zip(users.tolist(), items.tolist(), strict=True)), batch_size=32)

    return predict


def _idiom_pairs_per_s(spark: SparkSession) -> float:
    from bench.pairs import Night

    scored = predict_batch_udf(_cross_encoder, return_type=FloatType(), batch_size=100)

    def seconds(count: int) -> float:
        night = Night.of(count // 50, 50)
        pairs = spark.createDataFrame(night.pairs(count), "user string, item string").repartition(2)
        begun = time.perf_counter()
        _to_nowhere(pairs.select(scored("user", "item")))
        return time.perf_counter() - begun

    return PAIRS / (seconds(2 * PAIRS) - seconds(PAIRS))


if __name__ == "__main__":
    sys.exit(main())
