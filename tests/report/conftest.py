"""Facts with known figures, for the tests of the page and of the console."""

from datetime import date, datetime, timezone

import pytest

from llmrec.domain.features import NAMES
from llmrec.report.facts import Decile, Evaluation, Facts, Metric, Published, SampleUser, StageTime, Suggestion

NASTY = "<script>alert('x')</script> & \"sons\" $x$"
NIGHT = datetime(2026, 1, 31, 2, 0, tzinfo=timezone.utc)


def metric(
    system: str, name: str, value: float, k: int | None = 10, segment: str = "all", spread: float = 0.0
) -> Metric:
    low, high = (value - spread, value + spread) if spread else (None, None)
    return Metric(system=system, metric=name, segment=segment, value=value, k=k, low=low, high=high, users=500)


def evaluation() -> Evaluation:
    rows = [metric("llmrec", "calibration error", 0.0123, None)]
    for system, ndcg in (("llmrec", 0.2), ("popularity", 0.1), ("bert", 0.15), ("co-visitation", 0.19)):
        for k in (5, 10):
            rows.append(metric(system, "NDCG", ndcg * k / 10, k, spread=0.01))
            rows.append(metric(system, "HR", 2 * ndcg * k / 10, k, spread=0.01))
            rows.append(metric(system, "coverage", ndcg, k))
        rows.append(metric(system, "AUC", 0.5 + ndcg, None, spread=0.02))
    for system, difference, p in (("popularity", 0.1, 0.0002), ("co-visitation", 0.01, 0.4)):
        rows.append(metric(system, "NDCG difference", difference, spread=0.02))
        rows.append(metric(system, "NDCG p-value", p))
    for system, difference, p in (("without-bert", 0.005, 0.3), ("without-collaborative", 0.06, 0.0002)):
        rows += [
            metric(system, "NDCG", 0.2 - difference, spread=0.01),
            metric(system, "NDCG difference", difference, spread=0.01),
            metric(system, "NDCG p-value", p),
        ]
    rows += [metric("llmrec", "recall", 0.2)]
    for system, ndcg in (("llmrec", 0.07), ("dense", 0.03)):
        rows += [metric(system, "NDCG", ndcg, segment="new items"), metric(system, "HR", 2 * ndcg, segment="new items")]
    for source, recall in (("again", 0.0), ("dense", 0.31), ("union", 0.52)):
        rows.append(metric("llmrec", "candidate recall", recall, None, source))
    for place in range(10):
        rows.append(metric("llmrec", "calibration predicted", 0.05 + place / 20, None, f"bin {place:02d}"))
        rows.append(metric("llmrec", "calibration observed", 0.04 + place / 20, None, f"bin {place:02d}"))
    for place, name in enumerate((NASTY, "pair_logit", *(name for name in NAMES if name != "pair_logit"))):
        rows.append(metric("llmrec", "importance", 0.3 / (place + 1), None, name))
    return Evaluation(run_date=date(2026, 1, 30), model_version="feedc0ffee12", rows=tuple(rows))


@pytest.fixture(scope="session")
def facts() -> Facts:
    suggestions = tuple(
        Suggestion(rank, f"A rather long title of the film number {rank}", 0.345 / rank, f"Similar to “{NASTY}”")
        for rank in range(1, 11)
    )
    return Facts(
        published=Published(date(2026, 1, 31), 9_500, 950, 1_200, 10, 10, 1_600, ("feedc0ffee12",), ("run1",)),
        evaluation=evaluation(),
        sources=(("co-visitation", 0.77), ("dense", 0.41)),
        deciles=tuple(Decile(share, share) for share in (0.4, 0.2, 0.1, 0.1, 0.05, 0.05, 0.04, 0.03, 0.02, 0.01)),
        stages=(
            StageTime("prepare", "events", "done", 12.3, NIGHT, 1_000, 990),
            StageTime("score", "score", "failed", 245.0, NIGHT, None, None),
        ),
        samples=(
            SampleUser("u" * 60, "newcomer", (NASTY, "Heat"), suggestions),
            SampleUser("cold", None, (), suggestions[:1]),
        ),
        config_sha="abc123",
        written_at=NIGHT,
    )
