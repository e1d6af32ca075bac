"""The next-item benchmark from raw files to its JSON object, on a catalogue whose answers are planted."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from bench import next_item
from tests import tiny

COLOURS, THINGS = ("red", "blue", "green"), ("tea", "coffee", "cup", "pot", "film", "song", "book", "cat")
ITEMS = [f"{colour} {thing}" for colour in COLOURS for thing in THINGS]
PEOPLE = 60
"""In each of the two periods; every one walks three steps through the things of a colour, which is the only order."""


def walk(person: int) -> list[str]:
    colour, start = COLOURS[person % len(COLOURS)], person // len(COLOURS)
    return [f"{colour} {THINGS[(start + step) % len(THINGS)]}" for step in range(4)]


def write(folder: Path) -> None:
    """Write the four files; some columns hold nothing, as in a catalogue that knows little."""
    folder.mkdir()
    pd.DataFrame({
        "item_id": ITEMS, "title": ITEMS, "text": [None] * len(ITEMS), "brand": [None] * len(ITEMS),
        "category": [None] * len(ITEMS),
    }).to_parquet(folder / "items.parquet")  # fmt: skip
    events = pd.DataFrame(
        [
            (f"u{person}", item, place, "train" if person < PEOPLE or place < 3 else "valid")
            for person in range(2 * PEOPLE)
            for place, item in enumerate(walk(person))
        ],
        columns=["user_id", "item_id", "position", "period"],
    )
    events.to_parquet(folder / "events.parquet")
    for part in ("valid", "test"):
        rows = [(f"{part}-{person}", f"u{person}", walk(person)) for person in range(PEOPLE, 2 * PEOPLE)]
        if part == "test":  # the same steps by people of whom nothing else is known
            rows = [(row, f"someone-{user}", steps) for row, user, steps in rows]
        pd.DataFrame(
            [(row, user, steps[:3], steps[3]) for row, user, steps in rows],
            columns=["row_id", "user_id", "history", "target"],
        ).to_parquet(folder / f"{part}.parquet")


@pytest.mark.slow
def test_what_is_planted_is_found_and_reported(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "data")
    tiny.encoder_folder(tmp_path / "encoder")
    monkeypatch.setattr(next_item, "require_demo_data", lambda: None)
    monkeypatch.setattr(sys, "argv", [
        "next_item", "--data", str(tmp_path / "data"), "--seed", "3", "--budget-minutes", "0.5",
        "--json", str(tmp_path / "found.json"),
        "--set", f"encoder.path={tmp_path}/encoder", "train.cached_layers=1",
    ])  # fmt: skip
    assert next_item.main() == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert {"ndcg@10", "hr@10", "cold_ndcg@10", "without_bert_ndcg@10", "without_pair_scorer_ndcg@10", "minutes"} < set(
        found
    )
    by_system = {row["system"]: row for row in found["rows"]}
    assert by_system["next"]["HR@1"] == 1
    assert found["ndcg@10"] > 0.9 > 0.4 > by_system["popularity"]["NDCG@10"]
    assert found["recall"]["union"] == 1
    assert "60 rows, all" in capsys.readouterr().out
