"""Charts as inline SVG, drawn 370 px wide: one fills a phone, two or three stand side by side on a screen.

Text stays text and takes the page's font; colours become the page's CSS variables, so that a chart follows the light
or dark scheme. The same values give the same bytes.
"""

import io
import math
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llmrec.report.facts import Decile, Metric

_WIDTH = 370
_ROW = 26
_LETTER = 6.5
"""Width in px that a label's letter takes at most, on average."""
_LONGEST_LABEL = 25

# Stand-ins that matplotlib can draw; the page gives the real colour.
_INK, _MUTED, _RULE, _ACCENT, _QUIET = "#010101", "#020202", "#030303", "#040404", "#050505"
_VARIABLES = {_INK: "ink", _MUTED: "muted", _RULE: "rule", _ACCENT: "accent", _QUIET: "quiet"}

_STYLE: Any = {
    "svg.hashsalt": "llmrec",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 12.5,
    "text.color": _INK,
    "axes.edgecolor": _RULE,
    "axes.labelcolor": _MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.labelsize": 11.5,
    "ytick.labelsize": 11.5,
}


def bars(name: str, title: str, rows: Sequence[tuple[str, float, str]], strong: frozenset[str] | None = None) -> Markup:
    """Draw horizontal bars from (label, value, value in words); labels in ``strong`` (None: all) take the accent."""

    def draw(axes: Axes) -> None:
        for place, (label, value, words) in enumerate(rows):
            accented = strong is None or label in strong
            axes.barh(place, value, height=0.56, color=_ACCENT if accented else _QUIET)
            axes.annotate(words, (value, place), (5, 0), textcoords="offset points", va="center", color=_INK)
        widest = max((value for _, value, _ in rows), default=0.0)
        room = 1 + max((len(words) for _, _, words in rows), default=0) * 0.04
        axes.set_xlim(0, widest * room if widest > 0 else 1)
        axes.spines["bottom"].set_visible(False)
        axes.set_xticks([])

    return _rows_chart(name, title, [label for label, _, _ in rows], draw, foot=4)


def intervals(name: str, title: str, rows: Sequence[tuple[str, Metric]], strong: str) -> Markup:
    """Draw each value as a dot with its 95 % interval; the label ``strong`` takes the accent."""

    def draw(axes: Axes) -> None:
        top = max((max(row.value, row.high or 0.0) for _, row in rows), default=0.0) or 1.0
        for place, (label, row) in enumerate(rows):
            colour = _ACCENT if label == strong else _MUTED
            if row.low is not None and row.high is not None:
                axes.plot([row.low, row.high], [place, place], color=colour, linewidth=2.2, solid_capstyle="round")
            axes.plot([row.value], [place], "o", color=colour, markersize=7)
            axes.annotate(f"{row.value:.3f}", (top * 1.24, place), va="center", ha="right", color=_INK)
        axes.set_xlim(0, top * 1.25)
        axes.locator_params(axis="x", nbins=5)
        axes.set_xticks([tick for tick in axes.get_xticks() if tick <= top])
        axes.grid(axis="x", color=_RULE, linewidth=1)
        axes.spines["bottom"].set_visible(False)
        axes.set_axisbelow(True)

    return _rows_chart(name, title, [label for label, _ in rows], draw, foot=24)


def gains(name: str, title: str, rows: Sequence[tuple[str, Metric]], strong: frozenset[str]) -> Markup:
    """Draw each difference as a dot with its 95 % interval beside a line at zero; ``strong`` labels take the accent."""

    def draw(axes: Axes) -> None:
        bounds = [bound for _, row in rows for bound in (row.value, row.low, row.high) if bound is not None]
        left, right = min(0.0, *bounds), max(0.0, *bounds)
        span = (right - left) or 1.0
        for place, (label, row) in enumerate(rows):
            colour = _ACCENT if label in strong else _MUTED
            if row.low is not None and row.high is not None:
                axes.plot([row.low, row.high], [place, place], color=colour, linewidth=2.2, solid_capstyle="round")
            axes.plot([row.value], [place], "o", color=colour, markersize=7)
            axes.annotate(f"{row.value:+.3f}", (right + 0.34 * span, place), va="center", ha="right", color=_INK)
        axes.axvline(0, color=_QUIET, linewidth=1.2)
        axes.set_xlim(left - 0.03 * span, right + 0.35 * span)
        axes.locator_params(axis="x", nbins=5)
        axes.set_xticks([tick for tick in axes.get_xticks() if left <= tick <= right])
        axes.grid(axis="x", color=_RULE, linewidth=1)
        axes.spines["bottom"].set_visible(False)
        axes.set_axisbelow(True)

    return _rows_chart(name, title, [label for label, _ in rows], draw, foot=24)


