"""Ratings told beforehand, of items with ratings and of new ones: text and biases against biases and Spark's ALS.

    make demo/data
    source .venv/java.env && .venv/bin/python -m bench.ratings --data FOLDER [--seed S] [--json FILE]

FOLDER holds interactions (user_id, item_id, rating; rows without one are left out) and items (item_id, title, text,
category: names with commas between, type) as Parquet. A tenth of the items, chosen by seed, is new: all their ratings
are test rows and nothing else. Another tenth is as new to what is learned, and its ratings are validation rows. Of the
others' ratings a tenth is test, a tenth validation; all systems learn from the rest. What is chosen (strengths, ALS's
rank, when to stop, which objective) is chosen on validation rows; test rows give the last figures.

"text and biases" is nn.rating_model on the encoder's vectors and the categories: with the encoder as it came (frozen),
or fine-tuned by one objective to say what a user rates above his mean, with what its scorer then says of the pair. In
two-class a rating above the user's mean is a like. Each is given a third of --budget-minutes and at most --examples
examples, of a user's history and eight ratings; it stops earlier where that is no use.
"""

import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame, SparkSession

from bench.local_spark import SPARK
from bench.output import arguments, save, show
from bench.rating_rows import Market
from bench.reading import Reader, make_plan, open_catalogue, open_tokens, progress
from bench.texts import ENCODER, require_demo_data
from llmrec.nn.biases import Rated
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.device import pick_device, set_up_torch
from llmrec.nn.examples import Example, write_examples
from llmrec.nn.pretrained import load_backbone
from llmrec.nn.rating_model import RatingModel, fit_plain_biases, fit_rating_model, mae, rmse, text_features
from llmrec.nn.ratings import RatingScale
from llmrec.nn.scorer import Scorer
from llmrec.nn.scorers import make_scorer
from llmrec.nn.tokens import Tokens
from llmrec.nn.training import fine_tune
from llmrec.settings.texts import Texts
from llmrec.settings.training import Train
from llmrec.spark.session import start_session

OBJECTIVES = ("mse", "mae", "two-class")
TEXTS = Texts(history_tokens=10, max_user_tokens=80)
AT_ONCE = 8
"""Ratings of an example."""
JUDGED = 600
"""Validation ratings that early stopping is decided by."""
RANKS, STRENGTHS = (8, 32), (0.1, 0.15)
"""What ALS is tried with."""
MEAN, BIASES, ALS_NAME, FROZEN = "global mean", "user and item biases", "Spark ALS", "text and biases, frozen"


def main() -> int:
    """Learn, tell, print, save."""
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="the benchmark's Parquet files")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--budget-minutes", type=float, default=12, metavar="M", help="of all fine-tuning together")
    parser.add_argument("--examples", type=int, default=8000, metavar="N", help="that the encoder learns from, at most")
    args = parser.parse_args()
    require_demo_data()
    set_up_torch()
    begun = time.monotonic()
    market = Market.read(args.data, args.seed, users=400 if args.quick else None)
    minutes = (0.5 if args.quick else args.budget_minutes) / len(OBJECTIVES)
    with tempfile.TemporaryDirectory() as folder:
        texts = TextModels(market, Path(folder), args.seed, args.examples, minutes)
        systems = {FROZEN: texts.frozen()} | {f"text and biases, {one}": texts.tuned(one) for one in OBJECTIVES}
        spark = start_session("bench", SPARK)
        spark.sparkContext.setLogLevel("ERROR")
        spark.sparkContext.setCheckpointDir(folder)
        systems = baselines(market, spark, ((8, 0.1),) if args.quick else None) | systems
    _report(market, systems, (time.monotonic() - begun) / 60, args.json)
    return 0


@dataclass(frozen=True)
class Told:
    """What a system says the ratings are."""

    valid: np.ndarray
    test: np.ndarray


