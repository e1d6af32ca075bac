"""Progress that reads well on a terminal and in a log file: a moving bar there, a line now and then here."""

import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from llmrec.nn.plan import Progress as TrainingProgress

_SECONDS_BETWEEN_LINES = 15.0


class Bar:
    """Shows how much of ``total`` is done, with an estimate of the time left."""

    def __init__(self, label: str, total: int) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("  {task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        self._moving = Progress(*columns, console=console, transient=True) if console.is_terminal else None
        self._task = self._moving.add_task(label, total=total) if self._moving else None
        self._console, self._label, self._total = console, label, total
        self._started = self._spoken = time.monotonic()
        self._done = 0

    def __enter__(self) -> "Bar":
        if self._moving:
            self._moving.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._moving:
            self._moving.stop()

    def update(self, done: int, note: str = "") -> None:
        """Say that ``done`` of the total is done; ``note`` stands beside it."""
        if self._moving and self._task is not None:
            self._moving.update(self._task, completed=done, description=f"{self._label} {note}")
            return
        now, complete = time.monotonic(), done == self._total > self._done
        self._done = done
        if complete or (0 < done < self._total and now - self._spoken >= _SECONDS_BETWEEN_LINES):
            self._spoken = now
            left = (now - self._started) / done * (self._total - done)
            text = f"  {self._label}: {done:,} of {self._total:,}, about {left:.0f} s left {note}"
            self._console.print(text.rstrip(), highlight=False, soft_wrap=True)


@contextmanager
def spark_progress(spark: SparkSession, label: str, tasks: int) -> Iterator[None]:
    """Show how many of ``tasks`` are done, in the largest stage of the Spark jobs started inside."""
    context = spark.sparkContext
    group = f"llmrec {label} {uuid.uuid4().hex}"  # not that of an earlier run in this session
    context.setJobGroup(group, label)
    over = threading.Event()

    def watch(bar: Bar) -> None:
        tracker = context.statusTracker()
        while not over.wait(1.0):
            jobs = [tracker.getJobInfo(job) for job in tracker.getJobIdsForGroup(group)]
            stages = [tracker.getStageInfo(stage) for job in jobs if job for stage in job.stageIds]
            bar.update(max((s.numCompletedTasks for s in stages if s and s.numTasks == tasks), default=0))

    with Bar(label, tasks) as bar:
        watcher = threading.Thread(target=watch, args=(bar,), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
            for left in ("spark.jobGroup.id", "spark.job.description"):
                context.setLocalProperty(left, None)  # type: ignore[arg-type]  # None takes it away


@contextmanager
def training_bar() -> Iterator[Callable[[TrainingProgress], None]]:
    """Give the function that fine-tuning tells its progress to: a bar of steps, and a line per validation."""
    bars: list[Bar] = []
    console = Console(stderr=True)

    def report(progress: TrainingProgress) -> None:
        if not bars:
            bars.append(Bar("fine-tuning", progress.steps).__enter__())
        if progress.ndcg is not None:
            loss = "" if math.isnan(progress.loss) else f", loss {progress.loss:.3f}"
            text = f"  step {progress.step} of {progress.steps}{loss}: validation NDCG@10 {progress.ndcg:.4f}"
            console.print(text, highlight=False, soft_wrap=True)
        bars[0].update(progress.step)

    try:
        yield report
    finally:
        for bar in bars:
            bar.__exit__()
