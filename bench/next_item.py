"""What the lists are worth: the next item of each test row, ranked by the job's own parts, beside ablations.

    make demo/data
    source .venv/java.env && .venv/bin/python -m bench.next_item --data FOLDER [--seed S] [--json FILE]

FOLDER holds items (item_id, title, text, brand, category), events (user_id, item_id, position, period: train or
valid), valid and test (row_id, user_id, history oldest first, target) as Parquet. A row is a user with that history.
The encoder learns from the events of the training period; the ranker from the valid rows, with what is counted in the
training period; the test rows are ranked with what is counted in both periods, and used for nothing else. All items
may be recommended, those of the history too. Of each row the target's place counts; an item is new if it has no event.

"without" a part is a ranker of its own that never saw the part's features, nor the candidates that only this part
brought. llmrec is the better of the rankers without BERT and without the pair scorer, unless the whole one clearly
beats it, on valid rows that the trees had not seen: train decides so in the job. Each row is a user of its own there.
An event after a user's first row of a period is of that period, whatever the file says (bench/next_rows.py). "frozen"
is all but the pair scorer, with the encoder as it was before fine-tuning; its minutes are not among those of the job.
"""

import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime, timedelta, timezone
from functools import cached_property
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from bench.local_spark import SPARK
from bench.next_rows import KS, read_events
from bench.output import arguments, save, show
from bench.texts import ENCODER, require_demo_data
from llmrec import columns as C
from llmrec.config import load_config
from llmrec.domain.metrics import user_metrics
from llmrec.nn.artifact import add_sequential, finish_model, save_encoder
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.device import pick_device, set_up_torch
from llmrec.nn.judging import LLMREC
from llmrec.nn.negatives import NEAR
from llmrec.nn.pretrained import load_backbone, load_tokens
from llmrec.nn.scorers import make_scorer
from llmrec.nn.tokens import TextLimits
from llmrec.pipelines.evaluate import NEW_ITEMS, Metric, measure
from llmrec.pipelines.judges import stopping_panel, stopping_users
from llmrec.pipelines.night import Night, build_catalogue, night_parts, open_night, user_rows
from llmrec.pipelines.rankers import train_ranker
from llmrec.pipelines.training import train_scorer, train_sequential
from llmrec.progress import training_bar
from llmrec.settings.config import Config
from llmrec.spark.examples import of_likes
from llmrec.spark.schemas import SCHEMAS
from llmrec.spark.session import start_session
from llmrec.spark.shipping import Shipped, ship_folder
from llmrec.spark.splits import first_moment
from llmrec.spark.users import add_targets, in_tasks
from llmrec.spark.vector_cache import ensure_vectors
from llmrec.spark.workers import judge

FROZEN = "frozen"
LEARN, COUNT = date(2001, 1, 1), date(2002, 1, 1)
"""Ends of the training period and of all that is known before the test period."""
STARTS = {"train": date(2000, 1, 1), "valid": LEARN, "history": COUNT, "target": date(2003, 1, 1)}
"""The data has an order and no times: a position is a microsecond after its period's first moment, so that all items
are as recent as one another to the ranker, which would learn from what was made up otherwise."""
RUN_DATE = date(2004, 1, 1)
_Event = tuple[str, str, str, int]
"""User, item, a name of STARTS, place."""
SETTINGS = (
    f"encoder.path={ENCODER}", "rules.repeat_after_days=0",
    "candidates.popularity_days=10000", f"evaluate.k=[{','.join(map(str, KS))}]",
    "texts.max_item_tokens=32", "texts.history_tokens=20",
    "train.positives=1", "train.negatives=7", "train.max_epochs=2", "train.validations=2",
    "train.max_validation_users=400",
)  # fmt: skip
"""One item is taken next, repeats count, and times are unknown; the rest was chosen on valid rows."""
QUICK_ROWS, QUICK_MINUTES = 400, 0.5
"""With --quick: rows of valid and of test, and minutes of fine-tuning."""


