"""A folder that one run at a time works in, whichever host it is on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from llmrec.errors import OutputError

_LOCK, _OWNER = "lock", "owner"


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
