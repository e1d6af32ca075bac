"""The HTML page: one file with nothing to fetch and nothing to run."""

import itertools
import re
from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from llmrec.domain.features import FEATURES
from llmrec.domain.printable import printable
from llmrec.report import plots, words
from llmrec.report.facts import METRIC_ORDER, NEW_ITEMS, NEW_USERS, NOT_ACCURACY, OURS, Evaluation, Facts, Metric

_FEATURES_SHOWN = 12
_FEW_USERS = 100
"""With fewer users, figures of a segment say little."""


def render_page(facts: Facts) -> str:
    """Return the whole page; every text of ``facts`` is escaped."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=_harmless, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"count": words.count, "percent": words.percent, "day": words.day, "span": words.duration}
    template = environment.from_string(files("llmrec.report").joinpath("page.html.j2").read_text(encoding="utf-8"))
    evaluation = facts.evaluation
    page = template.render(
        facts=facts,
        published=facts.published,
        headline=words.headline(facts),
        evaluation=evaluation,
        quality=words.quality(evaluation) if evaluation else None,
        verdicts=[(finding, _tied(evidence)) for finding, evidence in words.verdicts(evaluation)] if evaluation else [],
        worth=[(finding, _tied(evidence)) for finding, evidence in words.worth(evaluation)] if evaluation else [],
        features=_features(evaluation) if evaluation else [],
        all_features=_all_features(evaluation) if evaluation else [],
        signals=words.signals(evaluation) if evaluation else [],
        reach=words.reach(evaluation) if evaluation else None,
        nothing_found=[words.source_name(row.segment) for row in _recall(evaluation) if not row.value],
        bins=[(words.percent(p), words.percent(o), words.count(n)) for p, o, n in _bins(evaluation)],
        cold=_cold_table(evaluation) if evaluation else None,
        few_users=_FEW_USERS,
        table=_metric_table(evaluation, [evaluation.k, None]) if evaluation else [],
        more_table=_metric_table(evaluation, [k for k in evaluation.ks if k != evaluation.k]) if evaluation else [],
        systems=[words.system_name(system) for system in evaluation.systems] if evaluation else [],
        new_users=evaluation.judged_on(NEW_USERS) if evaluation else 0,
        new_items=evaluation.judged_on(NEW_ITEMS) if evaluation else 0,
        figures=_figures(facts),
        calibration_error=_value(evaluation, "calibration error"),
        ours_ndcg=evaluation.find(OURS, "NDCG", evaluation.k) if evaluation else None,
        popular_share=facts.deciles[0].recommended if facts.deciles else None,
        taken_share=facts.deciles[0].taken if facts.deciles else None,
        jobs=_jobs(facts),
    )
    return re.sub(r"\n\s*\n+", "\n", page)


def _harmless(value: object) -> object:
    """Show control letters, and those that turn the order of what is read, instead of obeying them."""
    return value if not isinstance(value, str) or isinstance(value, Markup) else printable(value)


def _figures(facts: Facts) -> dict[str, Markup]:
    """Draw every chart there are figures for, by name."""
    figures = {
        "sources": plots.bars(
            "sources",
            "Share of recommended rows by source",
            [(words.source_name(source), share, words.percent(share)) for source, share in facts.sources],
        )
    }
    if facts.deciles:
        figures["deciles"] = plots.deciles("deciles", "Recommendations and events by item popularity", facts.deciles)
    if facts.stages:
        rows = [(f"{s.job} · {s.stage}", s.seconds, _ending(words.duration(s.seconds), s.status)) for s in facts.stages]
        figures["stages"] = plots.bars("stages", "Time per stage", rows)
    if facts.evaluation:
        figures |= _evaluation_figures(facts.evaluation)
    return figures


def _evaluation_figures(evaluation: Evaluation) -> dict[str, Markup]:
    figures = {}
    for metric in ("NDCG", "HR"):
        found = [evaluation.find(system, metric, evaluation.k) for system in evaluation.systems]
        rows = [(words.system_name(row.system), row) for row in found if row is not None]
        if rows:
            figures[metric] = plots.intervals(metric, f"{metric}@{evaluation.k} by system", rows, strong=OURS)
    worth = [evaluation.find(system, "NDCG difference", evaluation.k) for system in evaluation.ablations]
    gains = [(words.part_name(row.system), row) for row in reversed(worth) if row is not None]
    if gains:
        sure = frozenset(label for label, row in gains if words.sure(evaluation, row.system))
        figures["ablation"] = plots.gains("ablation", f"NDCG@{evaluation.k} lost without a part", gains, sure)
    shares = [evaluation.find(system, "coverage", evaluation.k) for system in evaluation.systems]
    if any(shares):
        bars = [(words.system_name(row.system), row.value, words.percent(row.value)) for row in shares if row]
        figures["coverage"] = plots.bars("coverage", "Catalogue coverage by system", bars, strong=frozenset({OURS}))
    recall = [row for row in _recall(evaluation) if row.value]
    if recall:
        bars = [(words.source_name(row.segment), row.value, words.percent(row.value)) for row in recall]
        figures["recall"] = plots.bars(
            "recall", "Candidate recall by source", bars, strong=frozenset({words.source_name("union")})
        )
    if bins := _bins(evaluation):
        figures["calibration"] = plots.calibration("calibration", "Predicted and observed probability", bins)
    importance = _importance(evaluation)
    if importance:
        shown, rest = importance[:_FEATURES_SHOWN], importance[_FEATURES_SHOWN:]
        parts = [(row.segment, row.value) for row in shown]
        if rest:
            parts.append((words.plural(len(rest), "other"), sum(row.value for row in rest)))
        bars = [(name, share, words.percent(share)) for name, share in parts]
        strong = frozenset(row.segment for row in shown)
        figures["importance"] = plots.bars("importance", "Share of the ranker's gain by feature", bars, strong)
    return figures


def _recall(evaluation: Evaluation | None) -> list[Metric]:
    """Return the recall of the union of all sources, then of each, the largest first."""
    rows = evaluation.by_segment("candidate recall") if evaluation else []
    return sorted(rows, key=lambda row: (row.segment != "union", -row.value))


def _bins(evaluation: Evaluation | None) -> list[tuple[float, float, int]]:
    """Return predicted and observed probability and the number of pairs of each bin that has some."""
    rows = evaluation.by_segment("calibration observed") if evaluation else []
    observed = {row.segment: row.value for row in rows}
    predicted = evaluation.by_segment("calibration predicted") if evaluation else []
    return [(row.value, observed[row.segment], row.users) for row in predicted if row.segment in observed and row.users]


def _importance(evaluation: Evaluation) -> list[Metric]:
    """Return the features' importance, the largest first."""
    return sorted(evaluation.by_segment("importance"), key=lambda row: (-row.value, row.segment))


