"""A folder that one run at a time works in, whichever host it is on; and a job that no other may run beside."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from llmrec.errors import OutputError

_LOCK, _OWNER, _AT_WORK = "lock", "owner", ".at-work"


@contextmanager
def held(folder: Path, owner: str) -> Iterator[Path]:
    """Make ``folder`` and hold it for ``owner``; it is free again when the process is no more, however it ended.

    Raises OutputError naming who holds it, or if it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / _LOCK)
        lock.acquire(timeout=0)
    except Timeout as error:
        who = (folder / _OWNER).read_text(encoding="utf-8") if (folder / _OWNER).is_file() else "another run"
        raise OutputError(f"{folder}: {who} is at work on the same; expected one at a time: wait for it") from error
    except OSError as error:
        raise OutputError(f"work: {folder} cannot be made ({error.strerror}); expected a writable place") from error
    try:
        (folder / _OWNER).write_text(owner, encoding="utf-8")
        yield folder
    finally:
        lock.release()


@contextmanager
def at_work(work: Path, *, alone: bool) -> Iterator[None]:
    """Be one of the jobs that use the folder ``work``, or the only one; it is so until the process is no more.

    Only a job that must be ``alone`` makes the folder, and is kept from running where it cannot be written.
    Raises OutputError if others are at work and this one must be alone, or the other way round.
    """
    try:
        if alone:
            work.mkdir(parents=True, exist_ok=True)
        lock = (work / _AT_WORK).open("a")
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
        yield