def calibration(name: str, title: str, bins: Sequence[tuple[float, float, int]]) -> Markup:
    """Draw observed against predicted probability with 95 % Wilson intervals; bins are (predicted, observed, pairs)."""
    shown = [(predicted, observed, pairs) for predicted, observed, pairs in bins if pairs > 0]
    values = [value for predicted, observed, _ in shown for value in (predicted, observed)]
    logarithmic = bool(values) and min(values) > 0 and max(values) / min(values) > 20

    def draw(axes: Axes) -> None:
        top = max([high for _, observed, pairs in shown for high in [_wilson(observed, pairs)[1]]] + values + [0.01])
        bottom = min(values) / 1.6 if logarithmic else 0.0
        top = top * 1.25 if logarithmic else top * 1.05
        if logarithmic:
            axes.set_xscale("log")
            axes.set_yscale("log")
        axes.plot([bottom, top], [bottom, top], color=_QUIET, linewidth=1.2, linestyle=(0, (4, 3)))
        for predicted, observed, pairs in shown:
            low, high = _wilson(observed, pairs)
            axes.plot([predicted, predicted], [max(low, bottom), high], color=_ACCENT, linewidth=1.6, alpha=0.5)
        axes.plot([row[0] for row in shown], [row[1] for row in shown], "o", color=_ACCENT, markersize=6.5)
        axes.set_xlim(bottom, top)
        axes.set_ylim(bottom, top)
        ticks = _probability_ticks(bottom, top, logarithmic)
        labels = [f"{tick:.3g}%" for tick in (100 * tick for tick in ticks)]
        axes.set_xticks(ticks, labels)
        axes.set_yticks(ticks, labels)
        axes.minorticks_off()
        axes.grid(color=_RULE, linewidth=1)
        axes.set_axisbelow(True)
        axes.set_xlabel("predicted probability")
        axes.set_ylabel("share that came true")

    return _draw(name, title, 320, (58, 10, 10, 48), draw)


def deciles(name: str, title: str, rows: Sequence[Decile]) -> Markup:
    """Draw, per tenth of the catalogue, its share of the recommendations beside its share of the events."""

    def draw(axes: Axes) -> None:
        places = range(1, len(rows) + 1)
        axes.bar([p - 0.2 for p in places], [r.recommended for r in rows], 0.36, color=_ACCENT, label="recommended")
        axes.bar([p + 0.2 for p in places], [r.taken for r in rows], 0.36, color=_QUIET, label="taken before")
        axes.set_xticks(list(places), [str(place) for place in places])
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.locator_params(axis="y", nbins=5)
        axes.grid(axis="y", color=_RULE, linewidth=1)
        axes.set_axisbelow(True)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("tenth of the catalogue, most popular first")
        axes.legend(frameon=False, loc="upper right", fontsize=12)

    return _draw(name, title, 270, (44, 8, 8, 46), draw)


def _rows_chart(name: str, title: str, labels: Sequence[str], draw: Callable[[Axes], None], foot: int) -> Markup:
    """Draw one row per label, the first at the top."""
    short = [label if len(label) <= _LONGEST_LABEL else f"{label[: _LONGEST_LABEL - 1]}…" for label in labels]
    left = 12 + _LETTER * max((len(label) for label in short), default=0)

    def drawn(axes: Axes) -> None:
        draw(axes)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_yticks(range(len(labels)), short)
        axes.tick_params(axis="y", labelsize=12.5, labelcolor=_INK, pad=6)
        axes.spines["left"].set_visible(False)

    return _draw(name, title, 4 + _ROW * max(1, len(labels)) + foot, (left, 4, 4, foot), drawn)


def _draw(
    name: str, title: str, height: float, margins: tuple[float, float, float, float], draw: Callable[[Axes], None]
) -> Markup:
    """Draw on axes with the given left, right, top and bottom margins in px and return the SVG element."""
    left, right, top, bottom = margins
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the page's font has it
        figure = Figure(figsize=(_WIDTH / 72, height / 72), dpi=72)
        area = (left / _WIDTH, bottom / height, 1 - (left + right) / _WIDTH, 1 - (top + bottom) / height)
        axes = figure.add_axes(area)
        figure.patch.set_visible(False)
        axes.patch.set_visible(False)
        draw(axes)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _inline(file.getvalue(), name, title)


def _inline(svg: str, name: str, title: str) -> Markup:
    """Make matplotlib's file a part of a page: own ids, the page's font and colours, no size, no foreign addresses."""
    body = svg[svg.index("<svg") :]
    inner = body[body.index(">") + 1 : body.rindex("</svg>")]
    inner = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", inner, flags=re.DOTALL)
    inner = re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\g<1>{name}-", inner)
    inner = re.sub(r"font: (?:[\w ]+ )?([\d.]+)px [^;\"]+", r"font-size: \1px", inner)  # matplotlib before 3.10
    inner = re.sub(r"font-family: [^;\"]+;? ?", "", inner)
    for stand_in, variable in _VARIABLES.items():
        inner = inner.replace(stand_in, f"var(--{variable})")
    size = re.search(r'viewBox="([^"]+)"', body)
    viewbox = size.group(1) if size else ""
    return Markup(f'<svg viewBox="{viewbox}" role="img" aria-label="{escape(title)}">{inner}</svg>')


def _wilson(share: float, pairs: int) -> tuple[float, float]:
    """Return the bounds of Wilson's 95 % interval of a share of ``pairs``."""
    z = 1.96
    middle = share + z * z / (2 * pairs)
    spread = z * math.sqrt(max(0.0, share * (1 - share)) / pairs + z * z / (4 * pairs * pairs))
    scale = 1 + z * z / pairs
    return max(0.0, (middle - spread) / scale), (middle + spread) / scale


def _probability_ticks(bottom: float, top: float, logarithmic: bool) -> list[float]:
    if logarithmic:
        steps = [digit * 10.0**power for power in range(-6, 1) for digit in (1, 2, 5)]
        inside = [step for step in steps if bottom <= step <= top]
        return inside if len(inside) <= 6 else [step for step in inside if f"{step:e}".startswith("1")]
    step = next(s for s in (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if top / s <= 6)
    return [i * step for i in range(int(top / step) + 1)]
