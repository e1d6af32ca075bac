"""What every job does the same way: arguments, configuration, session, the record in ``runs``, exit codes.

Exit codes: 0 done; 1 a bug, with its traceback; 2 something the user can mend, in one message; 3 (score) a night too
unlike those before, in one message.
"""

import argparse
import os
import shutil
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from llmrec import columns as C
from llmrec.config import documented_yaml, load_config
from llmrec.domain.permissions import keep_from_others
from llmrec.errors import ConfigError, LlmrecError, OutputError
from llmrec.lock import at_work
from llmrec.settings.config import Config
from llmrec.spark.failures import explained
from llmrec.spark.pseudonyms import with_pseudonyms
from llmrec.spark.schemas import SCHEMAS
from llmrec.spark.session import start_session
from llmrec.spark.tables import Commit, append_table, column_types, last_commit, read_table, require_rows
from llmrec.watch.stage import Stage
from llmrec.watch.watch import Watch

_SECRET, _SPARK_SECRET, _SHORTEST_KEY = "LLMREC_SECRET", "spark.llmrec.secret", 32
"""As long as what SHA-256 makes of it (RFC 2104)."""
PSEUDONYMS = "privacy.pseudonyms"
_WITH_IDS = (C.CANDIDATES, C.DENIED, C.RECOMMENDATIONS)
"""Tables that hold ids where the others hold pseudonyms."""
Arguments = Callable[[argparse.ArgumentParser], None]
_LONGEST = 4000
"""Letters of a message that ``runs`` keeps."""


@dataclass
class Run:
    """One run of a job: its settings, session and stages so far."""

    job: str
    config: Config
    spark: SparkSession
    run_date: date | None
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    now: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    stages: list[Stage] = field(default_factory=list)
    model_version: str | None = None
    commits: dict[str, Commit] = field(default_factory=dict)
    """What was read of the tables."""
    closing: ExitStack = field(default_factory=ExitStack)
    """What is done when the run has been recorded."""
    args: argparse.Namespace = field(default_factory=argparse.Namespace)
    """The arguments of this job alone."""
    watch: Watch = field(default_factory=Watch)
    _work: Path | None = None

    def table(self, name: str) -> str:
        """Return the path or catalog name of a table."""
        return self.config.tables.name(name)

    def read(self, table: str, optional: bool = False) -> DataFrame:
        """Read a table of llmrec as it is now, checked against its contract; a missing optional one has no rows.

        Users have their pseudonyms, where these are asked for, whatever the table holds.
        """
        if optional and not self.has(table):
            return self.spark.createDataFrame([], SCHEMAS[table])
        commit = last_commit(self.spark, self.table(table))
        if commit is not None:
            self.commits[table] = commit
        rows = read_table(self.spark, self.table(table), table, self.table_versions.get(table))
        if self.config.privacy.pseudonyms and table in _WITH_IDS:
            return with_pseudonyms(rows, self.secret(PSEUDONYMS))
        return rows

    def has(self, table: str) -> bool:
        """Tell whether a table of llmrec is there."""
        return last_commit(self.spark, self.table(table)) is not None

    @property
    def table_versions(self) -> dict[str, int]:
        """Return the versions of the tables that were read, by table."""
        return {table: commit.version for table, commit in self.commits.items()}

    def column_types(self, *tables: str) -> dict[str, str]:
        """Return the types of the contract's columns that ``tables`` have, by table.column, as of the versions read."""
        there = [table for table in tables if self.has(table)]
        return {
            f"{table}.{name}": kind
            for table in there
            for name, kind in column_types(self.spark, self.table(table), table, self.table_versions.get(table)).items()
        }

    def read_nonempty(self, table: str) -> DataFrame:
        """Read a table that must hold rows; raises InputTableError if it has none."""
        rows = self.read(table)
        require_rows(rows, self.table(table))
        return rows

    def read_night(self) -> dict[str, Any]:
        """Read what a night is made of; only events and items must be there.

        A missing table of allowed items is None: unlike one without rows, it allows everything.
        """
        tables = {table: self.read_nonempty(table) for table in (C.EVENTS, C.ITEMS)}
        tables |= {table: self.read(table, optional=True) for table in (C.USERS, C.CANDIDATES, C.DENIED)}
        return tables | {C.ALLOWED: self.read(C.ALLOWED) if self.has(C.ALLOWED) else None}

    def secret(self, setting: str) -> bytes:
        """Return the key that ``setting`` needs; raises ConfigError if there is none that is long enough.

        It is read from the environment or, where that does not reach the driver, from Spark's settings, whose pages
        hide the values of names such as this. Nothing that llmrec writes holds it.
        """
        key = os.environ.get(_SECRET) or self.spark.conf.get(_SPARK_SECRET, "") or ""
        if len(key.encode()) < _SHORTEST_KEY:
            raise ConfigError(
                f"{setting}: needs a secret key, found {len(key.encode())} bytes in the environment's {_SECRET} and in "
                f"{_SPARK_SECRET}, expected at least {_SHORTEST_KEY} of random text in one of them"
            )
        return key.encode()

    @property
    def day(self) -> date:
        """The run date, where the job needs one."""
        if self.run_date is None:
            raise RuntimeError(f"{self.job} was started without a run date")
        return self.run_date

    def work_folder(self) -> Path:
        """Return the folder of this run alone, made when first asked for; raises OutputError if it cannot be made.

        It goes when the run is recorded and not before: Spark sends what was shipped from it to every new executor.
        """
        if self._work is None:
            folder = Path(self.config.work, self.run_id)
            try:
                folder.mkdir(parents=True)
            except OSError as error:
                reason = error.strerror
                raise OutputError(f"work: {folder} cannot be made ({reason}); expected a writable place") from error
            self.closing.callback(shutil.rmtree, folder, ignore_errors=True)
            self._work = folder
        return self._work

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Time a stage, print a line when it ends, and keep it for ``runs``."""
        stage, begun = Stage(name), time.monotonic()  # the clock may be set meanwhile
        self.stages.append(stage)
        print(f"[{self.job}] {name} ...", file=sys.stderr, flush=True)
        self.watch.stage_began(stage)
        try:
            yield stage
            stage.status = "done"
        except BaseException as error:
            stage.status, stage.message = "failed", _described(error)
            raise
        finally:
            stage.seconds = time.monotonic() - begun
            counts = ", ".join(f"{key} {value:,}" for key, value in self.watch.counted(stage).items())
            print(f"[{self.job}] {name}: {stage.status}, {stage.seconds:.1f} s  {counts}", file=sys.stderr, flush=True)
            self.watch.stage_ended(stage, self.run_date, self.model_version)

    def say(self, text: str) -> None:
        """Print ``text``, which may quote settings and rows, without passwords and without what steers a terminal."""
        print(self.watch.harmless(text))

    def record(self) -> None:
        """Append one row per stage to ``runs``."""
        rows = [
            (
                self.run_id, self.job, s.name, s.status, s.started_at, s.seconds, self.config.sha, self.run_date,
                s.rows_in, s.rows_out, self.watch.counted(s), self.model_version, self.table_versions,
                s.message and self.watch.harmless(s.message)[:_LONGEST], s.pairs_per_second,
            )
            for s in self.stages
        ]  # fmt: skip
        append_table(self.spark.createDataFrame(rows, SCHEMAS[C.RUNS]).coalesce(1), self.table(C.RUNS))


def _described(error: BaseException) -> str:
    told = explained(error) or error
    return f"{type(told).__name__}: {told}"


def _record_failure(run: Run, failure: Exception) -> None:
    """Write what is known of a failed run; if that fails too, say so and let the first error stand."""
    if not run.stages or run.stages[-1].status != "failed":
        run.stages.append(Stage("start", status="failed", message=_described(failure)))
    try:
        run.record()
    except Exception as error:
        said = f"{run.job}: the failure could not be recorded in {run.table(C.RUNS)}: {error}"
        print(run.watch.harmless(said), file=sys.stderr)


def parse_args(job: str, description: str, arguments: Arguments, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments that all jobs share, and ``arguments``."""
    parser = argparse.ArgumentParser(prog=f"{job}.py", description=description.partition("\n")[0])
    parser.add_argument("--config", type=Path, help="YAML file of settings (see conf/default.yaml)")
    parser.add_argument("--run-date", type=date.fromisoformat, help="YYYY-MM-DD; events on or after it are not read")
    parser.add_argument("--set", dest="overrides", nargs="+", action="extend", default=[], metavar="key=value")
    parser.add_argument("--print-config", action="store_true", help="print the merged settings and stop")
    arguments(parser)
    return parser.parse_args(argv)


