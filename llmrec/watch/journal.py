"""The log of JSON lines: one when a stage begins, one when it ends, one when the run does."""

import json
import os
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

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

    def _append(self, line: bytes) -> None:
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line)
        finally:
            os.close(file)
