"""What runs that were killed, or refused by the gates, left in the folder of all runs."""

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from llmrec.lock import LOCKS

_OF_A_RUN = re.compile(r"((score|training)-)?[0-9a-f]{12}")
_DAY = 24 * 3600


def remove_leftovers(work: Path, days: int) -> int:
    """Delete what no run has written to for ``days``; return how many files and folders that were.

    What another job or account removes meanwhile, or must not be touched, is left.
    """
    old = [path for path in _of_runs(work) if time.time() - _written(path) > days * _DAY]
    for path in old:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return sum(not path.exists() for path in old)


def _of_runs(work: Path) -> Iterator[Path]:
    yield from (path for path in work.glob("*") if _OF_A_RUN.fullmatch(path.name))
    yield from (work / LOCKS).glob("*")


def _written(path: Path) -> float:
    """Return when something in it was written last."""
    times = [path.stat().st_mtime]
    for inner in path.rglob("*"):
        try:
            times.append(inner.stat().st_mtime)
        except FileNotFoundError:  # its run goes on: it is not old
            return time.time()
    return max(times)
