"""Ids of erased users in texts that quote them."""

import re
from collections.abc import Callable, Iterable

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
