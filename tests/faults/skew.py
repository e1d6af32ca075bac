"""Events that pile up on one user and one item, beside as many that are spread evenly."""

import json
import shutil
import time
from collections.abc import Callable
from datetime import timedelta

import numpy as np

from tests import planted
from tests.faults.fault import Fault
from tests.faults.shop import Outcome, Shop, Shops

EVENTS, USERS, ITEMS = 200_000, 5_000, 1_000
_SHARE = 0.4
_AT_MOST = 1.5
"""Times as long."""
_MEMORY = ["--driver-memory", "1g", "--executor-memory", "1g"]
_DAYS = 28


def pile_up(shops: Shops) -> Outcome:
    """Compare the seconds of prepare and score, with 1 GB of memory."""
    outcome = Outcome()
    both = [_stock(shops.bare(), some) for some in (_evenly, _piled)]
    seconds = [_seconds(shop, "prepare", outcome) for shop in both]  # needs no model yet
    for place, shop in enumerate(both):
        shutil.copytree(shops.filled().folder / "model", shop.folder / "model")
        seconds[place] += _seconds(shop, "score", outcome)
    evenly, piled = seconds
    print(f"skew: {piled:.0f} s, spread evenly {evenly:.0f} s")
    outcome.expect(piled <= _AT_MOST * evenly, f"{piled:.0f} s, expected at most {_AT_MOST} times {evenly:.0f} s")
    return outcome


def _evenly(many: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, many, EVENTS)


def _piled(many: int, rng: np.random.Generator) -> np.ndarray:
    """Give the first of them 40 % of all events."""
    return np.where(rng.random(EVENTS) < _SHARE, 0, rng.integers(0, many, EVENTS))


def _seconds(shop: Shop, job: str, outcome: Outcome) -> float:
    begun = time.monotonic()
    ended = shop.start(job, flags=_MEMORY).end()
    outcome.expect(ended.code == 0, f"{job} ended with {ended.code}: {ended.said[-600:]}")
    return time.monotonic() - begun


def _stock(shop: Shop, some: Callable[[int, np.random.Generator], np.ndarray]) -> Shop:
    rng = np.random.default_rng(1)
    users, items = some(USERS, rng), some(ITEMS, rng)
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
