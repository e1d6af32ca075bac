"""The log of JSON lines: one when a stage begins, one when it ends, one when the run does."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from llmrec.domain.erased import eraser
from llmrec.errors import OutputError


class Journal:
    """Adds lines to a file, each at once and in one piece, so that several jobs may share it.

    Only ASCII is written, all else as JSON escapes it. Raises OutputError if the file cannot be opened; if a later line
    cannot be written, that is said once, and the run goes on.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._works = path, True
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._append(b"")
        except OSError as error:
            raise OutputError(
                f"log.file: {path} cannot be written ({error.strerror}); expected a place this user may write"
            ) from error

    def write(self, told: Mapping[str, Any]) -> None:
        """Add a line with the time and ``told``."""
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, **told}, default=str)
        try:
            self._append(f"{line}\n".encode("ascii"))
        except OSError as error:
            if self._works:
                print(f"log.file: {self._path} cannot be written ({error.strerror}); it ends here", file=sys.stderr)
            self._works = False

    def erase(self, ids: Iterable[str]) -> int:
        """Put "(erased)" for each of ``ids`` that stands as a word in a message; return how many lines changed.

        The file is replaced, whole or not at all, with its owner and mode. Only lines of logs are looked at, and what
        somebody else writes at the same moment is lost. Raises OutputError if it cannot be written.
        """
        erase, path, changed = eraser(ids), self._path.resolve(), 0
        if not path.is_file():  # such as a pipe, which keeps nothing
            return 0
        unfinished: Path | None = None
        try:
            with path.open("rb") as before, NamedTemporaryFile(dir=path.parent, prefix=".log-", delete=False) as after:
                unfinished = Path(after.name)
                for line in before:
                    erased = _with_message(line, erase)
                    changed += erased != line
                    after.write(erased)
            if changed:
                owned = path.stat()  # the jobs of another user must be able to go on with it
                os.chown(unfinished, owned.st_uid, owned.st_gid)
                shutil.copymode(path, unfinished)
                unfinished.replace(path)
        except OSError as error:
            raise OutputError(
                f"log.file: {path} cannot be written anew ({error.strerror}); expected a folder this user may write"
            ) from error
        finally:
            if unfinished:
                unfinished.unlink(missing_ok=True)
        return changed

    def _append(self, line: bytes) -> None:
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line)
        finally:
            os.close(file)


def _with_message(line: bytes, erase: Callable[[str], str]) -> bytes:
    """Return a line with its message after ``erase``; as it is if that changes nothing, or if the line is no log's."""
    try:
        told = json.loads(line)
    except ValueError:
        return line
    if not isinstance(told, dict) or not isinstance(told.get("message"), str):
        return line
    message = erase(told["message"])
    return line if message == told["message"] else f"{json.dumps(told | {'message': message})}\n".encode("ascii")
