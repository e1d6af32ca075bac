"""Text that others wrote, made harmless to print: it cannot steer a terminal, nor turn the order of what is read."""

import re

_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control letters but for tab and line end, line separators, what embeds or overrides a direction, lone surrogates."""


def printable(text: str) -> str:
    r"""Return ``text`` with ``\x1b`` and the like in place of letters that steer; line ends stay.

    >>> printable("red \x1b[31mtea")
    'red \\x1b[31mtea'
    """
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
