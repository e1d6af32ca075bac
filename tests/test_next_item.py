"""The next-item benchmark from raw files to its JSON object, on a catalogue whose answers are planted."""

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from bench import next_item
from tests import tiny

COLOURS, THINGS = ("red", "blue", "green"), ("tea", "coffee", "cup", "pot", "film", "song", "book", "cat")
NEW = "new tea"
"""What nobody took before the test period."""
ITEMS = [*(f"{colour} {thing}" for colour in COLOURS for thing in THINGS), NEW]
PEOPLE = 60
"""In each of the two periods; every one walks three steps through the things of a colour, which is the only order."""


def walk(person: int) -> list[str]:
    colour, start = COLOURS[person % len(COLOURS)], person // len(COLOURS)
    return [f"{colour} {THINGS[(start + step) % len(THINGS)]}" for step in range(4)]


def write(folder: Path, new: int) -> None:
    """Write the four files; some columns hold nothing, as in a catalogue that knows little.

    ``new`` of the test rows have the new item as their target.
    """
    folder.mkdir()
    pd.DataFrame({
        "item_id": ITEMS, "title": ITEMS, "text": [None] * len(ITEMS), "brand": [None] * len(ITEMS),
        "category": [[name.split()[1]] for name in ITEMS],
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
            rows[:new] = [(row, user, [*steps[:3], NEW]) for row, user, steps in rows[:new]]
        pd.DataFrame(
            [(row, user, steps[:3], steps[3]) for row, user, steps in rows],
            columns=["row_id", "user_id", "history", "target"],
        ).to_parquet(folder / f"{part}.parquet")


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *, new: int) -> dict[str, Any]:
    """Return what the benchmark writes of files made with ``new``."""
    folder.mkdir()
    write(folder / "data", new)
    tiny.encoder_folder(folder / "encoder")
    monkeypatch.setattr(next_item, "require_demo_data", lambda: None)
    monkeypatch.setattr(sys, "argv", [
        "next_item", "--data", str(folder / "data"), "--seed", "3", "--json", str(folder / "found.json"),
        "--set", f"encoder.path={folder}/encoder", "train.cached_layers=1",
    ])  # fmt: skip
    assert next_item.main() == 0
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found


@pytest.mark.slow
def test_what_is_planted_is_found_and_reported(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(tmp_path / "one", monkeypatch, new=0)
    assert {"ndcg@10", "hr@10", "cold_ndcg@10", "without_bert_ndcg@10", "without_pair_scorer_ndcg@10", "minutes"} < set(
        found
    )
    by_system = {row["system"]: row for row in found["rows"]}
    assert by_system["next"]["HR@1"] == 1
    assert found["ndcg@10"] > 0.9 > 0.4 > by_system["popularity"]["NDCG@10"]
    assert found["recall"]["union"] == 1
    said = capsys.readouterr().out
    assert "60 rows, all" in said
    other = run(tmp_path / "other", monkeypatch, new=30)
    said_then = capsys.readouterr().out
    assert "30 rows, new items" in said_then
    fitted = [[line for line in text.splitlines() if "trees had not seen" in line] for text in (said, said_then)]
    assert len(fitted[0]) == 2
    assert fitted[0] == fitted[1]  # what the test rows ask for has taught nothing
    assert other["importance"] == found["importance"]
    assert other["hr@10"] < found["hr@10"]
