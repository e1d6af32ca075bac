"""A ranker that goes by one source alone, through all jobs, without any encoder."""

import importlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from tests import planted, tiny

NEW = "red-new"
"""Nobody has taken it: it can be had from the run date on."""
jobs = {name: importlib.import_module(name) for name in ("prepare", "train", "score", "evaluate")}


def run(job: str, folder: Path, *overrides: str) -> int:
    argv = ["--config", f"{folder}/config.yaml", "--run-date", planted.RUN_DATE, "--set", *overrides]
    return jobs[job].JOB.run(argv)


@pytest.fixture(scope="module")
def folder(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    tiny.encoder_folder(folder / "encoder")
    (folder / "encoder" / "model.safetensors").unlink()  # only the tokenizer may be needed
    planted.write_sources(folder)
    new = {"id": NEW, "name": "red tea", "colour": "red", "opens": planted.RUN_DATE, "closes": None}
    with (folder / "items.json").open("a") as items:
        items.write("\n" + json.dumps(new))
    assert run("prepare", folder, "train.ranker=next") == 0
    return folder


def test_what_follows_alone_recommends_what_users_take_next(spark: SparkSession, folder: Path) -> None:
    for job in ("train", "score", "evaluate"):
        assert run(job, folder, "train.ranker=next") == 0
    taken = pd.DataFrame(planted.events(), columns=["user_id", "item_id", "event", "at"])
    last = taken.sort_values("at").groupby("user_id")["item_id"].last()
    rows = spark.read.format("delta").load(f"{folder}/lake/recommendations")
    given = {row["user_id"]: row for row in rows.filter("user_id like 'u%' and rank = 1").collect()}
    assert np.mean([given[user]["item_id"] == planted.after(item) for user, item in last.items()]) > 0.9
    assert {row["reason"].split("“")[0] for row in given.values()} == {"Often chosen after "}
    judged = spark.read.format("delta").load(f"{folder}/lake/metrics").select("system").distinct().collect()
    systems = {row["system"] for row in judged}
    assert {"llmrec", "next", "popularity"} <= systems
    assert not systems & {"dense", "similar", "sequential", "bert"}  # nothing is known of vectors
    proposed = rows.select(F.explode("sources").alias("source")).distinct().collect()
    assert {row["source"] for row in proposed} <= {"next", "popularity", "fallback"}  # popularity fills short lists


def test_factors_alone_recommend_what_people_of_the_same_taste_take(spark: SparkSession, folder: Path) -> None:
    for job in ("train", "score"):
        assert run(job, folder, "train.ranker=als", "candidates.als=20", f"model={folder}/als") == 0
    taken = pd.DataFrame(planted.events(), columns=["user_id", "item_id", "event", "at"])
    colour = taken.groupby("user_id")["item_id"].first().str.split("-").str[0]
    rows = spark.read.format("delta").load(f"{folder}/lake/recommendations").filter("user_id like 'u%'").collect()
    found = [row for row in rows if "als" in row["sources"]]
    assert np.mean([row["item_id"].startswith(colour[row["user_id"]]) for row in found if row["rank"] == 1]) == 1
    assert {row["reason"] for row in found if row["rank"] == 1} == {"Chosen by people whose choices are like yours"}


@pytest.mark.parametrize("ranker", ["co-visitation", "user-based", "ease", "lexical"])
def test_one_source_alone_recommends_what_is_of_the_users_colour(
    spark: SparkSession, folder: Path, ranker: str
) -> None:
    for job in ("train", "score"):
        assert run(job, folder, f"train.ranker={ranker}", "candidates.lexical=20", f"model={folder}/{ranker}") == 0
    assert _of_own_colour(spark, folder) == 1


def test_the_order_of_vectors_alone_recommends_what_is_of_the_users_colour(
    spark: SparkSession, folder: Path, tmp_path: Path
) -> None:
    tiny.encoder_folder(tmp_path / "encoder")
    settings = ("train.ranker=sequential", f"encoder.path={tmp_path}/encoder", f"model={folder}/sequential")
    for job in ("train", "score"):
        assert run(job, folder, *settings) == 0
    assert _of_own_colour(spark, folder) > 0.9


def _of_own_colour(spark: SparkSession, folder: Path) -> float:
    """Return how many users have an item of the colour they took in the first place of their list."""
    first = spark.read.format("delta").load(f"{folder}/lake/recommendations").filter("user_id like 'u%' and rank = 1")
    taken = {user: item.split("-")[0] for user, item, *_ in planted.events()}
    return float(np.mean([row["item_id"].startswith(taken[row["user_id"]]) for row in first.collect()]))


def test_a_new_item_is_recommended_from_its_text_on_its_first_night(spark: SparkSession, folder: Path) -> None:
    for job in ("train", "score"):
        assert run(job, folder, "train.ranker=lexical", "candidates.lexical=20", f"model={folder}/lexical") == 0
    rows = spark.read.format("delta").load(f"{folder}/lake/recommendations").filter("user_id like 'u%'")
    given = {row["user_id"] for row in rows.filter(F.col("item_id") == NEW).collect()}
    assert given and {int(user[1:]) % 2 for user in given} == {planted.COLOURS.index("red")}


def test_a_model_is_not_scored_with_another_ranker_than_it_was_trained_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("score", folder, "train.ranker=popularity") == 2
    assert "was trained with train.ranker next, the configuration says popularity" in capsys.readouterr().err
