"""How far a night's figures may be from those of the nights before; one that is too far is not published."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import inf
from statistics import median

LAST_DAY = "events of the last day"
EMPTY = "share of users without a list"
ROWS = "rows of "
"""Begins the name of the count of a table's rows, which may be any number, but not none where there were some."""
QUANTILES = (0.1, 0.5, 0.9)
MIDDLE, SPREAD = "score quantile 0.5", "score spread, quantile 0.9 less 0.1"

_LEAST_SPREAD = 0.1
"""Scores that hardly differ may move by what a spread of this share of their median allows."""


@dataclass(frozen=True)
class NightFigures:
    """What tells one night from another, by name."""

    run_date: date
    model_version: str
    counts: Mapping[str, float]
    """Whose ratio to an earlier night's tells something."""
    shares: Mapping[str, float]
    """Of 0 to 1, whose difference tells something."""
    scores: Mapping[str, float]
    """As of `score_figures`."""
    columns: Mapping[str, str]
    """Types of the tables' columns, by table.column."""
    forced: bool = False
    """Whether it was published although it was out of bounds."""


@dataclass(frozen=True)
class Bounds:
    """How far is too far; None: no distance is."""

    max_fall: float | None
    """Share of the earlier count by which one may be lower."""
    max_rise: float | None
    """Share of the earlier count by which one may be higher."""
    max_last_day_fall: float | None
    """In place of both for LAST_DAY, as weekends differ from weekdays."""
    max_share_change: float | None
    """Largest difference of a share, up or down."""
    max_score_shift: float | None
    """Largest difference of a quantile, up or down, and largest loss of spread, in units of the earlier spread."""
    max_empty: float | None
    """Largest EMPTY, whatever earlier nights had."""
    same_columns: bool
    """Whether columns may neither go nor change their types."""


@dataclass(frozen=True)
class _Range:
    low: float = -inf
    high: float = inf

    def said(self, kind: str) -> str:
        """Return it in words."""
        low, high = (_said(kind, bound) for bound in (self.low, self.high))
        if self.low == -inf:
            return f"at most {high}"
        return f"at least {low}" if self.high == inf else f"{low} to {high}"


def score_figures(quantiles: Sequence[float]) -> dict[str, float]:
    """Name the QUANTILES of a night's scores, and their spread."""
    named = {f"score quantile {share}": value for share, value in zip(QUANTILES, quantiles, strict=True)}
    return {**named, SPREAD: quantiles[-1] - quantiles[0]}


def out_of_bounds(tonight: NightFigures, earlier: Sequence[NightFigures], bounds: Bounds) -> list[str]:
    """Return what of ``tonight`` is too far from ``earlier`` nights: what was found, what was expected, what they had.

    A figure must be near the median of the earlier nights. Where one of them was forced, being near the last such night
    will do too: who forced it said that this is how things are now, and if it was a mistake the median still stands.
    What only one side knows is not compared. Without earlier nights only what needs none is.

    Args:
        tonight: what would be published.
        earlier: what was published, the oldest first.
        bounds: how far is too far.
    """
    found = []
    empty = tonight.shares.get(EMPTY, 0)
    if bounds.max_empty is not None and empty > bounds.max_empty:
        found.append(f"{EMPTY}: {empty:.1%}, expected at most {bounds.max_empty:.1%} on any night")
    if earlier:
        found += _too_far(tonight, earlier, bounds)
        if bounds.max_fall is not None:
            found += _emptied(tonight, earlier[-1])
        if bounds.same_columns:
            found += _changed_columns(tonight, earlier[-1])
    return found


