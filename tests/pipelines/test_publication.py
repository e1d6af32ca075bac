import re

import pytest

from llmrec.errors import GateError
from llmrec.pipelines.publication import admit, bounds_of, columns_read
from llmrec.settings.config import Config
from llmrec.settings.lists import Candidates, Gates
from llmrec.settings.tables import Liking
from llmrec.settings.texts import Texts

REASONS = ["eligible users: 26, expected 35 to 100; the night of 2026-02-01 had 50", "items.text: is missing"]


def test_columns_that_nothing_reads_are_not_looked_at() -> None:
    read = columns_read(Config())
    assert read["events"] == []
    assert read["items"] == ["title", "text", "category", "attributes", "available_from", "available_until"]
    assert read["users"] == ["text", "segment"]
    texts = Texts(
        words_tokens=3, item_template=["{title}"], user_template=["{profile}", "{scene} {attributes[age]}"]
    )  # fmt: skip
    read = columns_read(Config(texts=texts, liking=Liking(min_value=4), candidates=Candidates(segment=0)))
    assert read["events"] == ["value", "scene", "text"]
    assert "text" not in read["items"]
    assert read["users"] == ["text", "attributes"]


def test_a_night_out_of_bounds_is_refused_with_all_reasons_and_what_to_type() -> None:
    with pytest.raises(GateError, match="lake/recommendations: 2026-02-02: nothing is published, 2 of its") as caught:
        admit(REASONS, "lake/recommendations: 2026-02-02", forced_by="ann", why=None)
    assert all(f"\n  {reason}" in str(caught.value) for reason in REASONS)
    assert '--force "why"' in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_forced_night_is_let_through_saying_who_and_why_and_against_what() -> None:
    said = admit(REASONS, "lists", forced_by="ann", why="we left Spain")
    assert said
    assert re.match("forced by ann: we left Spain; out of bounds:\n  eligible users: 26", said)
    assert admit([], "lists", forced_by="ann", why="just so") == "forced by ann: just so; nothing was out of bounds"
    assert admit([], "lists", forced_by="ann", why=None) is None


def test_bounds_are_those_of_the_settings() -> None:
    assert bounds_of(Config(gates=Gates(max_fall=0.1, max_empty=None))).max_fall == 0.1
    assert bounds_of(Config(gates=Gates(max_fall=0.1, max_empty=None))).max_empty is None
