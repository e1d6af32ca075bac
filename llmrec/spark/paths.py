"""Places in the driver's file system, as Spark takes them.

Hadoop makes its own URI of what it is given, so a URI with escapes names another place: a%20b for "a b". And it reads
what is to be read as a pattern.
"""

import re
from pathlib import Path

_OF_PATTERNS = re.compile(r"([\\*?\[\]{}])")


def place(path: Path) -> str:
    """Return where to write."""
    return f"file://{path.absolute()}"


def pattern(path: Path) -> str:
    """Return what to read: what only ``path`` matches."""
    return _OF_PATTERNS.sub(r"\\\1", place(path))