def _too_far(tonight: NightFigures, earlier: Sequence[NightFigures], bounds: Bounds) -> Iterator[str]:
    forced = [night for night in earlier if night.forced][-1:]
    allowed = [_ranges(night, bounds) for night in (_usual(earlier), *forced)]
    for kind, figures in _by_kind(tonight).items():
        for name, value in figures.items():
            ranges = [of_night[kind, name] for of_night in allowed if (kind, name) in of_night]
            if not ranges or any(one.low <= value <= one.high for one in ranges):
                continue
            expected = " or ".join(dict.fromkeys(one.said(kind) for one in ranges))
            had = [(night.run_date, _by_kind(night)[kind][name]) for night in earlier if name in _by_kind(night)[kind]]
            yield f"{name}: {_said(kind, value)}, expected {expected}; {_had(kind, had)}" + _other_model(
                kind, tonight, earlier
            )


def _emptied(tonight: NightFigures, last: NightFigures) -> Iterator[str]:
    for name, count in last.counts.items():
        if name.startswith(ROWS) and count and tonight.counts.get(name) == 0:
            yield f"{name}: 0, expected some; the night of {last.run_date} had {_said('counts', count)}"


def _by_kind(night: NightFigures) -> dict[str, Mapping[str, float]]:
    return {"counts": night.counts, "shares": night.shares, "scores": night.scores}


def _usual(nights: Sequence[NightFigures]) -> NightFigures:
    """Return a night with the median of each figure."""

    def medians(kind: str) -> dict[str, float]:
        names = dict.fromkeys(name for night in nights for name in _by_kind(night)[kind])
        return {
            name: median(_by_kind(night)[kind][name] for night in nights if name in _by_kind(night)[kind])
            for name in names
        }

    last = nights[-1]
    return NightFigures(
        last.run_date, last.model_version, medians("counts"), medians("shares"), medians("scores"), last.columns
    )


def _ranges(night: NightFigures, bounds: Bounds) -> dict[tuple[str, str], _Range]:
    """Return, by kind and name, what a figure may be where ``night`` is what is usual."""
    found = {}
    for name, value in night.counts.items():
        if name.startswith(ROWS):
            continue
        fall, rise = bounds.max_fall, bounds.max_rise
        if name == LAST_DAY:
            fall, rise = bounds.max_last_day_fall, None
        found["counts", name] = _Range(
            -inf if fall is None else value * (1 - fall), inf if rise is None else value * (1 + rise)
        )
    change = bounds.max_share_change
    if change is not None:
        for name, value in night.shares.items():
            found["shares", name] = _Range(
                -inf if change >= value else value - change, inf if value + change >= 1 else value + change
            )
    shift = bounds.max_score_shift
    if shift is not None and night.scores:
        unit = max(night.scores[SPREAD], _LEAST_SPREAD * night.scores[MIDDLE])
        for name, value in night.scores.items():
            found["scores", name] = _Range(value - shift * unit, inf if name == SPREAD else value + shift * unit)
    return found


def _changed_columns(tonight: NightFigures, last: NightFigures) -> Iterator[str]:
    for name, kind in last.columns.items():
        now = tonight.columns.get(name, "missing")
        if now != kind:
            yield f"{name}: is {now}, expected {kind} as in the night of {last.run_date}"


def _had(kind: str, nights: Sequence[tuple[date, float]]) -> str:
    (first, _), (last, value) = nights[0], nights[-1]
    if len(nights) == 1:
        return f"the night of {first} had {_said(kind, value)}"
    middle = _said(kind, median(value for _, value in nights))
    return f"{len(nights)} nights, {first} to {last}, had {middle} in the median, the last of them {_said(kind, value)}"


def _other_model(kind: str, tonight: NightFigures, earlier: Sequence[NightFigures]) -> str:
    before = list(dict.fromkeys(night.model_version for night in earlier))
    if kind != "scores" or tonight.model_version in before:
        return ""
    return f"; the model is {tonight.model_version} now, before it was {', '.join(before)}"


def _said(kind: str, value: float) -> str:
    if kind == "shares":
        return f"{value:.1%}"
    return f"{value:.3g}" if kind == "scores" else f"{value:,.1f}".removesuffix(".0")