def main() -> int:
    """Train, judge, print, save."""
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="the benchmark's Parquet files")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--budget-minutes", type=float, default=60, metavar="M", help="half of them for fine-tuning")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="a setting of the job")
    parser.add_argument("--on-valid", action="store_true", help="judge by half of the valid users, learn from the rest")
    args = parser.parse_args()
    require_demo_data()
    tuning = QUICK_MINUTES if args.quick else args.budget_minutes / 2
    own = (f"train.seed={args.seed}", f"train.max_minutes={tuning}")
    config = load_config(None, [*SETTINGS, *own, *args.set])
    most = QUICK_ROWS if args.quick else None
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        bench = Benchmark(start_session("bench", SPARK), args.data, config, Path(folder), most)
        if args.on_valid:
            (valid, test), until = (bench.rows("valid", half) for half in (0, 1)), LEARN
        else:
            (valid, test), until = (bench.rows(part) for part in ("valid", "test")), COUNT
        bench.fine_tune(valid)
        tuned, gains = bench.rank("model", valid, test, until, config)
        minutes = (time.monotonic() - begun) / 60
        unread = config.candidates.model_copy(update={"pair_scored": 0})
        without_pairs = config.model_copy(update={"candidates": unread})
        frozen, _ = bench.rank("base", valid, test, until, without_pairs)
    metrics = [*tuned, *(replace(row, system=FROZEN) for row in frozen if row.system == LLMREC)]
    _report(metrics, gains, minutes, args.json)
    return 0


