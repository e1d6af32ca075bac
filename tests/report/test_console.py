"""The console summary reads well in a terminal and in a file."""

import io
from dataclasses import replace

import pytest

from llmrec.report.console import print_report
from llmrec.report.facts import Facts
from llmrec.report.words import duration, percent


def printed(facts: Facts, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    print_report(facts, {"report": "out/report.html"}, file)
    return raw.getvalue().decode(encoding)


def test_summary_shows_places_likes_and_suggestions_within_100_columns(facts: Facts) -> None:
    text = printed(facts)
    assert "950 users received 10 items each" in text
    assert "out/report.html" in text
    assert "Heat" in text
    assert "34%  A rather long title of the film number 1" in text
    assert "nothing so far" in text
    assert max(len(line) for line in text.splitlines()) <= 100
    assert not any(line.endswith(" ") for line in text.splitlines())
    assert "\x1b" not in text


def test_summary_fits_an_ascii_file_and_works_without_evaluation(facts: Facts) -> None:
    text = printed(replace(facts, evaluation=None), "ascii")
    assert "Evaluation has not run yet" in text
    assert "likes" in text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9.97, "10 s"), (59.7, "1 min 00 s"), (3_599.9, "1 h 00 min"), (7_500, "2 h 05 min")],
)
def test_time_spans(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("share", "words"), [(0.0, "0%"), (0.0004, "<0.1%"), (0.042, "4.2%"), (0.0999, "10%"), (0.05, "5%"), (1.0, "100%")]
)
def test_shares(share: float, words: str) -> None:
    assert percent(share) == words
