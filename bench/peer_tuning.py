"""How a peer of bench.peers is tuned: what a system is, and grids of settings."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from bench.next_rows import Events, Rows, Scores

Setting = Mapping[str, Any]
Grid = Mapping[str, Sequence[Any]]
Scorer = Callable[[Rows], Scores]
Judge = Callable[[Setting, Scorer], float]
"""Tells how good a scorer is on the validation rows."""


class System(Protocol):
    """A peer."""

    @property
    def name(self) -> str:
        """What the tables call it."""

    def tune(self, events: Events, judge: Judge) -> None:
        """Learn from ``events`` with each setting of the grid and show each result to ``judge``."""

    def fit(self, events: Events, setting: Setting) -> Scorer:
        """Learn from ``events`` with one setting that `tune` has shown."""


@dataclass(frozen=True)
class Peer:
    """A system that is fitted in one go, then asked in one of several ways."""

    name: str
    learn: Callable[[Events, Setting], Any]
    score: Callable[[Any, Setting, Rows], Scores]
    fits: Grid
    asks: Grid

    def tune(self, events: Events, judge: Judge) -> None:
        """Learn once for each setting of ``fits``, ask in each way of ``asks``."""
        for fitted in settings(self.fits):
            model = self.learn(events, fitted)
            for asked in settings(self.asks):
                judge({**fitted, **asked}, partial(self.score, model, asked))

    def fit(self, events: Events, setting: Setting) -> Scorer:
        """Learn with one setting."""
        return partial(self.score, self.learn(events, setting), setting)


def settings(grid: Grid) -> Iterator[Setting]:
    """Return all combinations of the choices."""
    return (dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values()))
