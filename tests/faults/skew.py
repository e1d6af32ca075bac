"""Events that pile up on one user and one item, beside as many that are spread evenly."""

import json
import shutil
import time
from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
from pyspark.sql import functions as F

from tests import planted
from tests.faults.fault import Fault
from tests.faults.lists import check_lists
from tests.faults.processes import Started
from tests.faults.shop import DAY, Outcome, Shop, Shops

EVENTS, USERS, ITEMS = 200_000, 5_000, 1_000
_LEFT = 20
"""Items that the first user, to whom events pile up, does not take; else there would be no list for them."""
_SHARE = 0.4
_AT_MOST = 1.5
"""Times as long."""
_CLUSTER = ["--master", "local-cluster[1,2,1024]", "--driver-memory", "1g", "--executor-memory", "1g"]
"""An executor of its own, as in one process with the driver there is no memory of executors."""
_PAIRS = 10
_DAYS = 28


def pile_up(shops: Shops) -> Outcome:
    """Compare the seconds of the stages of prepare and score, where driver and executor have 1 GB of memory each."""
    outcome = Outcome()
    both = [_stock(shops.bare(), some) for some in (_evenly, _piled)]
    for shop in both:
        _run(shop, "prepare", outcome)  # needs no model yet
    for shop in both:
        shutil.copytree(shops.filled().folder / "model", shop.folder / "model")
        _run(shop, "score", outcome, f"candidates.pair_scored={_PAIRS}")
    if not outcome.survived:
        return outcome
    for shop in both:
        check_lists(shop, date.fromisoformat(DAY), outcome)
        scored = shop.table("runs").filter("stage = 'scores'").select(F.col("counts")["pairs scored"]).head()[0]
        outcome.expect(bool(scored), "no pairs were scored")
    evenly, piled = map(_seconds, both)
    print(f"skew: {piled:.0f} s, spread evenly {evenly:.0f} s")
    outcome.expect(piled <= _AT_MOST * evenly, f"{piled:.0f} s, expected at most {_AT_MOST} times {evenly:.0f} s")
    return outcome


def _evenly(many: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, many, EVENTS)


def _piled(many: int, rng: np.random.Generator) -> np.ndarray:
    """Give the first of them 40 % of all events."""
    return np.where(rng.random(EVENTS) < _SHARE, 0, rng.integers(0, many, EVENTS))


def _run(shop: Shop, job: str, outcome: Outcome, *overrides: str) -> None:
    started = shop.start(job, *overrides, flags=_CLUSTER, env={"SPARK_WORKER_DIR": f"{shop.folder}/executors"})
    outcome.expect(_has_executor(started), f"{job} had no executor of its own with 1 GB")
    ended = started.end()
    outcome.expect(ended.code == 0, f"{job} ended with {ended.code}: {ended.said[-600:]}")


def _has_executor(started: Started) -> bool:
    """Wait for one; False if the job ended without."""
    while not started.over:
        if started.helpers("-Xmx1024M"):  # the driver's is -Xmx1g
            return True
        time.sleep(0.1)
    return False


def _seconds(shop: Shop) -> float:
    """Sum up the stages, without the start of the processes."""
    seconds: float = shop.table("runs").agg(F.sum("seconds")).head()[0]
    return seconds


def _stock(shop: Shop, some: Callable[[int, np.random.Generator], np.ndarray]) -> Shop:
    rng = np.random.default_rng(1)
    users, items = some(USERS, rng), some(ITEMS, rng)
    items = np.where(users == 0, items % (ITEMS - _LEFT), items)
    seconds = rng.choice(_DAYS * 24 * 3600, EVENTS, replace=False)
    with (shop.folder / "events.csv").open("w") as file:
        file.write("who,what,how,at\n")
        for user, item, second in zip(users, items, seconds, strict=True):
            file.write(f"u{user},i{item},purchase,{(planted.FIRST + timedelta(seconds=int(second))).isoformat()}\n")
    with (shop.folder / "items.json").open("w") as file:
        for item in range(ITEMS):
            file.write(
                json.dumps({"id": f"i{item}", "name": "red tea", "colour": "red", "opens": None, "closes": None})
            )
            file.write("\n")
    return shop


FAULTS = [Fault("one user with 40 % of all events and one item with 40 %, 1 GB of memory", pile_up)]
