"""What a model may have learned from users who are erased."""

from datetime import date

import pytest

from llmrec.domain.erased import Traces, eraser

FIRST, OLDEST = date(2026, 1, 31), date(2026, 1, 1)


@pytest.mark.parametrize(
    ("traces", "run_date", "events_from", "expected"),
    [
        (Traces(FIRST, OLDEST), "2026-02-01", "2026-01-01", True),
        (Traces(FIRST, OLDEST), "2026-01-31", "2026-01-01", False),  # the run date's own events are not read
        (Traces(FIRST, OLDEST), "2026-01-31", "2025-12-31", True),  # what it read is in part no longer there
        (Traces(FIRST, OLDEST), "2026-01-31", None, True),
        (Traces(FIRST, OLDEST), "2026-01-31", "None", True),
        (Traces(FIRST, OLDEST), None, "2026-01-01", True),
        (Traces(FIRST, OLDEST), "some day", "2026-01-01", True),
        (Traces(FIRST, None), "2026-01-31", "2026-01-01", True),
        (Traces(None, OLDEST), "2026-01-02", "2026-01-01", True),
    ],
)
def test_a_model_is_clear_only_if_all_it_read_is_there_and_was_there_before_the_user(
    traces: Traces, run_date: str | None, events_from: str | None, expected: bool
) -> None:
    assert traces.may_be_in(run_date, events_from) == expected


def test_of_ids_that_hold_one_another_the_longest_that_stands_there_goes() -> None:
    erase = eraser(["u1", "u1 b", "(x)", "\u202ez"])
    assert erase("u1 b, u1, u1c, u1-c, xu1 and (x)") == "(erased), (erased), u1c, (erased)-c, xu1 and (erased)"
    assert erase("as printed: \\u202ez") == "as printed: (erased)"
    assert erase("nobody") == "nobody"