def baselines(market: Market, spark: SparkSession, tried: tuple[tuple[int, float], ...] | None) -> dict[str, Told]:
    """Return what the systems without text say; ALS says what biases do where it knows user or item not."""
    plain = fit_plain_biases(market.learned, market.valid)
    asked = (market.valid, market.test)
    told = {
        MEAN: Told(*(np.full(len(of.rating), plain.mean) for of in asked)),
        BIASES: Told(*(market.clip(plain(of.user, of.item)) for of in asked)),
    }
    frames = [_frame(spark, of).persist() for of in (market.learned, *asked)]
    found = []
    for rank, strength in tried or [(rank, strength) for rank in RANKS for strength in STRENGTHS]:
        method = ALS(rank=rank, regParam=strength, maxIter=10, checkpointInterval=2, seed=market.seed,
                     userCol="user", itemCol="item", ratingCol="rating", coldStartStrategy="nan")  # fmt: skip
        model = method.fit(frames[0])
        said = [model.transform(of).select("row", "prediction").toPandas().sort_values("row") for of in frames[1:]]
        values = [one["prediction"].to_numpy(np.float64) for one in said]
        filled = [np.where(np.isnan(v), expected, v) for v, expected in zip(
            values, (told[BIASES].valid, told[BIASES].test), strict=True)]  # fmt: skip
        found.append(Told(*(market.clip(one) for one in filled)))
        print(f"ALS, rank {rank}, regParam {strength}: RMSE {rmse(found[-1].valid, market.valid.rating):.4f} (valid)")
    return told | {ALS_NAME: min(found, key=lambda one: rmse(one.valid, market.valid.rating))}


class TextModels:
    """Ratings from texts and biases, with the encoder as it came or fine-tuned."""

    def __init__(self, market: Market, work: Path, seed: int, examples: int, minutes: float) -> None:
        self._market, self._work, self._minutes = market, work, minutes
        self._settings = Train(seed=seed, scorer="bilinear", negatives=0, learn_from="events", max_epochs=2)
        self._tokens: Tokens = open_tokens(TEXTS)
        counts = np.bincount(market.learned.item, minlength=len(market.items))
        self._catalogue: Catalogue = open_catalogue(work / "catalogue", market.items, counts, self._tokens)
        self._rng = np.random.default_rng(seed)
        self._histories = self._choose_histories()
        write_examples(work / "examples", self._cut(examples))

    def frozen(self) -> Told:
        """Tell ratings by the vectors of the encoder as it came."""
        return self._tell(self._scorer(), outputs=False)

    def tuned(self, objective: str) -> Told:
        """Tell ratings by what an encoder that learned by ``objective`` makes of texts and pairs."""
        scorer = self._scorer()
        above = self._market.above
        scale = RatingScale(*(float(one) for one in (above.mean(), above.std(), above.min(), above.max())))
        plan = make_plan(self._settings, self._minutes, objectives={objective: 1.0}, ratings=scale)
        with progress(f"fine-tuning by {objective}", "correlation with validation ratings") as report:
            fine_tune(scorer, self._tokens, self._catalogue, self._work / "examples", plan, self._judge, report,
                      self._work / f"checkpoints-{objective}")  # fmt: skip
        return self._tell(scorer, outputs=True)

    def _scorer(self) -> Scorer:
        settings = self._settings
        scorer = make_scorer(settings.scorer, load_backbone(str(ENCODER)), settings.cached_layers, seed=settings.seed)
        return scorer.to(pick_device())

    def _judge(self, scorer: Scorer) -> float:
        rows = np.random.default_rng(0).permutation(len(self._market.valid.rating))[:JUDGED]
        users, user = np.unique(self._market.valid.user[rows], return_inverse=True)
        item = self._market.valid.item[rows]
        reader = Reader(scorer, self._tokens, self._catalogue, np.unique(item))
        said = reader.outputs([self._histories[one] for one in users], user, item)
        return float(np.nan_to_num(np.corrcoef(said, self._market.valid_above[rows])[0, 1]))

    def _tell(self, scorer: Scorer, *, outputs: bool) -> Told:
        market, every = self._market, np.arange(len(self._market.items))
        reader = Reader(scorer, self._tokens, self._catalogue, every)
        features = text_features(reader.vectors(every), market.groups)
        model: RatingModel = fit_rating_model(market.learned, market.valid, features)
        if not outputs:
            return Told(*(model(of.user, of.item) for of in (market.valid, market.test)))
        valid, test = (reader.outputs(self._histories, of.user, of.item) for of in (market.valid, market.test))
        model = model.learn_outputs(market.valid, valid)
        print(f"a spread of the scorer's outputs counts {model.blend[0, 1] * valid.std():.3f} for known items, "
              f"{model.blend[1, 1] * valid.std():.3f} for new ones")  # fmt: skip
        return Told(model(market.valid.user, market.valid.item, valid), model(market.test.user, market.test.item, test))

    def _choose_histories(self) -> list[np.ndarray]:
        """Return some items that each user rated above his mean."""
        return [self._rng.permutation(items[above > 0])[: TEXTS.history_items] for items, above in self._by_user()]

    def _cut(self, most: int) -> list[Example]:
        """Cut what each user rated into lists of AT_ONCE, each with some liked items of the others as its history."""
        nothing, found = np.zeros(0, np.int32), list[Example]()
        for items, above in self._by_user():
            order = self._rng.permutation(len(items))
            for start in range(0, len(order), AT_ONCE):
                own = order[start : start + AT_ONCE]
                own = own[np.argsort(above[own] <= 0, kind="stable")]
                rest = np.setdiff1d(order[above[order] > 0], own)
                history = items[self._rng.permutation(rest)[: TEXTS.history_items]]
                liked = int((above[own] > 0).sum())
                found.append(Example("", history, items[own[:liked]], items, others=items[own[liked:]],
                                     ratings=above[own].astype(np.float32), positions=nothing))  # fmt: skip
        chosen = self._rng.permutation(len(found))[:most]
        print(f"{len(chosen):,} of {len(found):,} examples, {sum(len(found[at].ratings) for at in chosen):,} ratings")
        return [found[at] for at in chosen if len(found[at].history)]

    def _by_user(self) -> list[tuple[np.ndarray, np.ndarray]]:
        learned, order = self._market.learned, np.argsort(self._market.learned.user, kind="stable")
        ends = np.cumsum(np.bincount(learned.user, minlength=learned.users))[:-1]
        return [(learned.item[rows].astype(np.int32), self._market.above[rows]) for rows in np.split(order, ends)]


