"""A planted world: half the users like red things, half blue ones, in the order of their numbers."""

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import yaml

COLOURS = ("red", "blue")
PER_COLOUR = 14
USERS = 48
FIRST = datetime(2026, 1, 1, tzinfo=timezone.utc)
RUN_DATE = "2026-02-01"
GONE, LATER = "red-13", "blue-13"
"""Items that are no longer, or not yet, available on the run date."""


def items() -> list[dict[str, Any]]:
    """red-00 ... blue-13; the last of each colour is not available on the run date."""
    rows = []
    for colour in COLOURS:
        for number in range(PER_COLOUR):
            item = f"{colour}-{number:02d}"
            row = {"id": item, "name": f"{colour} {('tea', 'cup', 'pot')[number % 3]}", "colour": colour}
            opens = FIRST + timedelta(days=90 if item == LATER else 0)
            closes = FIRST + timedelta(days=5 if item == GONE else 900)
            rows.append({**row, "opens": opens.isoformat(), "closes": closes.isoformat()})
    return rows


def events() -> list[tuple[Any, ...]]:
    """Each user takes eight items of one colour, starting at a place of their own, three days apart."""
    rows = []
    for user in range(USERS):
        colour, start = COLOURS[user % 2], user // 2
        for step in range(8):
            item = f"{colour}-{(start + step) % (PER_COLOUR - 1):02d}"
            at = FIRST + timedelta(days=user // 8 + 3 * step)
            rows.append((f"u{user:02d}", item, "purchase", at))
    return rows


def after(item: str) -> str:
    """Return what users take after ``item``."""
    colour, number = item.split("-")
    return f"{colour}-{(int(number) + 1) % (PER_COLOUR - 1):02d}"


def users() -> list[dict[str, str | None]]:
    """Two users without events, beside a profile for one who has some."""
    return [
        {"id": "new-red", "profile": "red tea", "segment": "new"},
        {"id": "new-quiet", "profile": None, "segment": "new"},
        {"id": "u00", "profile": "red", "segment": "old"},
    ]


def write_sources(folder: Path) -> None:
    """Write the world as a user has it, events in CSV, items and users in JSON lines, and settings of a quick night."""
    lines = [f"{user},{item},{event},{at.isoformat()}" for user, item, event, at in events()]
    (folder / "events.csv").write_text("\n".join(["who,what,how,at", *lines]))
    (folder / "items.json").write_text("\n".join(json.dumps(item) for item in items()))
    (folder / "users.json").write_text("\n".join(json.dumps(user) for user in users()))
    (folder / "config.yaml").write_text(yaml.safe_dump(settings(folder)))


def settings(folder: Path) -> dict[str, Any]:
    """Settings of a small, quick night in ``folder`` with the encoder at folder/encoder."""
    return {
        "sources": {
            "events": {
                "path": f"{folder}/events.csv",
                "format": "csv",
                "options": {"header": "true"},
                "columns": {"user_id": "who", "item_id": "what", "event": "how", "event_time": "at"},
            },
            "items": {
                "path": f"{folder}/items.json",
                "format": "json",
                "columns": {
                    "item_id": "id",
                    "title": "name",
                    "category": "colour",
                    "available_from": "opens",
                    "available_until": "closes",
                },
            },
            "users": {
                "path": f"{folder}/users.json",
                "format": "json",
                "columns": {"user_id": "id", "text": "profile", "segment": "segment"},
            },
        },
        "tables": {"location": f"{folder}/lake"},
        "model": f"{folder}/model",
        "work": f"{folder}/work",
        "encoder": {"path": f"{folder}/encoder"},
        "report": {"path": f"{folder}/report.html"},
        "holdout": {"by": "last_events", "events": 1},
        "texts": {"history_items": 4, "history_tokens": 4, "max_user_tokens": 32, "max_item_tokens": 12},
        "train": {
            "cached_layers": 1,
            "frozen_layers": 0,
            "positives": 1,
            "negatives": 6,
            "max_epochs": 2,
            "learning_rate": 0.002,
        },
        "candidates": {
            "dense": 5,
            "covisitation": 10,
            "next": 10,
            "ease": 10,
            "popularity": 5,
            "neighbours": 20,
            "recent_events": 4,
        },
        "score": {"top_n": 4, "partitions": 2},
        "evaluate": {"k": [1, 4], "bootstrap": 200},
        "spark": {
            "spark.ui.enabled": "false",
            "spark.sql.shuffle.partitions": "2",
            "spark.databricks.delta.snapshotPartitions": "2",
        },
    }