@dataclass(frozen=True)
class Benchmark:
    """The files as the job's tables, and the job's steps on them."""

    spark: SparkSession
    data: Path
    config: Config
    work: Path
    most: int | None = None
    """Rows of valid, and of test, that are looked at: the first ones; None: all."""
    versions: dict[str, str] = field(default_factory=dict)
    """Of the encoders in the work folder, by folder."""

    @cached_property
    def night(self) -> Night:
        """All that is known before the test period."""
        raw = read_events(self.data)
        columns = (raw[name].tolist() for name in ("user_id", "item_id", "period", "position"))
        return self._open(list(zip(*columns, strict=True)))

    @cached_property
    def learners(self) -> DataFrame:
        """The users of the training period, one row each."""
        longest = self.config.candidates.covisitation_events
        return user_rows(self.night, self._events(LEARN), self.config, liked=longest, until=LEARN).persist()

    def rows(self, part: str, half: int | None = None) -> DataFrame:
        """Return the rows of valid or test as users with targets; of one half of the users, if ``half`` is 0 or 1."""
        raw = pd.read_parquet(self.data / f"{part}.parquet").iloc[: self.most]
        if half is not None:
            raw = raw[raw["user_id"].map(lambda name: zlib.crc32(name.encode()) % 2) == half]
        rows = zip(raw["row_id"], raw["history"], raw["target"], strict=True)
        taken, wanted = list[_Event](), list[_Event]()
        for row, history, target in rows:
            taken += [(row, item, "history", place) for place, item in enumerate(history)]
            wanted.append((row, target, "target", 0))
        names = self._frame({C.USER: raw["row_id"].tolist(), C.TEXT: [""] * len(raw), C.SEGMENT: [""] * len(raw)})
        night, known = replace(self._open(taken + wanted), users=names), _before(STARTS["target"])
        history = self.config.texts.history_items
        users = user_rows(night, night.events.filter(known), self.config, liked=history, until=STARTS["target"])
        found = add_targets(users, night.events.filter(~known)).persist()
        if found.count() < len(raw):
            print(f"{part}: {len(raw) - found.count()} of {len(raw)} rows have a target that is no item; left out")
        return found

    def fine_tune(self, judges: DataFrame) -> None:
        """Train the encoder on the events of the training period; ``judges`` decide when to stop."""
        train, texts = self.config.train, self.config.texts
        limits = TextLimits(**texts.model_dump(include={one.name for one in fields(TextLimits)}))
        tokens = load_tokens(self.config.encoder.path, limits)
        backbone = load_backbone(self.config.encoder.path)
        scorer = make_scorer(train.scorer, backbone, train.cached_layers, seed=train.seed)
        self.versions["base"] = save_encoder(self.work / "base", scorer, tokens)
        catalogue, _ = self._catalogue("base", LEARN)
        set_up_torch()
        scorer.to(pick_device())
        with training_bar() as report:
            examples = of_likes(
                self.learners, positives=train.positives, history=max(texts.history_items, NEAR)
            ).persist()
            train_scorer(
                scorer,
                tokens,
                catalogue,
                examples,
                stopping_panel(stopping_users(judges, self.config)),
                self.config,
                report,
                self.work,
                self.work / "checkpoints",
            )
        self.versions["model"] = save_encoder(self.work / "model", scorer.cpu(), tokens)

    def rank(
        self, model: str, valid: DataFrame, test: DataFrame, until: date, config: Config
    ) -> tuple[list[Metric], dict[str, float]]:
        """Fit the ranker on ``valid`` and judge it by ``test`` and what is known ``until`` then.

        ``model`` is a folder that lacks only the ranker. Returns all metrics, and llmrec's NDCG@10 of each row.
        """
        known, learned = self._catalogue(model, LEARN)
        add_sequential(self.work / model, train_sequential(known, self.learners, config))
        shipped = ship_folder(self.spark, self.work / model, f"{model}-sequential", self.work)
        rankers = train_ranker(valid, night_parts(shipped, learned, config, LEARN), config)
        gains = ", ".join(f"{name} {value:.4f}" for name, value in rankers.fitted.items() if name.startswith("dcg"))
        print(f"{model}, valid rows that the trees had not seen: {gains}")
        catalogue, counted = self._catalogue(model, until)
        finish_model(self.work / model, rankers.ranker, {}, rankers.ablations)
        complete = ship_folder(self.spark, self.work / model, f"{model}-complete", self.work)
        rows = in_tasks(test, config.score.partitions)
        judged = judge(rows, night_parts(complete, counted, config, until), max(KS)).toPandas()
        return measure(judged, catalogue, rankers.ranker.importance(), config), _gains(judged)

    @cached_property
    def _items(self) -> DataFrame:
        raw = pd.read_parquet(self.data / "items.parquet").fillna("")
        brands = [[("brand", name)] if name else [] for name in raw["brand"]]
        named = self._frame({
            C.ITEM: raw["item_id"].tolist(), C.TITLE: raw["title"].tolist(),
            C.TEXT: [". ".join(filter(None, pair)) for pair in zip(raw["brand"], raw["text"], strict=True)],
            C.CATEGORY: [_names(value) for value in raw["category"]],
            C.ATTRIBUTES: pa.array(brands, pa.map_(pa.string(), pa.string())),
        })  # fmt: skip
        others = [one for one in SCHEMAS[C.ITEMS] if one.name not in named.columns]
        return named.withColumns({one.name: F.lit(None).cast(one.dataType) for one in others}).persist()

    def _open(self, rows: Sequence[_Event]) -> Night:
        """Make a night of events."""
        users, items, periods, places = zip(*rows, strict=True)
        events = self._frame({
            C.USER: users, C.ITEM: items, C.EVENT: ["taken"] * len(rows),
            C.EVENT_TIME: [_moment(STARTS[period], place) for period, place in zip(periods, places, strict=True)],
        })  # fmt: skip
        events = events.withColumn(C.VALUE, F.lit(None).cast("double"))
        missing = {name: self._empty(SCHEMAS[name]) for name in (C.USERS, C.CANDIDATES, C.DENIED)}
        return open_night(
            events=events, items=self._items, **missing, allowed=None, config=self.config, run_date=RUN_DATE
        )

    def _frame(self, columns: dict[str, Sequence[object]]) -> DataFrame:
        """Make a frame that needs no Python worker when it is read: one stopped halfway prints its broken pipe."""
        return self.spark.createDataFrame(pa.table(columns))

    def _empty(self, schema: StructType) -> DataFrame:
        return self.spark.range(0).select(*(F.lit(None).cast(one.dataType).alias(one.name) for one in schema))

    def _events(self, until: date) -> DataFrame:
        return self.night.events.filter(_before(until))

    def _catalogue(self, model: str, until: date) -> tuple[Catalogue, Shipped]:
        """Make the catalogue of the events before ``until`` with the vectors of an encoder."""
        store = str(self.work / "item_vectors")
        vectors, _ = ensure_vectors(self.spark, store, self.night.items, self._ship(model), self.versions[model])
        folder = self.work / f"{model}-{until}"
        if not folder.exists():
            rows = user_rows(self.night, self._events(until), self.config, liked=1, until=until)
            build_catalogue(self.night, self._events(until), rows, vectors, self.config, folder, until)
        return Catalogue.load(folder), ship_folder(self.spark, folder, folder.name, self.work)

    def _ship(self, model: str) -> Shipped:
        return ship_folder(self.spark, self.work / model, model, self.work)


