"""What one run at a time may do, whichever host it is on; and a job that no other may run beside."""

import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from llmrec.errors import OutputError

LOCKS = "locks"
"""Folder, in that of all runs, of what `held` holds."""
PREPARE = "prepare"
"""Name of the lock of prepare; those of score are run dates."""
_AT_WORK = ".at-work"
_PATIENCE = 1.0
"""Seconds: `names_held` holds each for a moment."""


@contextmanager
def held(lock: Path, owner: str, patience: float = _PATIENCE) -> Iterator[None]:
    """Hold the file ``lock`` for ``owner``; it is free again when the process is no more, however it ended.

    So it expires with the process and not by the clock: a run that is slow stays the only one. Raises OutputError,
    which names the owner and the process, if it is held after ``patience`` seconds still, and if it cannot be made.
    """
    file = FileLock(lock)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        _acquire(file, lock, patience)
        since = datetime.now(tz=timezone.utc).isoformat(sep=" ", timespec="minutes")
        process = f"{owner} (process {os.getpid()} on {socket.gethostname()}, since {since})"
        _owner_of(lock).write_text(process, encoding="utf-8")
    except Timeout as error:
        raise OutputError(f"{_who_holds(lock)}; expected one at a time: wait for it") from error
    except (OSError, NotImplementedError) as error:
        file.release()
        raise OutputError(f"work: {lock} cannot be made ({_reason(error)}); expected a writable place") from error
    try:
        yield
    finally:
        file.release()


def _acquire(file: FileLock, lock: Path, patience: float) -> None:
    """Acquire it; say so where that takes longer than `names_held` does. Raises Timeout."""
    try:
        file.acquire(timeout=min(patience, _PATIENCE))
    except Timeout:
        if patience <= _PATIENCE:
            raise
        print(f"{_who_holds(lock)}; waits for it, {patience / 60:.0f} minutes at most", file=sys.stderr, flush=True)
        file.acquire(timeout=patience)


def _who_holds(lock: Path) -> str:
    told = _owner_of(lock)
    return f"{lock}: {told.read_text(encoding='utf-8') if told.is_file() else 'another run'} is at work on the same"


def _owner_of(lock: Path) -> Path:
    return lock.with_suffix(".owner")


def names_held(locks: Path) -> set[str]:
    """Return the names, without ``.lock``, of those in the folder ``locks`` that a run holds now."""
    found = set()
    for path in locks.glob("*.lock"):
        try:
            with FileLock(path, timeout=0):
                pass
        except (Timeout, OSError):
            found.add(path.stem)
    return found


@contextmanager
def at_work(work: Path, *, alone: bool) -> Iterator[None]:
    """Be one of the jobs that use the folder ``work``, or the only one; it is so until the process is no more.

    Only a job that must be ``alone`` is kept from running where the folder can neither be made nor read.
    Raises OutputError if others are at work and this one must be alone, or the other way round.
    """
    try:
        lock = _open(work)
    except OSError as error:
        if alone:
            raise OutputError(
                f"work: {work} cannot be written ({error.strerror}); expected a writable place"
            ) from error
        yield
        return
    with lock:
        try:
            fcntl.flock(lock, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            others = "another job is at work, and this one must be alone" if alone else "users are being erased"
            raise OutputError(f"work: {work}: {others}; expected one after the other: wait for it") from error
        except OSError as error:
            raise OutputError(
                f"work: {work}: a file there cannot be locked ({error.strerror}); expected storage that can do that"
            ) from error
        yield


def _open(work: Path) -> IO[str]:
    """Open the file that all jobs lock: to read it too, as a network file system asks of a lock that is shared."""
    path = work / _AT_WORK
    try:
        work.mkdir(parents=True, exist_ok=True)
        return path.open("a+")
    except OSError:
        return path.open()  # of another account, which suffices for a lock


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