def _no_more(parser: argparse.ArgumentParser) -> None:
    """Add no argument."""


@dataclass(frozen=True)
class Job:
    """A program that is started by spark-submit."""

    name: str
    main: Callable[[Run], None]
    description: str
    """Its first line is shown by --help."""
    needs_run_date: bool = True
    arguments: Arguments = _no_more
    """Adds those of this job alone."""
    instead: Callable[[argparse.Namespace, Config], bool] | None = None
    """Asked before Spark starts; true if all is done then."""
    alone: bool = False
    """Whether no other job may be at work beside it."""

    def run(self, argv: Sequence[str] | None = None) -> int:
        """Run ``main`` with a checked configuration and a session; return the exit code."""
        try:
            args = parse_args(self.name, self.description, self.arguments, argv)
        except SystemExit as ended:
            if ended.code:
                Watch(self.name, None, dict(os.environ)).run_ended(2, "the arguments are wrong, and it was not started")
            raise
        keep_from_others()
        watch = Watch(self.name, args.run_date, dict(os.environ))
        try:
            self._run(args, watch)
        except LlmrecError as error:
            print(watch.harmless(f"{self.name}: {error}"), file=sys.stderr)
            watch.run_ended(error.exit_code, _described(error))
            return error.exit_code
        except Exception as error:
            print(watch.harmless(traceback.format_exc()), file=sys.stderr, end="")
            watch.run_ended(1, _described(error))
            return 1
        watch.run_ended(0)
        return 0

    def _run(self, args: argparse.Namespace, watch: Watch) -> None:
        config = load_config(args.config, args.overrides)
        watch.keep_secret(config.model_dump(mode="json"))
        if args.print_config:
            print(documented_yaml(config.shown()))
            return
        if self.instead is not None and self.instead(args, config):
            return
        if self.needs_run_date and args.run_date is None:
            raise ConfigError("--run-date: missing, expected a day such as --run-date 2026-01-31")
        run_id = uuid.uuid4().hex[:12]
        watch.open(run_id, config.sha, config.log.file, config.log.metrics_folder)
        with at_work(Path(config.work), alone=self.alone):
            spark = start_session(f"llmrec-{self.name}", config.spark)
            watch.keep_secret(dict(spark.sparkContext.getConf().getAll()))
            self._work(Run(self.name, config, spark, args.run_date, run_id=run_id, args=args, watch=watch))

    def _work(self, run: Run) -> None:
        with run.closing:
            try:
                self.main(run)
            except Exception as error:
                _record_failure(run, error)
                if known := explained(error):
                    raise known from error
                raise
            try:
                run.record()
            except OutputError as error:
                raise OutputError(f"all is done and written, but not recorded: {error}") from error
