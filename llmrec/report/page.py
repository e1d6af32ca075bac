"""The HTML page: one file with nothing to fetch and nothing to run."""

import itertools
import re
from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from llmrec.domain.features import FEATURES, Feature
from llmrec.report import plots, words
from llmrec.report.facts import METRIC_ORDER, NEW_ITEMS, NEW_USERS, NOT_ACCURACY, OURS, Evaluation, Facts, Metric

_FEATURES_SHOWN = 15


def render_page(facts: Facts) -> str:
    """Return the whole page; every text of ``facts`` is escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
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
        table=_metric_table(evaluation, [evaluation.k, None]) if evaluation else [],
        more_table=_metric_table(evaluation, [k for k in evaluation.ks if k != evaluation.k]) if evaluation else [],
        systems=[words.system_name(system) for system in evaluation.systems] if evaluation else [],
        new_users=_judged_on(evaluation, NEW_USERS),
        new_items=_judged_on(evaluation, NEW_ITEMS),
        figures=_figures(facts),
        calibration_error=_value(evaluation, "calibration error"),
        ours_ndcg=evaluation.find(OURS, "NDCG", evaluation.k) if evaluation else None,
        popular_share=facts.deciles[0].recommended if facts.deciles else None,
        taken_share=facts.deciles[0].taken if facts.deciles else None,
        jobs=_jobs(facts),
    )
    return re.sub(r"\n\s*\n+", "\n", page)


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
    for name, systems, segment in (
        ("ablation", evaluation.ablations, "all"),
        (NEW_USERS, evaluation.systems, NEW_USERS),
        (NEW_ITEMS, evaluation.systems, NEW_ITEMS),
    ):
        found = [evaluation.find(system, "NDCG", evaluation.k, segment) for system in systems]
        rows = [(words.system_name(row.system), row) for row in found if row is not None]
        if len(rows) > 1:
            title = f"NDCG@{evaluation.k}, {name}"
            figures[name] = plots.intervals(name.replace(" ", "-"), title, rows, strong=OURS)
    shares = [evaluation.find(system, "coverage", evaluation.k) for system in evaluation.systems]
    if any(shares):
        bars = [(words.system_name(row.system), row.value, words.percent(row.value)) for row in shares if row]
        figures["coverage"] = plots.bars("coverage", "Catalogue coverage by system", bars, strong=frozenset({OURS}))
    recall = sorted(evaluation.by_segment("candidate recall"), key=lambda row: (row.segment != "union", -row.value))
    if recall:
        bars = [(words.source_name(row.segment), row.value, words.percent(row.value)) for row in recall]
        figures["recall"] = plots.bars(
            "recall", "Candidate recall by source", bars, strong=frozenset({words.source_name("union")})
        )
    observed = {row.segment: row.value for row in evaluation.by_segment("calibration observed")}
    predicted = evaluation.by_segment("calibration predicted")
    bins = [(row.value, observed[row.segment], row.users or 0) for row in predicted if row.segment in observed]
    if any(pairs for _, _, pairs in bins):
        figures["calibration"] = plots.calibration("calibration", "Predicted and observed probability", bins)
    importance = sorted(evaluation.by_segment("importance"), key=lambda row: (-row.value, row.segment))
    if importance:
        bars = [(row.segment, row.value, words.percent(row.value)) for row in importance[:_FEATURES_SHOWN]]
        figures["importance"] = plots.bars("importance", "Share of the ranker's gain by feature", bars)
    return figures


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


def _judged_on(evaluation: Evaluation | None, segment: str) -> int:
    """Return how many users our lists were judged by on a segment."""
    row = evaluation.find(OURS, "NDCG", evaluation.k, segment) if evaluation else None
    return (row.users or 0) if row else 0


def _features(evaluation: Evaluation) -> list[Feature]:
    """Return the features in the chart that need explaining."""
    known = {row.segment for row in evaluation.by_segment("importance")}
    return [feature for feature in FEATURES if feature.name in known]


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
