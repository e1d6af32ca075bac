"""What users write, where, and what is known of them, from the sources to the text that the model reads."""

import csv
import importlib
from datetime import date
from pathlib import Path

import yaml
from pyspark.sql import SparkSession

from llmrec import columns as C
from llmrec.config import load_config
from llmrec.pipelines.night import open_night, user_rows
from llmrec.spark.schemas import SCHEMAS
from llmrec.spark.users import to_users
from tests import planted

EVENTS = [
    ("u1", "red-00", "2026-01-01", "home", "goes well with tea"),
    ("u1", "red-01", "2026-01-02", "cart", ""),
    ("u1", "red-02", "2026-01-03", "cart", "bell \a rings"),
    ("u1", "red-02", "2026-01-04", "cart", "x" * 41),
    ("u2", "red-02", "2026-02-01", "home", "of the run date: not read"),
]


def test_own_words_scene_and_attributes_travel_from_the_sources_to_the_text(
    spark: SparkSession, tmp_path: Path
) -> None:
    planted.write_sources(tmp_path)
    with (tmp_path / "events.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("who", "what", "at", "place", "review"), *EVENTS])
    (tmp_path / "users.json").write_text('{"id": "u1", "about": {"age": "30"}, "profile": "likes cups"}\n')
    settings = planted.settings(tmp_path)
    settings["sources"]["events"]["columns"] = {
        "user_id": "who", "item_id": "what", "event_time": "at", "scene": "place", "text": "review"
    }  # fmt: skip
    settings["sources"]["users"]["columns"] = {"user_id": "id", "text": "profile", "attributes": "about"}
    settings["prepare"] = {"max_text_chars": 40}
    settings["texts"] |= {"words_tokens": 4, "user_template": ["{profile}", "{attributes[age]}", "at {scene}"]}
    settings["score"]["scene"] = "cart"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    argv = ["--config", f"{tmp_path}/config.yaml"]
    assert importlib.import_module("prepare").JOB.run(argv) == 0

    tables = {name: spark.read.format("delta").load(f"{tmp_path}/lake/{name}") for name in (C.EVENTS, C.ITEMS, C.USERS)}
    none = {name: spark.createDataFrame([], SCHEMAS[name]) for name in (C.CANDIDATES, C.DENIED)}
    config, day = load_config(tmp_path / "config.yaml"), date(2026, 2, 1)
    night = open_night(**tables, **none, allowed=None, config=config, run_date=day)
    [user] = to_users(user_rows(night, night.events, config, liked=9, until=day).toPandas())
    named = {row["item"]: row["item_id"] for row in night.items.collect()}
    assert user.text == "likes cups. 30. at cart"
    assert [named[item] for item in user.liked] == ["red-00", "red-01"]
    assert {named[item]: words for item, words in user.words.items()} == {"red-00": "goes well with tea"}
    refused = spark.read.format("delta").load(f"{tmp_path}/lake/quarantine").collect()
    assert sorted(row["reason"] for row in refused) == ["text: longer than prepare.max_text_chars", "text: not text"]
