"""Runs that overlap: of one date, and of two."""

import signal
import time
from collections import Counter

from tests.faults.fault import Fault
from tests.faults.shop import DAY, Outcome, Shop, Shops

_NEXT_DAY = "2026-02-02"


def run_beside(shops: Shops) -> Outcome:
    """Hold a run while it makes lists; meanwhile the same date is refused, and the next one is published.

    What else is asked for that date makes no difference: it is of other settings, so the lists are others too.
    """
    shop, outcome = shops.fresh(), Outcome()
    held = shop.start("score")
    outcome.expect(held.said("[score] scores ..."), "no lists were made")
    while not held.over and not shop.staged():
        time.sleep(0.01)
    held.send(signal.SIGSTOP)
    for settings in ([], ["score.top_n=2"]):
        same = shop.run("score", *settings)
        outcome.expect(same.code == 2, f"a second run of the date ended with {same.code}: {same.said[-600:]}")
        outcome.expect("is at work on the same; expected one at a time" in same.said, f"it said {same.said[-600:]}")
    shops.untouched(shop, outcome)
    other = shop.run("score", "gates.nights=0", day=_NEXT_DAY)  # the night before it had other settings
    outcome.expect(other.code == 0, f"the run of another date ended with {other.code}: {other.said[-600:]}")
    published = _rows(shop, _NEXT_DAY)
    held.send(signal.SIGCONT)
    ended = held.end()
    outcome.expect(ended.code == 0, f"the first run ended with {ended.code}: {ended.said[-600:]}")
    outcome.compare(_rows(shop, DAY), shops.expected)
    outcome.compare(_rows(shop, _NEXT_DAY), published)
    outcome.expect(published.total() == shops.expected.total(), f"the other date has {published.total()} rows")
    return outcome


def _rows(shop: Shop, day: str) -> Counter[str]:
    rows = shop.table("recommendations").filter(f"run_date = '{day}'").drop("run_id")
    return Counter(map(repr, rows.collect()))


FAULTS = [Fault("two runs of one date, and two dates, at once", run_beside)]
