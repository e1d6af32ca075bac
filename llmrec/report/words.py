"""Numbers and findings in words, the same on the page and on the console."""

from collections.abc import Sequence
from datetime import date

from llmrec.domain.features import BERT, COLLABORATIVE, FEATURES, PAIR_SCORER
from llmrec.report.facts import OURS, Evaluation, Facts, Metric

SYSTEM_NAMES = {
    "bert": "BERT score alone",
    "dense": "vectors alone",
    "without-bert": "without BERT",
    "without-pair-scorer": "without the pair scorer",
    "without-collaborative": "without what others took",
}
PART_NAMES = {
    "without-bert": "BERT",
    "without-pair-scorer": "The pair scorer",
    "without-collaborative": "What others took",
}
"""What an ablation takes away."""
SIGNAL_NAMES = {BERT: "BERT's vectors", PAIR_SCORER: "the pair scorer", COLLABORATIVE: "what others took"}
"""What features are made from."""
REST = "everything else"
SOURCE_NAMES = {"dense": "nearest vectors", "supplied": "your candidates", "union": "all together"}

_SIGNALS = {feature.name: feature.signal for feature in FEATURES if feature.signal}

SIGNIFICANT = 0.05
"""A difference with a smaller p-value is called significant."""


def system_name(system: str) -> str:
    """Return the name of a judged system for readers."""
    return SYSTEM_NAMES.get(system, system)


def part_name(system: str) -> str:
    """Return the name of what an ablation takes away."""
    return PART_NAMES.get(system, system)


def source_name(source: str) -> str:
    """Return the name of a candidate source for readers."""
    return SOURCE_NAMES.get(source, source)


def count(value: float) -> str:
    """Write a whole number: 9,500."""
    return f"{value:,.0f}"


def plural(value: int, noun: str) -> str:
    """Write a number of things: 1 user, 9,500 users."""
    return f"{value:,} {noun}" if value == 1 else f"{value:,} {noun}s"


def decimal(value: float) -> str:
    """Write a metric: 0.143."""
    return f"{value:.3f}"


def bits(value: float) -> str:
    """Write an amount of information: 7.4."""
    return f"{value:.1f}"


def percent(share: float) -> str:
    """Write a share: 34%, 4.2%, <0.1%."""
    if 0 < share < 0.001:
        return "<0.1%"
    text = f"{share:.1%}" if abs(share) < 0.0995 else f"{share:.0%}"
    return text.replace(".0%", "%")


def duration(seconds: float) -> str:
    """Write a time span: 0.4 s, 12 s, 3 min 05 s, 2 h 04 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def day(value: date) -> str:
    """Write a date: 31 January 2026."""
    return f"{value.day} {value:%B %Y}"


def p_value(p: float) -> str:
    """Write a p-value with its sign: p < 0.001, p = 0.04."""
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.3f}" if p < 0.01 else f"p = {p:.2f}"


def headline(facts: Facts) -> str:
    """Say what was recommended to how many users."""
    published = facts.published
    each = plural(published.longest, "item")
    if published.shortest < published.longest:
        each = f"{published.shortest:,} to {each}"
    return f"{plural(published.users, 'user')} received {each} each, {plural(published.rows, 'recommendation')} in all."


def quality(evaluation: Evaluation) -> tuple[str, str] | None:
    """Say how good our lists are, and how sure that is; None if it was not measured."""
    ours = evaluation.find(OURS, "NDCG", evaluation.k)
    if ours is None:
        return None
    details = [_interval(ours, ""), f"measured on {plural(ours.users, 'user')}" if ours.users else ""]
    return f"NDCG@{ours.k} is {decimal(ours.value)}", ", ".join(filter(None, details))


def verdicts(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Compare our NDCG with each baseline's: the finding, then the evidence and whether it may be chance."""
    found = []
    for row in _differences(evaluation, evaluation.systems):
        system, difference = system_name(row.system), _difference(evaluation, row)
        better = f"Better than {system}" if row.value > 0 else f"Worse than {system}"
        sure = _sure(evaluation, row)
        finding = better if sure else f"Not clearly different from {system}"
        found.append((f"{finding}: {difference}", _evidence(evaluation, row)))
    return found


def worth(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Say what each part adds to our NDCG: the finding, then the evidence and whether it may be chance."""
    return [
        (f"{part_name(row.system)} adds {_difference(evaluation, row)}", _evidence(evaluation, row))
        for row in reversed(_differences(evaluation, evaluation.ablations))
    ]


def reach(evaluation: Evaluation) -> tuple[str, str] | None:
    """Say how much of what users took the candidates held, and how much of it their lists; None if not measured."""
    union = evaluation.find(OURS, "candidate recall", None, "union")
    if union is None:
        return None
    finding = f"Candidates hold {percent(union.value)} of what users went on to take"
    lists = evaluation.find(OURS, "recall", evaluation.k)
    return finding, f"the first {lists.k} of their lists {percent(lists.value)}" if lists else ""


def signals(evaluation: Evaluation) -> list[tuple[str, float]]:
    """Return what the features are made from and its share of the importance, the largest first."""
    shares: dict[str, float] = {}
    for row in evaluation.by_segment("importance"):
        name = SIGNAL_NAMES.get(_SIGNALS.get(row.segment, ""), REST)
        shares[name] = shares.get(name, 0.0) + row.value
    return sorted(shares.items(), key=lambda pair: (pair[0] == REST, -pair[1]))


def sure(evaluation: Evaluation, system: str) -> bool:
    """Tell whether the difference to a system is more than chance."""
    row = evaluation.find(system, "NDCG difference", evaluation.k)
    return row is not None and _sure(evaluation, row)


def _differences(evaluation: Evaluation, systems: Sequence[str]) -> list[Metric]:
    rows = [row for row in evaluation.by_segment("NDCG difference") if row.k == evaluation.k and row.system in systems]
    return sorted(rows, key=lambda row: row.value)


def _difference(evaluation: Evaluation, row: Metric) -> str:
    base = evaluation.find(row.system, "NDCG", row.k)
    relative = f" ({row.value / base.value:+.0%})" if base is not None and base.value > 0 else ""
    return f"{row.value:+.3f}{relative}"


def _sure(evaluation: Evaluation, row: Metric) -> bool:
    p_row = evaluation.find(row.system, "NDCG p-value", row.k)
    if p_row is not None:
        return p_row.value < SIGNIFICANT
    return row.low is not None and row.high is not None and (row.low > 0 or row.high < 0)


def _evidence(evaluation: Evaluation, row: Metric) -> str:
    p_row = evaluation.find(row.system, "NDCG p-value", row.k)
    evidence = ", ".join(filter(None, [_interval(row, "+"), p_value(p_row.value) if p_row else ""]))
    verdict = "significant" if _sure(evaluation, row) else "may be chance"
    return f"{evidence}: {verdict}" if evidence else verdict


def _interval(row: Metric, sign: str) -> str:
    if row.low is None or row.high is None:
        return ""
    return f"95% interval {row.low:{sign}.3f} to {row.high:{sign}.3f}"
