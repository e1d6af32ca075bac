"""Jobs as processes of their own, that can be watched and killed."""

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
_PROGRAMS = Path(sys.executable).parent
_PATIENCE = 400
"""Seconds; a job that takes longer hangs."""
_UNVERIFIED = {"JDK_JAVA_OPTIONS": "-XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote"}
"""Java takes the classes of Spark's jars as they are: to verify them is a tenth of so short a job."""


@dataclass(frozen=True)
class Ended:
    """How a job ended."""

    code: int
    """Exit code; below zero it is the signal that ended it."""
    said: str
    """On both streams."""


class Started:
    """A running job, with a group of its own."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str] | None = None, patience: float = _PATIENCE
    ) -> None:
        self._patience = patience
        self._changed, self.lines, self.over = threading.Condition(), list[tuple[float, str]](), False
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            command, cwd=ROOT, start_new_session=True, text=True, errors="replace",
            env={
                **os.environ, **_UNVERIFIED, "PYTHONPATH": str(ROOT), "PATH": f"{_PROGRAMS}:{os.environ['PATH']}",
                **(env or {}),
            },
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        atexit.register(self.kill)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append((time.monotonic() - self.began, line))
                self._changed.notify_all()
        with self._changed:
            self.over = True
            self._changed.notify_all()

    def said(self, sign: str) -> bool:
        """Wait until a line holds ``sign``; False if the job ended without one."""
        with self._changed:
            self._changed.wait_for(lambda: self.over or any(sign in line for _, line in self.lines), self._patience)
            return any(sign in line for _, line in self.lines)

    def helpers(self, sign: str) -> list[psutil.Process]:
        """Return the processes below the job whose command line holds ``sign``."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if sign in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found

    def send(self, what: signal.Signals) -> None:
        """Send a signal to driver and JVM; Python workers have a group of their own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, what)

    def kill(self) -> None:
        """Kill driver and JVM, as when the host goes; Python workers find out by themselves."""
        self.send(signal.SIGKILL)
        self.process.wait()

    def end(self) -> Ended:
        """Wait for the end."""
        try:
            code = self.process.wait(self._patience)
        except subprocess.TimeoutExpired:
            self.kill()
            code = -signal.SIGKILL
        self._reader.join(10)
        return Ended(code, "".join(line for _, line in self.lines))


def command(job: str, arguments: Sequence[str], *flags: str) -> list[str]:
    """Return the command that starts ``job``: by python, or with ``flags`` by spark-submit."""
    if flags:
        return [str(_PROGRAMS / "spark-submit"), *flags, f"jobs/{job}.py", *arguments]
    return [sys.executable, f"jobs/{job}.py", *arguments]
