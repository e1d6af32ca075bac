"""The model that the settings name, where it is a folder."""

from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from llmrec.config import load_config
from llmrec.domain.erased import Traces
from llmrec.models import mark_models
from llmrec.nn.artifact import ModelInfo

NOW = datetime(2026, 2, 3, tzinfo=timezone.utc)
NOTE = "learned-from-erased-users.txt"
TRACES = Traces(date(2026, 1, 31), date(2026, 1, 1))


def marked(folder: Path) -> list[str]:
    return mark_models(load_config(None, [f"model={folder}"]), TRACES, NOW)


def test_a_folder_that_is_no_whole_model_is_marked_as_it_may_have_learned_from_anybody(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    assert marked(tmp_path) == [str(tmp_path)]
    assert (tmp_path / NOTE).read_text() == f"learned from users who were erased at {NOW.isoformat()}\n"


def test_a_folder_without_a_model_stays_as_it_is(tmp_path: Path) -> None:
    assert marked(tmp_path / "none") == marked(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("manifest", "is_marked"),
    [
        ({"run_date": "2026-01-31", "events": {"first": "2026-01-01 00:00:00"}}, False),
        ({"run_date": "2026-02-01", "events": {"first": "2026-01-01 00:00:00"}}, True),
        ({"run_date": "2026-01-31", "events": {"first": "2025-12-31 23:59:59"}}, True),
        ({"run_date": "2026-01-31", "events": {"first": None}}, True),
        ({}, True),
    ],
)
def test_a_model_in_a_folder_is_marked_by_what_its_manifest_says(
    manifest: dict[str, Any], is_marked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "manifest.json").write_text("")
    monkeypatch.setattr("llmrec.models.resolve_model", lambda _: ModelInfo(tmp_path, "feedc0ffee12", "v", manifest))
    assert marked(tmp_path) == ([f"{tmp_path} (feedc0ffee12)"] if is_marked else [])
    assert (tmp_path / NOTE).exists() == is_marked
