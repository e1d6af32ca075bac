"""Clicks of lists that were shown: what a fine-tuned encoder makes of them, and what positions have to do with it.

    make demo/data
    source .venv/java.env && .venv/bin/python -m bench.clicks --data FOLDER [--seed S] [--json FILE]

FOLDER holds impressions (impression_id, user_id, item_id, position, clicked, history: item_ids with blanks between) and
items (item_id, title, text) as Parquet. Of each user's lists one, drawn by seed, is for test, one for validation; the
rest is learned from, at most --examples lists, as the job would (spark.examples.of_impressions). The encoder learns
twice by the same objective, with and without a term for positions (train.position_bias), each for half of
--budget-minutes; the term is left out of the scores. Test lists give the last figures and nothing else.

A test list counts if something in it was clicked and something not; equal scores are ordered by chance. "Evened" is the
AUC with each list weighing as much as clicks at its clicked positions are rare among all that was learned from (inverse
propensity, Joachims et al., 2017): what is left of it if each position had the same share of clicks. "Place" is how
much higher the score of what stood in the upper half is than that of the rest of its list, in spreads of scores.
"""

import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import functions as F

from bench.click_lists import METRICS, Lists, measure, place_in_scores
from bench.local_spark import SPARK
from bench.output import arguments, save, show
from bench.reading import Reader, make_plan, open_catalogue, open_tokens, progress
from bench.texts import ENCODER, require_demo_data
from llmrec import columns as C
from llmrec.domain.metrics import paired_bootstrap
from llmrec.nn.device import pick_device, set_up_torch
from llmrec.nn.plan import Outcome
from llmrec.nn.pretrained import load_backbone
from llmrec.nn.scorer import Scorer
from llmrec.nn.scorers import make_scorer
from llmrec.nn.training import fine_tune
from llmrec.settings.texts import Texts
from llmrec.settings.training import Train
from llmrec.spark.examples import of_impressions, write_examples
from llmrec.spark.items import INDEX
from llmrec.spark.session import start_session
from llmrec.spark.splits import LIKES
from llmrec.spark.users import MOMENTS, no_moments

EVENED = "evened AUC"
WITH, WITHOUT = "fine-tuned, with a term for positions", "fine-tuned, without"
TEXTS = Texts()
JUDGED = 300
"""Validation lists that early stopping is decided by."""


def main() -> int:
    """Learn, rank, print, save."""
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="the benchmark's Parquet files")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--budget-minutes", type=float, default=16, metavar="M", help="of both fine-tunings together")
    parser.add_argument("--examples", type=int, default=9000, metavar="N", help="lists that are learned from, at most")
    parser.add_argument("--objective", default="bce", choices=("bce", "listwise", "bpr"))
    args = parser.parse_args()
    require_demo_data()
    set_up_torch()
    begun = time.monotonic()
    lists = Lists.read(args.data, args.seed, users=150 if args.quick else None)
    with tempfile.TemporaryDirectory() as folder:
        readers = Readers(lists, Path(folder), args.seed)
        readers.write(args.examples)
        minutes = (0.5 if args.quick else args.budget_minutes) / 2
        test, rng = lists.part("test"), np.random.default_rng(args.seed)
        scores = {"chance": rng.random(len(test)), **lists.counts(test), "frozen, cosine": readers.frozen(test)}
        found = {name: readers.tuned(test, args.objective, minutes, with_term=name == WITH) for name in (WITHOUT, WITH)}
        scores |= {name: said for name, (said, _) in found.items()}
    positions = found[WITH][1].positions
    places = np.array(positions)[test["position"].clip(upper=len(positions) - 1)] if positions else 0.0
    scores["the same, the term left in"] = scores[WITH] + places
    _report(lists, test, scores, positions, (time.monotonic() - begun) / 60, args.json)
    return 0