def _cold_table(evaluation: Evaluation) -> dict[str, object] | None:
    """Return NDCG and HR of all systems on the segments there are; None if there are none."""
    segments = [name for name in (NEW_USERS, NEW_ITEMS) if evaluation.judged_on(name)]
    columns = list(itertools.product(segments, ("NDCG", "HR")))
    found = {
        system: [evaluation.find(system, metric, evaluation.k, segment) for segment, metric in columns]
        for system in evaluation.systems
    }
    found = {system: cells for system, cells in found.items() if any(cells)}
    if not columns or not found:
        return None
    best = [max((row.value for row in cells if row), default=0.0) for cells in zip(*found.values(), strict=True)]
    marked = [value if value > 0 and len(found) > 1 else None for value in best]
    return {
        "segments": [{"name": name, "users": evaluation.judged_on(name)} for name in segments],
        "metrics": [f"{metric}@{evaluation.k}" for _, metric in columns],
        "rows": [
            {
                "name": words.system_name(system),
                "cells": [_cell(row, top) for row, top in zip(cells, marked, strict=True)],
            }
            for system, cells in found.items()
        ],
    }


def _metric_table(evaluation: Evaluation, ks: Sequence[int | None]) -> list[dict[str, object]]:
    """Return a row per metric and k with a cell per system; the best of an accuracy metric is marked."""
    table: list[dict[str, object]] = []
    for k, metric in itertools.product(ks, METRIC_ORDER):
        found = [evaluation.find(system, metric, k) for system in evaluation.systems]
        values = [row.value for row in found if row is not None]
        if values:
            best = max(values) if metric not in NOT_ACCURACY and len(values) > 1 else None
            table.append({"name": f"{metric}@{k}" if k else metric, "cells": [_cell(row, best) for row in found]})
    return table


def _cell(row: Metric | None, best: float | None) -> dict[str, object] | None:
    if row is None:
        return None
    shown = words.percent if row.metric == "coverage" else words.bits if row.metric == "novelty" else words.decimal
    bounds = f"{shown(row.low)} – {shown(row.high)}" if row.low is not None and row.high is not None else ""  # noqa: RUF001
    return {"value": shown(row.value), "bounds": bounds, "best": row.value == best}


def _value(evaluation: Evaluation | None, metric: str) -> str | None:
    rows = evaluation.by_segment(metric) if evaluation else []
    return words.decimal(rows[0].value) if rows else None


def _features(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Return the features in the chart with what they mean, kin side by side; those of another version are left out."""
    shown = {row.segment for row in _importance(evaluation)[:_FEATURES_SHOWN]}
    return [(feature.name, feature.meaning) for feature in FEATURES if feature.name in shown]


def _all_features(evaluation: Evaluation) -> list[tuple[str, str, str, str]]:
    """Return each feature with its importance, what it means and what computes it, the largest first."""
    shares = {row.segment: row.value for row in _importance(evaluation)}
    known = sorted(FEATURES, key=lambda feature: -shares.get(feature.name, 0.0))
    return [(one.name, f"{shares.get(one.name, 0.0):.1%}", one.meaning, one.where) for one in known]


def _tied(evidence: str) -> str:
    """Keep a p-value on one line."""
    return evidence.replace("p = ", "p\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}").replace(
        "p < ", "p\N{NO-BREAK SPACE}<\N{NO-BREAK SPACE}"
    )


def _jobs(facts: Facts) -> list[tuple[str, str]]:
    """Return each job's name with the total time of its latest run."""
    seconds: dict[str, float] = {}
    for stage in facts.stages:
        seconds[stage.job] = seconds.get(stage.job, 0.0) + stage.seconds
    return [(job, words.duration(total)) for job, total in seconds.items()]


def _ending(text: str, status: str) -> str:
    return text if status == "done" else f"{text}, {status}"
