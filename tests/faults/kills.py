"""SIGKILL: of the driver at moments of a whole run, of a Python worker, of an executor."""

import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import psutil

from tests.faults.fault import Fault
from tests.faults.processes import Started
from tests.faults.shop import PARTITIONS, Outcome, Shop, Shops, Timed

MOMENTS = 20
_AROUND_PUBLISH = 10
"""Moments that fall between the last seconds before the stage publish and the end; the others may fall anywhere."""
_BEFORE_PUBLISH = 1.5
"""Seconds."""
_SEED = 7


@dataclass(frozen=True)
class _Moment:
    """So many seconds after a line was printed; a run may be slower than the one that was timed."""

    line: str
    seconds: float


def _moments(timed: Timed) -> list[_Moment]:
    """Draw moments of a run, some of them around its publication."""
    # Of the lines, those of stages; Spark's own, of tasks, are not there in each run.
    marks = [(0.0, ""), *(mark for mark in timed.lines if mark[1].startswith("[score]"))]
    late = next(at for at, line in marks if line.startswith("[score] publish ...")) - _BEFORE_PUBLISH
    rng, anywhere = random.Random(_SEED), MOMENTS - _AROUND_PUBLISH
    times = [timed.seconds * (step + rng.random()) / anywhere for step in range(anywhere)]
    left = timed.seconds - late
    times += [late + left * (step + rng.random()) / _AROUND_PUBLISH for step in range(_AROUND_PUBLISH)]
    return [_after_line(marks, at) for at in sorted(times)]


def _after_line(marks: list[tuple[float, str]], at: float) -> _Moment:
    """Return the moment ``at`` as counted from the last line before it; its times in seconds differ in each run."""
    begun, line = max(mark for mark in marks if mark[0] <= at)
    return _Moment(line.partition(", ")[0].strip(), at - begun)


def kill_driver(shops: Shops, number: int) -> Outcome:
    """Kill driver and JVM at one of the moments; where the run is over by then, another one at half its seconds."""
    moment, outcome = _moments(shops.timed)[number], Outcome()
    for seconds in (moment.seconds, moment.seconds / 2):
        shop = shops.fresh()
        started = shop.start("score")
        if started.said(moment.line):
            time.sleep(seconds)
        if killed := _kill(started):
            break
    outcome.expect(killed, "the run was over before it was killed")
    seen = "new" if shop.rows() == shops.expected else "old"
    print(f"kills: moment {number + 1}, {seconds:.1f} s after {moment.line or 'the start'!r}: {seen} lists seen")
    shops.after_rerun(shop, outcome)
    return outcome


def kill_while_lists_are_made(shops: Shops) -> Outcome:
    """Kill driver and JVM when some buckets of lists are finished and others are not."""
    shop, outcome = shops.fresh(), Outcome()
    started = shop.start("score")
    _wait_for_lists(shop, started)
    outcome.expect(_kill(started), "the run was over before it was killed")
    _expect_some_lists(shop, outcome)
    shops.untouched(shop, outcome)
    shops.after_rerun(shop, outcome)
    return outcome


def kill_once_published(shops: Shops) -> Outcome:
    """Kill driver and JVM when readers have just come to see the new lists."""
    shop, outcome = shops.fresh(), Outcome()
    log = shop.folder / "lake/recommendations/_delta_log"
    before = set(log.glob("*.json"))
    started = shop.start("score")
    while not started.over and before == set(log.glob("*.json")):
        time.sleep(0.01)
    outcome.expect(_kill(started), "the run was over before it was killed")
    outcome.compare(shop.rows(), shops.expected)
    shops.after_rerun(shop, outcome)
    return outcome


def _kill(started: Started) -> bool:
    """Kill driver and JVM; False if the run had ended by itself."""
    started.kill()
    return started.process.returncode == -signal.SIGKILL


def kill_workers(shops: Shops, retries: bool) -> Outcome:
    """Kill the Python workers in the middle of a batch, where Spark tries a task again and where it does not."""
    shop, outcome = shops.fresh(), Outcome()
    started = shop.start("score", flags=["--master", "local[2,3]" if retries else "local[2]"])
    _wait_for_lists(shop, started)
    daemons = started.helpers("pyspark.daemon")
    workers = [one for one in daemons if one.ppid() in {daemon.pid for daemon in daemons}]
    _kill_while_at_work(shop, workers, outcome)
    ended = started.end()
    if retries:
        outcome.expect(ended.code == 0, f"the run ended with {ended.code}: {ended.said[-600:]}")
        outcome.compare(shop.rows(), shops.expected)
    else:
        outcome.expect(ended.code == 1, f"the run ended with {ended.code}, expected 1")
        shops.untouched(shop, outcome)
        shops.after_rerun(shop, outcome)
    return outcome


def kill_executor(shops: Shops) -> Outcome:
    """Kill one of two executors when some lists are made and others are not."""
    shop, outcome = shops.fresh(), Outcome()
    of_cluster = {"SPARK_WORKER_DIR": f"{shop.folder}/executors"}
    started = shop.start("score", flags=["--master", "local-cluster[2,1,1024]"], env=of_cluster)
    _wait_for_lists(shop, started)
    executors = started.helpers("CoarseGrainedExecutorBackend")
    outcome.expect(len(executors) == 2, f"{len(executors)} executors were there, expected 2")
    _kill_while_at_work(shop, executors[:1], outcome)
    ended = started.end()
    outcome.expect(ended.code == 0, f"the run ended with {ended.code}: {ended.said[-600:]}")
    outcome.compare(shop.rows(), shops.expected)
    return outcome


def _wait_for_lists(shop: Shop, started: Started) -> None:
    while not started.over and not shop.buckets():
        time.sleep(0.01)


def _kill_while_at_work(shop: Shop, processes: Sequence[psutil.Process], outcome: Outcome) -> None:
    for process in processes:
        process.kill()
    outcome.expect(bool(processes), "there was nothing to kill")
    _expect_some_lists(shop, outcome)


def _expect_some_lists(shop: Shop, outcome: Outcome) -> None:
    outcome.expect(0 < shop.buckets() < PARTITIONS, f"{shop.buckets()} of {PARTITIONS} tasks were done, expected some")


FAULTS = [
    *(
        Fault(f"SIGKILL of the driver, moment {number + 1} of {MOMENTS}", partial(kill_driver, number=number))
        for number in range(MOMENTS)
    ),
    Fault("SIGKILL of the driver when some lists are made", kill_while_lists_are_made),
    Fault("SIGKILL of the driver when the new lists have become visible", kill_once_published),
    Fault("SIGKILL of Python workers mid-batch, tasks are tried again", partial(kill_workers, retries=True)),
    Fault("SIGKILL of Python workers mid-batch, tasks are not tried again", partial(kill_workers, retries=False)),
    Fault("SIGKILL of an executor", kill_executor),
]
