"""A small shop, ready for a night that faults disturb, and the same night undisturbed."""

import contextlib
import fcntl
import importlib
import io
import itertools
import pickle
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pyspark.sql import DataFrame, SparkSession

from llmrec.spark.staging import finished_buckets
from tests import planted, tiny
from tests.faults.processes import Ended, Started, command

_Made = TypeVar("_Made")
DAY = planted.RUN_DATE
_OLD_N, _OLD_PAIRS = 3, 4
"""Rows per user of what the date held before, and pairs that were read for them: the night that is disturbed publishes
planted's four, and reads all pairs, of half the buckets anew."""

PARTITIONS = 6
UNCOMPILED = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
"""Compiling the plans of a few rows takes longer than running them."""
SESSION = {
    "spark.master": "local[2]", "spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": "2", "spark.databricks.delta.snapshotPartitions": "2",
    "spark.sql.ui.retainedExecutions": "10", "spark.ui.retainedJobs": "10", "spark.ui.retainedStages": "10",
    **UNCOMPILED,
}  # fmt: skip
"""Of a process that runs many nights: it forgets what it ran."""


@dataclass
class Outcome:
    """What a fault came to."""

    lost_rows: int = 0
    """Rows of the undisturbed run that are not there after a rerun."""
    doubled_rows: int = 0
    """Rows that are there and should not be, or more often than they should."""
    problems: list[str] = field(default_factory=list)
    """What did not hold beside that."""

    @property
    def survived(self) -> bool:
        """Whether all held."""
        return not (self.lost_rows or self.doubled_rows or self.problems)

    def expect(self, holds: bool, what: str) -> None:
        """Note ``what`` unless it holds."""
        if not holds:
            self.problems.append(what)

    def compare(self, found: Counter[Any], expected: Counter[Any]) -> None:
        """Count the rows that differ."""
        self.lost_rows += (expected - found).total()
        self.doubled_rows += (found - expected).total()


@dataclass(frozen=True)
class Shop:
    """A folder with sources, tables and a model; recommendations hold DAY with other lists."""

    spark: SparkSession
    folder: Path

    def arguments(self, *overrides: str, day: str = DAY, more: Sequence[str] = ()) -> list[str]:
        """Return the arguments of a job on this shop."""
        named = ["--set", *overrides] if overrides else []
        return ["--config", f"{self.folder}/config.yaml", "--run-date", day, *more, *named]

    def run(self, job: str, *overrides: str, day: str = DAY) -> Ended:
        """Run ``job`` in this process, whose Spark is warm."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = importlib.import_module(job).JOB.run(self.arguments(*overrides, day=day))
        self.spark.catalog.clearCache()  # what a job keeps until its process ends
        return Ended(code, said.getvalue())

    def start(
        self, job: str, *overrides: str, day: str = DAY, flags: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> Started:
        """Start ``job`` as a process."""
        return Started(command(job, self.arguments(*overrides, day=day), *flags), env)

    def table(self, name: str) -> DataFrame:
        """Read one as it is now."""
        return self.spark.read.format("delta").load(f"{self.folder}/lake/{name}")

    def rows(self, name: str = "recommendations") -> Counter[str]:
        """Return all rows of a table but for what tells one run of the same night from another."""
        return Counter(map(repr, self.table(name).drop("run_id").collect()))

    def staged(self) -> list[Path]:
        """Return the folders of lists that wait for a run to go on with them."""
        return list((self.folder / "work").glob("score-*"))

    def buckets(self) -> int:
        """Count the finished buckets in them."""
        return sum(len(finished_buckets(folder)) for folder in self.staged())


@dataclass(frozen=True)
class Timed:
    """How long a run took, in seconds, and when it said what."""

    seconds: float
    lines: list[tuple[float, str]]


@dataclass
class Shops:
    """Shops that are all alike, one for each fault, and what an undisturbed night makes of one."""

    first: Shop
    """Filled when it is first asked for; several processes may share it."""
    copies: Path
    """Where this process makes its own."""
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def before(self) -> Counter[str]:
        """Recommendations before the night."""
        return self._rows[0]

    @property
    def expected(self) -> Counter[str]:
        """Those of the night that nothing disturbed."""
        return self._rows[1]

    @property
    def nights(self) -> Counter[str]:
        """The table of nights after it."""
        return self._rows[2]

    @cached_property
    def _rows(self) -> tuple[Counter[str], Counter[str], Counter[str]]:
        return made_once(self.first.folder.with_name("shops"), lambda: _rows_of_nights(self.first))

    @cached_property
    def timed(self) -> "Timed":
        """An undisturbed run as a process, with the moments of its stages."""
        return made_once(self.first.folder.with_name("timed"), self._time)

    def _time(self) -> "Timed":
        started = self.fresh().start("score")
        ended = started.end()
        assert ended.code == 0, ended.said
        return Timed(time.monotonic() - started.began, [mark for mark in started.lines if mark[1].startswith("[")])

    def fresh(self) -> Shop:
        """Copy the shop as it was before the night."""
        return _copy(self.filled(), self._place())

    def bare(self) -> Shop:
        """Make a shop that has settings and sources, and neither tables nor a model."""
        return _make(Shop(self.first.spark, self._place()))

    def filled(self) -> Shop:
        """Return the first one, which nobody may change."""
        assert self._rows
        return self.first

    def _place(self) -> Path:
        return self.copies / f"shop-{next(self._numbers)}"

    def after_rerun(self, shop: Shop, outcome: Outcome, *overrides: str) -> None:
        """Check what readers see after a run that was cut short, run it again, and compare with the undisturbed one."""
        seen = shop.rows()
        outcome.expect(seen in (self.before, self.expected), "readers saw neither the old lists nor the new ones")
        again = shop.run("score", *overrides)
        outcome.expect(again.code == 0, f"the rerun ended with {again.code}: {again.said[-600:]}")
        outcome.compare(shop.rows(), self.expected)
        outcome.expect(shop.rows("nights") == self.nights, "nights differ from those of the undisturbed run")
        outcome.expect(not shop.staged(), f"the rerun left {shop.staged()} behind")

    def untouched(self, shop: Shop, outcome: Outcome) -> None:
        """Check that nothing was published."""
        outcome.compare(shop.rows(), self.before)


def made_once(path: Path, make: Callable[[], _Made]) -> _Made:
    """Return what ``make`` gives in the first of several processes; others wait for it, and read it from ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            path.write_bytes(pickle.dumps(make()))
        made: _Made = pickle.loads(path.read_bytes())
        return made


