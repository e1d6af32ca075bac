"""What is left of erased users: their ids in texts that quote them, and what a model may have learned from them."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date

from llmrec.domain.printable import printable

ERASED = "(erased)"


def eraser(ids: Iterable[str]) -> Callable[[str], str]:
    """Return what puts "(erased)" for each of ``ids`` that stands in a text as a word of its own.

    >>> eraser(["u1"])("of 'u1' and u12")
    "of '(erased)' and u12"
    """
    as_told = {form for one in ids for form in (one, printable(one))}
    longest_first = sorted(as_told, key=len, reverse=True)

    def erase(text: str) -> str:
        for one in longest_first:
            if one in text:  # most are not, and this is quick
                text = re.sub(rf"(?<!\w){re.escape(one)}(?!\w)", ERASED, text)
        return text

    return erase


@dataclass(frozen=True)
class Traces:
    """Since when there are events, of erased users and of anybody."""

    first: date | None
    """Day of the first event of the erased; None: they were there, and nobody knows when."""
    oldest: date | None
    """Day of the oldest event that is kept; theirs may have been among older ones."""

    def may_be_in(self, run_date: str | None, events_from: str | None) -> bool:
        """Tell whether a model may have learned from them, in case of doubt True.

        Args:
            run_date: day that it was trained for, of whose own events it read none; None or no day: not known.
            events_from: day of the oldest event that it learned from, likewise.
        """
        trained_for, learned_from = _day(run_date), _day(events_from)
        if self.first is None or trained_for is None or trained_for > self.first:
            return True
        return self.oldest is None or learned_from is None or learned_from < self.oldest


def _day(told: str | None) -> date | None:
    try:
        return date.fromisoformat(told or "")
    except ValueError:
        return None
