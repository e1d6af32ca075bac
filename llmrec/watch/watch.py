"""Who is told how a run goes: the log of JSON lines, the metrics, and whoever is called when it failed."""

import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from llmrec.domain.printable import printable
from llmrec.domain.secrets import Secrets
from llmrec.watch.journal import Journal
from llmrec.watch.metrics import write_metrics
from llmrec.watch.stage import Stage
from llmrec.watch.webhook import VARIABLE, call


class Watch:
    """Tells them; whoever cannot be told once a run has begun never stops it."""

    def __init__(
        self, job: str = "", run_date: date | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self._run: dict[str, Any] = {"run_id": None, "job": job, "run_date": run_date, "config_sha": None}
        self._address = (environment or {}).get(VARIABLE, "")
        self._known: list[Any] = [dict(environment or {}), {"secret": self._address}]
        self._secrets = Secrets.of(self._known)
        self._journal: Journal | None = None
        self._metrics: Path | None = None
        self._stages: list[Stage] = []
        self._model_version: str | None = None
        self._began = time.monotonic()

    def keep_secret(self, settings: Mapping[str, Any]) -> None:
        """Tell none of the passwords among ``settings`` from now on."""
        self._known.append(settings)
        self._secrets = Secrets.of(self._known)

    def harmless(self, text: str) -> str:
        """Return ``text``, which may quote settings and rows, as it may be printed and kept."""
        return printable(self._secrets.hide(text))

    def counted(self, stage: Stage) -> dict[str, int]:
        """Return the counts of ``stage``, by names as they may be printed and kept."""
        return {self.harmless(name): count for name, count in stage.counts.items()}

    def open(self, run_id: str, config_sha: str, log_file: str | None, metrics_folder: str | None) -> None:
        """Begin to tell of a run; raises OutputError if the log file cannot be written."""
        self._run |= {"run_id": run_id, "config_sha": config_sha}
        self._metrics = Path(metrics_folder) if metrics_folder else None
        if log_file:
            self._journal = Journal(Path(log_file))

    def erase(self, ids: Iterable[str]) -> int:
        """Take ``ids`` out of the messages in the log; return how many lines changed. Raises OutputError."""
        return self._journal.erase(ids) if self._journal else 0

    def stage_began(self, stage: Stage) -> None:
        """Tell that a stage is at work."""
        self._write(stage=stage.name, status=stage.status)

    def stage_ended(self, stage: Stage, run_date: date | None, model_version: str | None) -> None:
        """Tell what a stage did, in the figures of ``runs``; date and model may have been found meanwhile."""
        self._run["run_date"], self._model_version = run_date, model_version
        self._stages.append(replace(stage, counts=self.counted(stage)))
        self._write(
            stage=stage.name, status=stage.status, seconds=round(stage.seconds, 3), rows_in=stage.rows_in,
            rows_out=stage.rows_out, counts=self.counted(stage), pairs_per_second=stage.pairs_per_second,
            model_version=model_version, message=stage.message and self.harmless(stage.message),
        )  # fmt: skip

    def run_ended(self, exit_code: int, failure: str | None = None) -> None:
        """Tell how the run ended; with ``failure``, call whoever is to be called."""
        seconds, message = round(time.monotonic() - self._began, 3), failure and self.harmless(failure)
        ended = {
            "stage": None,
            "status": "failed" if exit_code else "done",
            "exit_code": exit_code,
            "seconds": seconds,
            "model_version": self._model_version,
            "message": message,
        }
        self._write(**ended)
        if self._metrics:
            info = {"run_id": str(self._run["run_id"]), "run_date": str(self._run["run_date"] or "")}
            info["model_version"] = self._model_version or ""
            try:
                write_metrics(
                    self._metrics,
                    self._run["job"],
                    exit_code=exit_code,
                    seconds=seconds,
                    stages=self._stages,
                    info=info,
                )
            except OSError as error:
                print(f"log.metrics_folder: {self._metrics} cannot be written ({error.strerror})", file=sys.stderr)
        if exit_code and self._address:
            last = self._stages[-1].name if self._stages else None
            text = f"{self._run['job']} of {self._run['run_date']} ended with exit code {exit_code}: {message}"
            call(self._address, {**self._run, **ended, "stage": last, "text": text})

    def _write(self, **told: Any) -> None:
        if self._journal:
            self._journal.write({**self._run, **told})