def _frame(spark: SparkSession, rated: Rated) -> DataFrame:
    return spark.createDataFrame(pa.table({
        "row": np.arange(len(rated.rating)), "user": rated.user.astype(np.int32), "item": rated.item.astype(np.int32),
        "rating": rated.rating.astype(np.float32),
    }))  # fmt: skip


def _report(market: Market, systems: Mapping[str, Told], minutes: float, path: Path | None) -> None:
    """Print the table, and write the JSON object."""
    new, truth = market.is_new[market.test.item], market.test.rating

    def errors(name: str) -> dict[str, float]:
        said = systems[name].test
        return {
            "RMSE": rmse(said[~new], truth[~new]), "MAE": mae(said[~new], truth[~new]),
            "RMSE, new items": rmse(said[new], truth[new]), "MAE, new items": mae(said[new], truth[new]),
        }  # fmt: skip

    rows = {name: errors(name) for name in systems}
    show(f"{(~new).sum():,} test ratings of items with ratings, {new.sum():,} of new items", [
        {"system": name} | {key: f"{value:.4f}" for key, value in of.items()} for name, of in rows.items()
    ])  # fmt: skip
    tuned = [name for name in systems if name.startswith("text and biases") and name != FROZEN]
    best = min(tuned, key=lambda name: rmse(systems[name].valid, market.valid.rating))
    ours, biases, als = rows[best], rows[BIASES], rows[ALS_NAME]
    print(f"on validation ratings the best is {best!r}: {1 - ours['RMSE'] / als['RMSE']:.1%} below ALS, "
          f"{1 - ours['RMSE, new items'] / biases['RMSE, new items']:.1%} below biases on new items; "
          f"{minutes:.1f} minutes")  # fmt: skip
    save(path, {
        "rmse": ours["RMSE"], "mae": ours["MAE"], "als_rmse": als["RMSE"], "bias_rmse": biases["RMSE"],
        "cold_rmse": ours["RMSE, new items"], "cold_bias_rmse": biases["RMSE, new items"], "system": best,
        "minutes": minutes, "learned": len(market.learned.rating), "systems": rows,
    })  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