class Readers:
    """Scorers that learned from the lists."""

    def __init__(self, lists: Lists, work: Path, seed: int) -> None:
        self._lists, self._work = lists, work
        self._settings = Train(seed=seed, learn_from="impressions", negatives=0, max_epochs=2)
        self._tokens, train = open_tokens(TEXTS), lists.part("train")
        counts = np.bincount(train.loc[train["clicked"], "item"], minlength=len(lists.items))
        self._catalogue = open_catalogue(work / "catalogue", lists.items, counts, self._tokens)
        valid = lists.part("valid")
        self._judged = valid[valid["request"].isin(valid["request"].unique()[:JUDGED])].reset_index(drop=True)

    def write(self, most: int) -> None:
        """Write what is learned from, as the job does."""
        spark = start_session("bench", SPARK)
        spark.sparkContext.setLogLevel("ERROR")
        train = self._lists.part("train")
        shown = pa.table({
            C.REQUEST: train["request"].tolist(), C.USER: train["user"].astype(str).tolist(), INDEX: train["item"],
            C.CLICKED: train["clicked"], C.POSITION: train["position"],
        })  # fmt: skip
        seen = [(str(user), one.tolist()) for user, one in enumerate(self._lists.histories)]
        users = spark.createDataFrame(
            pa.table(
                {C.USER: [user for user, _ in seen], "seen": pa.array([one for _, one in seen], pa.list_(pa.int32()))}
            )
        ).withColumns({C.TEXT: F.lit(""), MOMENTS: no_moments()})
        rows = spark.createDataFrame(shown).withColumn(C.EVENT_TIME, F.timestamp_seconds(F.lit(1000)))
        events = users.select(C.USER, F.posexplode("seen").alias("_place", INDEX)).select(
            C.USER, INDEX, F.timestamp_seconds("_place").alias(C.EVENT_TIME), F.lit(True).alias(LIKES)
        )  # fmt: skip
        examples = of_impressions(rows, events, users, history=TEXTS.history_items).persist()
        written = write_examples(examples, self._work / "examples", at_most=most, seed=self._settings.seed)
        print(f"{written:,} of {train['request'].nunique():,} lists are learned from")
        spark.stop()

    def frozen(self, rows: pd.DataFrame) -> np.ndarray:
        """Return what the encoder as it came says of ``rows``: the cosine of item and history."""
        return self._reader(self._scorer(), rows).cosines(self._lists.histories, *self._pairs(rows))

    def tuned(
        self, rows: pd.DataFrame, objective: str, minutes: float, *, with_term: bool
    ) -> tuple[np.ndarray, Outcome]:
        """Return what a scorer that learned from clicks says of ``rows``, and what came of learning."""
        scorer = self._scorer()
        plan = make_plan(self._settings, minutes, objectives={objective: 1.0}, position_bias=with_term)
        with progress(f"fine-tuning with{'' if with_term else 'out'} the term", "validation AUC") as report:
            outcome = fine_tune(scorer, self._tokens, self._catalogue, self._work / "examples", plan, self._judge,
                                report, self._work / f"checkpoints-{with_term}")  # fmt: skip
        return self._read(scorer, rows), outcome

    def _scorer(self) -> Scorer:
        settings = self._settings
        scorer = make_scorer(settings.scorer, load_backbone(str(ENCODER)), settings.cached_layers, seed=settings.seed)
        return scorer.to(pick_device())

    def _judge(self, scorer: Scorer) -> float:
        found = measure(self._judged, self._read(scorer, self._judged), np.random.default_rng(0))
        return float(found["AUC"].mean())

    def _read(self, scorer: Scorer, rows: pd.DataFrame) -> np.ndarray:
        return self._reader(scorer, rows).outputs(self._lists.histories, *self._pairs(rows))

    def _reader(self, scorer: Scorer, rows: pd.DataFrame) -> Reader:
        asked = [rows["item"].to_numpy(), *(self._lists.histories[user] for user in rows["user"].unique())]
        return Reader(scorer, self._tokens, self._catalogue, np.unique(np.concatenate(asked)))

    def _pairs(self, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        return rows["user"].to_numpy(np.int64), rows["item"].to_numpy(np.int64)


def _report(
    lists: Lists, test: pd.DataFrame, scores: Mapping[str, np.ndarray], positions: list[float], minutes: float,
    path: Path | None,
) -> None:  # fmt: skip
    """Print the tables, and write the JSON object."""
    measured = {name: measure(test, said, np.random.default_rng(0)) for name, said in scores.items()}
    clicked = test[test["clicked"]].groupby("request")["position"].min()
    weights = 1 / clicked.map(lists.rates).loc[measured[WITH].index]
    rows = {
        name: {
            **{metric: float(of[metric].mean()) for metric in METRICS},
            EVENED: float(np.average(of["AUC"], weights=weights)),
            "place": place_in_scores(test, scores[name]),
        }
        for name, of in measured.items()
    }
    show(f"{len(measured[WITH]):,} test lists", [
        {"system": name} | {key: f"{value:.4f}" for key, value in of.items()} for name, of in rows.items()
    ])  # fmt: skip
    show("clicks by position", [
        {"position": place, "share of clicks": f"{rate:.3f}",
         "odds against the first, the term's": f"{np.exp(positions[place]):.2f}" if place < len(positions) else ""}
        for place, rate in zip(lists.rates.index.tolist(), lists.rates, strict=True)
    ])  # fmt: skip
    more, low, high, p = paired_bootstrap(
        measured[WITH]["AUC"].to_numpy(), measured[WITHOUT]["AUC"].to_numpy(), 1000, seed=0
    )
    print(f"AUC with the term against without: {more:+.4f} ({low:+.4f} to {high:+.4f}), p = {p:.3f}; "
          f"{minutes:.1f} minutes")  # fmt: skip
    ours, blind = rows[WITH], rows[WITHOUT]
    save(path, {
        **{metric.lower(): ours[metric] for metric in METRICS}, "evened_auc": ours[EVENED],
        "auc_without_term": blind["AUC"], "evened_auc_without_term": blind[EVENED],
        "auc_difference": more, "auc_difference_low": low, "auc_difference_high": high, "p": p,
        "positions": positions, "rates": lists.rates.tolist(), "minutes": minutes, "systems": rows,
    })  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
