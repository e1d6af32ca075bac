"""What runs in Python workers: encoding of item texts, and the recommender over users. Models load once per worker."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from itertools import islice

import numpy as np
import pandas as pd
from pyspark import TaskContext
from pyspark.sql import DataFrame

from llmrec import columns as C
from llmrec.domain.exploration import Exploration
from llmrec.domain.rules import ListRules
from llmrec.domain.users import forget_history, shown_as_new
from llmrec.errors import ArtifactError
from llmrec.nn.approximate import open_index
from llmrec.nn.artifact import find_sequential, load_ablations, load_encoder, load_ranker
from llmrec.nn.candidates import CandidateSizes
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.device import pick_device, set_up_torch
from llmrec.nn.encoding import encode_texts
from llmrec.nn.inference import for_inference
from llmrec.nn.judging import judge_user
from llmrec.nn.linear import Precision
from llmrec.nn.recommender import Recommendation, Recommender
from llmrec.nn.scorer import Scorer
from llmrec.nn.tokens import Tokens
from llmrec.nn.unread import Unread
from llmrec.spark.kept_files import KeptFiles
from llmrec.spark.shipping import Shipped
from llmrec.spark.users import TARGETS, to_users

JUDGED = (
    "user_id string, new_user boolean, targets array<int>, "
    "lists array<struct<system:string,items:array<int>,auc:double>>, "
    "found array<struct<source:string,recall:double>>, pairs array<long>, predicted array<double>, "
    "liked array<long>, loss double"
)
FAILED = "failed"
PROPOSED = "proposed"
_ROWS_AT_ONCE = 500


@dataclass(frozen=True)
class NightParts:
    """What a worker needs to recommend."""

    model: Shipped
    catalogue: Shipped
    sizes: CandidateSizes
    rules: ListRules
    exploration: Exploration
    precision: Precision | None
    """None takes the best floats of the processor."""
    only: str | None = None
    """See `Recommender`."""
    without_failed: bool = False
    """See `Recommender`."""


def encode_items(texts: DataFrame, model: Shipped, encoder_version: str) -> DataFrame:
    """Encode distinct item texts.

    Input:  text_sha, text.
    Output: model_version (the encoder's), text_sha, tokens, vector.
    """

    def encode(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        scorer, tokens = _encoder(model)
        engine = for_inference(scorer)
        for batch in batches:
            pieces, vectors = encode_texts(engine, tokens, batch[C.TEXT].tolist())
            yield pd.DataFrame(
                {
                    C.MODEL_VERSION: encoder_version,
                    C.TEXT_SHA: batch[C.TEXT_SHA],
                    C.TOKENS: pieces,
                    C.VECTOR: list(vectors),
                }
            )

    return texts.select(C.TEXT_SHA, C.TEXT).mapInPandas(
        encode, f"{C.MODEL_VERSION} string, {C.TEXT_SHA} string, {C.TOKENS} array<int>, {C.VECTOR} array<float>"
    )


def ranked(
    batches: Iterator[pd.DataFrame],
    parts: NightParts,
    top_n: int,
    kept: KeptFiles | None,
    bucket: int,
    counts: Counter[str],
) -> Iterator[pd.DataFrame]:
    """Rank each user's candidates, in a worker; ``counts`` are added to.

    Input:  frames with one row per user, as spark.users makes them.
    Output: user_id, failed (sources that raised an error and were left out), proposed (candidates that the list was
            chosen from), rank, item_id, score, sources, reason, propensity, rating; at most ``top_n`` rows per user,
            in their order.
    """
    recommender = worker_recommender(parts)
    kept = kept if recommender.reads else None
    reuse = kept.open(bucket, recommender, counts) if kept else recommender.knowing_nothing()
    for batch in batches:
        rows = (
            (one.user.user_id, list(one.failed), len(one.proposals.items), *vars(row).values())
            for one in recommender.score(to_users(batch), reuse)
            for row in recommender.top(one, top_n)
        )
        yield from _frames(rows, [C.USER, FAILED, PROPOSED, *(field.name for field in fields(Recommendation))])
    if kept:
        kept.close(bucket, recommender, reuse, counts)
    if recommender.reads:
        counts.update(reuse.counts)


def _frames(rows: Iterator[tuple[object, ...]], columns: list[str]) -> Iterator[pd.DataFrame]:
    """Yield rows as frames, a few hundred at a time: each frame has its cost, and all rows at once need memory."""
    while some := list(islice(rows, _ROWS_AT_ONCE)):
        yield pd.DataFrame(some, columns=columns)


def pair_features(users: DataFrame, parts: NightParts) -> DataFrame:
    """Give what the fusion ranker learns from.

    Input:  one row per user with ``targets``, the items liked next.
    Output: user_id, shown_as_new, features (each pair's, end to end, float32), sources (likewise, which of SOURCES
            proposed the pair, one byte each), liked (one byte per pair); one row per user, and another for users whose
            ids hash into a tenth, as if they were new, so that the ranker also learns what to trust when there is no
            history. As bytes they pass through Spark at once, not number by number.
    """

    def score(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        recommender = worker_recommender(parts)
        for batch in batches:
            people, targets = to_users(batch), batch[TARGETS].to_list()
            new = [place for place, user in enumerate(people) if shown_as_new(user.user_id)]
            people += [forget_history(people[place]) for place in new]
            targets += [targets[place] for place in new]
            rows = (
                (one.user.user_id, place >= len(batch), one.features.tobytes(), one.proposals.sources.tobytes(),
                 np.isin(one.proposals.items, wanted).tobytes())
                for place, (one, wanted) in enumerate(zip(recommender.score(people), targets, strict=True))
            )  # fmt: skip
            yield from _frames(rows, [C.USER, "shown_as_new", "features", C.SOURCES, "liked"])

    return users.mapInPandas(
        score, f"{C.USER} string, shown_as_new boolean, features binary, {C.SOURCES} binary, liked binary"
    )


def judge(users: DataFrame, parts: NightParts, longest: int) -> DataFrame:
    """Compare the ranked lists of several systems with what each user liked next.

    Input:  one row per user with ``targets``.
    Output: user_id, new_user (without history), targets, lists (array of system, items, auc), found (array of source,
            recall), the sums behind calibration of llmrec's list (arrays over ten bins: pairs, predicted, liked), and
            loss (log loss, summed over its rows).
    """

    def compare(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        recommender, ablations = worker_recommender(replace(parts, only=None)), load_ablations(parts.model.open())
        for batch in batches:
            scored = recommender.score(to_users(batch))
            rows = [
                judge_user(recommender, ablations, one, targets, longest)
                for one, targets in zip(scored, batch[TARGETS], strict=True)
            ]
            yield pd.DataFrame([asdict(row) for row in rows])

    return users.mapInPandas(compare, JUDGED)


@lru_cache(maxsize=2)
def worker_recommender(parts: NightParts) -> Recommender:
    """Load model and catalogue once per worker; the frozen ``parts`` are the key.

    Raises ArtifactError if the vectors of the catalogue are not of the model's width.
    """
    scorer, tokens = _encoder(parts.model)
    folder = parts.catalogue.open()
    catalogue = Catalogue.load(folder)
    if (width := catalogue.vectors.shape[1]) != scorer.width:
        raise ArtifactError(
            f"item_vectors: vectors of this model have {width} numbers, its encoder gives {scorer.width}; expected as "
            "many: delete the rows of its model_version, and they are made again"
        )
    return Recommender(
        catalogue=catalogue,
        scorer=scorer,
        tokens=tokens,
        sizes=parts.sizes,
        rules=parts.rules,
        exploration=parts.exploration,
        fusion=load_ranker(parts.model.open()),
        precision=parts.precision,
        index=open_index(folder),
        only=parts.only,
        without_failed=parts.without_failed,
        sequential=find_sequential(parts.model.open()),
    )


@lru_cache(maxsize=2)
def _encoder(model: Shipped) -> tuple[Scorer | Unread, Tokens]:
    context = TaskContext.get()
    gpus = context.resources().get("gpu") if context else None
    set_up_torch(context.cpus() if context else 1)
    scorer, tokens = load_encoder(model.open())
    return scorer.to(pick_device(int(gpus.addresses[0]) if gpus else None)), tokens