def _moment(start: date, place: int) -> datetime:
    return datetime(start.year, start.month, start.day, tzinfo=timezone.utc) + timedelta(microseconds=place)


def _names(cell: str | Sequence[str]) -> list[str]:
    """Return the names in a cell: none, one, or a list of them."""
    return list(filter(None, [cell] if isinstance(cell, str) else cell))


def _before(day: date) -> Column:
    return F.col(C.EVENT_TIME) < first_moment(day)


def _gains(judged: pd.DataFrame) -> dict[str, float]:
    """Return llmrec's NDCG@10 of each row."""
    own = (next(one["items"] for one in lists if one["system"] == LLMREC) for lists in judged["lists"])
    rows = zip(judged[C.USER], own, judged["targets"], strict=True)
    return {row: user_metrics(items.tolist(), set(wanted.tolist()), [10])["NDCG", 10] for row, items, wanted in rows}


def _report(metrics: list[Metric], gains: dict[str, float], minutes: float, path: Path | None) -> None:
    """Print the tables, and write the JSON object."""
    found = {(row.system, row.metric, row.k, row.segment): row for row in metrics}

    def value(system: str, metric: str, k: int | None = 10, segment: str = "all") -> float | None:
        row = found.get((system, metric, k, segment))
        return None if row is None else row.value

    def table(segment: str) -> list[dict[str, object]]:
        systems = dict.fromkeys(row.system for row in metrics if row.segment == segment and row.metric == "NDCG")
        columns = {f"{metric}@{k}": (metric, k) for metric in ("HR", "NDCG") for k in KS}
        return [{"system": one} | {name: value(one, *key, segment) for name, key in columns.items()} for one in systems]

    def shares(metric: str) -> dict[str, float]:
        return {row.segment: row.value for row in metrics if (row.system, row.metric) == (LLMREC, metric)}

    for segment in filter(table, ("all", NEW_ITEMS)):
        rows = [
            {name: f"{cell:.4f}" if isinstance(cell, float) else cell for name, cell in row.items()}
            for row in table(segment)
        ]
        show(f"{found[LLMREC, 'NDCG', 10, segment].users:,} rows, {segment}", rows)
    for row in (row for row in metrics if (row.metric, row.k) == ("NDCG difference", 10)):
        p = value(row.system, "NDCG p-value")
        print(f"NDCG@10 against {row.system}: {row.value:+.4f} ({row.low:+.4f} to {row.high:+.4f}), p = {p:.3f}")
    for metric in ("candidate recall", "importance"):
        print(metric, ", ".join(f"{name} {share:.3f}" for name, share in shares(metric).items()), sep=": ")
    error = value(LLMREC, "calibration error", None)
    print(f"calibration error {error:.4f}; {minutes:.1f} minutes")
    save(path, {
        "ndcg@10": value(LLMREC, "NDCG"), "hr@10": value(LLMREC, "HR"),
        "cold_ndcg@10": value(LLMREC, "NDCG", segment=NEW_ITEMS),
        "without_bert_ndcg@10": value("without-bert", "NDCG"),
        "without_pair_scorer_ndcg@10": value("without-pair-scorer", "NDCG"), "frozen_ndcg@10": value(FROZEN, "NDCG"),
        "calibration_error": error, "minutes": minutes, "rows": table("all"), "rows_of_new_items": table(NEW_ITEMS),
        "recall": shares("candidate recall"), "importance": shares("importance"), "ndcg@10_by_row": gains,
    })  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