def _rows_of_nights(first: Shop) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Fill the ``first`` shop; return its recommendations, and those and the nights of the copy that is undisturbed."""
    _make(first)
    for job, day, *overrides in (
        ("prepare", DAY),
        ("train", DAY, "train.max_epochs=1"),
        ("score", DAY, f"score.top_n={_OLD_N}", f"candidates.pair_scored={_OLD_PAIRS}"),
    ):
        ended = first.run(job, *overrides, day=day)
        assert ended.code == 0, ended.said
    for bucket in range(0, PARTITIONS, 2):
        for kept in (first.folder / "work" / "kept").glob(f"*/bucket-{bucket:05d}*"):
            kept.unlink()
    undisturbed = _copy(first, first.folder.with_name("undisturbed"))
    ended = undisturbed.run("score")
    assert ended.code == 0, ended.said
    counts = (
        undisturbed.table("runs").filter("stage = 'scores'").orderBy("started_at").select("counts").collect()[-1][0]
    )
    for what in ("users encoded", "pairs scored", "pairs reused"):  # else faults would not meet what a night is for
        assert counts[what], counts
    return first.rows(), undisturbed.rows(), undisturbed.rows("nights")


def _make(shop: Shop) -> Shop:
    shop.folder.mkdir(parents=True)
    tiny.encoder_folder(shop.folder / "encoder")
    planted.write_sources(shop.folder)
    (shop.folder / "config.yaml").write_text(yaml.safe_dump(_settings(shop.folder)))
    return shop


def _copy(shop: Shop, folder: Path) -> Shop:
    shutil.copytree(shop.folder, folder)
    (folder / "config.yaml").write_text(yaml.safe_dump(_settings(folder)))
    return Shop(shop.spark, folder)


def _settings(folder: Path) -> dict[str, Any]:
    """Return planted's with more tasks, so that one may be lost while others are done, and lists as BERT has them.

    The hybrid ranker of a shop this small would do without reading pairs.
    """
    settings = planted.settings(folder)
    more = {"score": {"partitions": PARTITIONS}, "train": {"ranker": "bert"}, "spark": UNCOMPILED}
    return settings | {part: settings[part] | own for part, own in more.items()}
