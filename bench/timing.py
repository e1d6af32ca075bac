"""Times several systems side by side: they take turns, so that a slow minute of the machine hits all of them."""

import statistics
import time
from collections.abc import Callable, Mapping

Seconds = dict[str, list[float]]


def interleaved(systems: Mapping[str, Callable[[], object]], rounds: int, *, warm_up: bool = True) -> Seconds:
    """Run every system once to warm up, then ``rounds`` times in turns; return the seconds of each run."""
    for run in systems.values() if warm_up else ():
        run()
    seconds: Seconds = {name: [] for name in systems}
    for _ in range(rounds):
        for name, run in systems.items():
            begun = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begun)
    return seconds


def ratio(seconds: Seconds, slow: str, fast: str) -> float:
    """How many times ``fast`` is faster than ``slow``: the median over rounds of the ratio within a round."""
    return statistics.median(s / f for s, f in zip(seconds[slow], seconds[fast], strict=True))


def per_second(count: int, seconds: list[float]) -> float:
    """Median rate."""
    return count / statistics.median(seconds)
