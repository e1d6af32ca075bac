"""Copies of texts, changed as nn.rewriter says, and of examples with such texts and mixed histories; made once."""

import math
from collections.abc import Iterator
from functools import lru_cache

import pandas as pd
from pyspark import TaskContext
from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F

from llmrec import columns as C
from llmrec.nn.device import pick_device, set_up_torch
from llmrec.nn.examples import COPIES
from llmrec.nn.rewriter import Rewriter
from llmrec.spark.examples import PART
from llmrec.spark.items import INDEX
from llmrec.spark.shipping import Shipped

_TEXTS_PER_TASK = 500
_TEXTS = "_texts"
_HISTORIES = "_histories"
_NUMBER = "_number"
_CHANCES = 1_000_000


def copy_texts(texts: DataFrame, key: str, rewriter: Shipped, at_most: int) -> DataFrame:
    """Rewrite texts.

    Input:  ``key`` and text, distinct together.
    Output: ``key``, text, copies (of each text a list of its copies' word pieces, at most ``at_most`` each). They
            follow from the key and the text, however the rows were spread.
    """

    def rewrite(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        worker = _worker_rewriter(rewriter)
        for batch in batches:
            copies = worker.copies(batch[key].tolist(), batch[C.TEXT].tolist(), at_most)
            yield pd.DataFrame({key: batch[key], C.TEXT: batch[C.TEXT], COPIES: copies})

    # Sums in a batch of a model depend, in their last digits, on what is beside a text: let that always be the same.
    tasks = max(1, math.ceil(texts.count() / _TEXTS_PER_TASK))
    placed = texts.select(key, C.TEXT).repartition(tasks, key).sortWithinPartitions(key, C.TEXT)
    return placed.mapInPandas(rewrite, f"{key} string, {C.TEXT} string, {COPIES} array<array<int>>")


@lru_cache(maxsize=1)
def _worker_rewriter(folder: Shipped) -> Rewriter:
    context = TaskContext.get()
    gpus = context.resources().get("gpu") if context else None
    set_up_torch(context.cpus() if context else 1)
    return Rewriter.load(folder.open()).to(pick_device(int(gpus.addresses[0]) if gpus else None))


def add_copies(examples: DataFrame, profiles: DataFrame | None, *, mix: float, copies: int, seed: int) -> DataFrame:
    """Add ``copies`` to examples: structs of profile (word pieces; null: as it is) and history.

    Input of examples: as spark.examples makes them. Input of profiles: user_id, text, copies, as `copy_texts` gives it;
    None leaves them all as they are. ``mix`` is as of `mixed_histories`; 0 leaves histories as they are.
    """
    known, histories = examples, F.array_repeat("history", copies)
    if mix:
        mixed = mixed_histories(examples, share=mix, copies=copies, seed=seed)
        known = known.join(mixed, on=[C.USER, PART], how="left")
        histories = F.col(_HISTORIES)
    texts: Column = F.array_repeat(F.lit(None).cast("array<int>"), copies)
    if profiles is not None:
        known = known.join(profiles.withColumnRenamed(COPIES, _TEXTS), on=[C.USER, C.TEXT], how="left")
        texts = F.coalesce(_TEXTS, texts)
    both = F.zip_with(
        texts, histories, lambda profile, history: F.struct(profile.alias("profile"), history.alias("history"))
    )
    return known.withColumn(COPIES, both).select(*examples.columns, COPIES)


def mixed_histories(examples: DataFrame, *, share: float, copies: int, seed: int) -> DataFrame:
    """Replace items of each history by those of other users' histories that went on to the same item.

    That histories of one target say about the same is the supervision of DuoRec (Qiu et al., 2022); items are
    substituted as in CoSeRec (Liu et al., 2021). Each place is replaced by chance, with the probability ``share``, as
    far as the other history has items that are neither in this one nor among the example's positives. Length and order
    stay, and so does a history that nobody shares a positive with.

    Input:  user_id, part, history, positives.
    Output: user_id, part, _histories (``copies`` of them, each with another user where there are so many).
    """
    likers = examples.select(C.USER, PART, "history", F.explode(F.array_distinct("positives")).alias(INDEX))
    order = W.partitionBy(INDEX).orderBy(_hash(seed, INDEX, C.USER, PART), C.USER, PART)
    placed = likers.withColumns({
        "_at": F.row_number().over(order) - 1, "_of": F.count("*").over(W.partitionBy(INDEX)),
    })  # fmt: skip
    numbers = F.explode(F.sequence(F.lit(1), F.lit(copies))).alias(_NUMBER)
    asking = placed.select(C.USER, PART, INDEX, "_at", "_of", numbers)
    asking = asking.withColumn("_at", (F.col("_at") + F.col(_NUMBER)) % F.col("_of"))  # around in a ring
    others = placed.select(INDEX, "_at", F.col(C.USER).alias("_other"), F.col("history").alias("_theirs"))
    met = asking.join(others, on=[INDEX, "_at"], how="inner").filter(F.col("_other") != F.col(C.USER))
    chosen = met.groupBy(C.USER, PART, _NUMBER).agg(
        F.min_by("_theirs", F.struct(_hash(seed, C.USER, PART, _NUMBER, INDEX), INDEX)).alias("_theirs")
    )  # fmt: skip
    every = examples.select(C.USER, PART, "history", "positives", numbers)
    both = every.join(chosen, on=[C.USER, PART, _NUMBER], how="left").withColumn("_mixed", _mixed(seed, share))
    in_order = F.array_sort(F.collect_list(F.struct(_NUMBER, "_mixed")))
    return both.groupBy(C.USER, PART).agg(F.transform(in_order, lambda one: one["_mixed"]).alias(_HISTORIES))


def _mixed(seed: int, share: float) -> Column:
    """Return ``history`` with some places taken by the latest items of ``_theirs``."""
    nothing = F.array().cast("array<int>")
    theirs = F.array_except(F.array_except(F.coalesce("_theirs", nothing), "history"), "positives")

    def by_chance(_: Column, place: Column) -> Column:
        chance = F.pmod(_hash(seed, C.USER, PART, _NUMBER, place), F.lit(_CHANCES)) / _CHANCES
        return F.when(chance < share, place)

    places = F.filter(F.transform("history", by_chance), lambda place: place.isNotNull())
    room = F.least(F.size(places), F.size(theirs))
    places, theirs = F.slice(places, 1, room), F.slice(theirs, F.size(theirs) - room + 1, room)

    def item(was: Column, place: Column) -> Column:
        found = F.array_position(places, place).cast("int")
        return F.when(found > 0, F.get(theirs, found - 1)).otherwise(was)

    return F.transform("history", item)


def _hash(seed: int, *columns: Column | str) -> Column:
    return F.xxhash64(F.lit(f"mix-{seed}"), *columns)
