"""The figures of the report from planted tables."""

from datetime import date, datetime, timezone

import pytest
from pyspark.sql import DataFrame, Row, SparkSession

from llmrec import columns as C
from llmrec.config import load_config
from llmrec.domain.private_counts import PrivateCounts
from llmrec.errors import ConfigError, InputTableError
from llmrec.pipelines.report import (
    ReportTables,
    choose_run_date,
    gather,
    latest_stages,
    popularity_deciles,
    segment_counts,
)
from llmrec.report.facts import Facts
from llmrec.spark.schemas import SCHEMAS

NIGHT = date(2026, 1, 31)
NOW = datetime(2026, 1, 31, 4, 0, tzinfo=timezone.utc)


def at(day: int, hour: int = 12) -> datetime:
    return datetime(2026, 1, day, hour, tzinfo=timezone.utc)


def published(
    day: date, user: str, rank: int, item: str, sources: list[str], reason: str | None = None
) -> tuple[object, ...]:
    return (day, user, "default", rank, item, 0.5 / rank, sources, "model1", "night1", reason, 1.0, None)


RECOMMENDATIONS = [
    published(date(2026, 1, 30), "u1", 1, "i9", ["old"]),
    published(NIGHT, "u1", 1, "i1", ["dense", "co-visitation"], "because of i5"),
    published(NIGHT, "u1", 2, "i2", ["co-visitation"]),
    published(NIGHT, "u2", 1, "i1", ["popularity"]),
    published(NIGHT, "u3", 1, "gone", ["fallback", "popularity"]),
]
EVENTS = [
    ("u1", "i5", "buy", at(3), None, None, None),
    ("u1", "i6", "buy", at(20), None, None, None),
    ("u1", "i5", "buy", at(25), 5.0, None, None),
    ("u1", "i7", "buy", at(26), 1.0, None, None),  # value too low to be liked
    ("u1", "i8", "view", at(27), None, None, None),  # not a liking event
    ("u1", "i4", "buy", at(31, 0), None, None, None),  # on the run date
    ("u2", "i1", "buy", at(5), None, None, None),
]
ITEMS = [(f"i{n}", f"Title {n}", None, None, None, None, None, at(30) if n == 9 else None) for n in range(1, 11)]
RUNS = [
    (run_id, job, stage, "done", start, seconds, "sha", NIGHT, None, None, {}, None, {}, None, None)
    for run_id, job, stage, start, seconds in [
        ("p0", "prepare", "events", at(30, 1), 9.0),
        ("p1", "prepare", "items", at(31, 2), 2.0),
        ("p1", "prepare", "events", at(31, 1), 1.0),
        ("e0", "evaluate", "judge", at(28), 5.0),
        ("e1", "evaluate", "judge", at(29), 5.0),
        ("e2", "evaluate", "judge", at(30), 5.0),  # failed before it wrote metrics
        ("r0", "report", "write", at(30), 5.0),
    ]
]
METRICS = [
    (run_id, "llmrec", "NDCG", "all", value, date(2026, 1, 29), 10, None, None, 7, "model0")
    for run_id, value in [("e0", 0.1), ("e1", 0.2)]
]


def tables(spark: SparkSession, **changed: list[tuple[object, ...]]) -> ReportTables:
    rows = {
        C.RECOMMENDATIONS: RECOMMENDATIONS,
        C.EVENTS: EVENTS,
        C.ITEMS: ITEMS,
        C.USERS: [("u1", None, None, "regular")],
        C.RUNS: RUNS,
        C.METRICS: METRICS,
    } | changed
    return ReportTables(**{name: spark.createDataFrame(rows[name], SCHEMAS[name]).coalesce(1) for name in rows})


@pytest.fixture(scope="module")
def facts(spark: SparkSession) -> Facts:
    config = load_config(None, ["liking.events=[buy]", "liking.min_value=3", "report.sample_users=2"])
    return gather(tables(spark), config, NIGHT, NOW)


def test_only_the_run_date_is_counted(facts: Facts) -> None:
    assert (facts.published.rows, facts.published.users) == (4, 3)
    assert (facts.published.shortest, facts.published.longest) == (1, 2)
    assert facts.published.model_versions == ("model1",)
    assert facts.published.run_ids == ("night1",)


def test_coverage_counts_items_available_on_the_run_date(facts: Facts) -> None:
    assert facts.published.catalogue == 9  # i9 has ended
    assert facts.published.items == 2  # "gone" is not in the catalogue


def test_a_row_counts_for_each_of_its_sources(facts: Facts) -> None:
    assert facts.sources == (("co-visitation", 0.5), ("popularity", 0.5), ("dense", 0.25), ("fallback", 0.25))


def test_deciles_share_out_recommendations_and_events(facts: Facts) -> None:
    assert len(facts.deciles) == 10
    assert sum(decile.recommended for decile in facts.deciles) == pytest.approx(1)
    assert sum(decile.taken for decile in facts.deciles) == pytest.approx(1)


def test_items_taken_equally_often_are_divided_between_tenths() -> None:
    rows = [Row(taken=0, items=15, recommended=3, shown=3), Row(taken=8, items=5, recommended=9, shown=5)]
    deciles = popularity_deciles(rows)
    assert [round(decile.recommended, 4) for decile in deciles] == [0.3, 0.3, 0.1667, *[0.0333] * 7]
    assert [round(decile.taken, 4) for decile in deciles] == [0.4, 0.4, 0.2, *[0.0] * 7]
    assert popularity_deciles(rows[:1]) == ()


def test_users_with_a_list_are_counted_by_segment_once_each(facts: Facts) -> None:
    assert [(one.segment, one.users) for one in facts.segments] == [(None, 2), ("regular", 1)]
    assert facts.epsilon is None


def test_counts_by_segment_get_noise_and_nothing_else_does(spark: SparkSession, facts: Facts) -> None:
    config = load_config(
        None,
        ["liking.events=[buy]", "liking.min_value=3", "report.sample_users=0", "report.epsilon=0.01"],
    )
    private = PrivateCounts(0.01, b"a key of thirty-two bytes or so.", NIGHT)
    cold = [("e1", "llmrec", "NDCG", "new users", 0.1, date(2026, 1, 29), 10, None, None, 5, "model0")]
    users = [("u1", None, None, "regular"), ("not served", None, None, "absent")]
    found = gather(tables(spark, metrics=METRICS + cold, users=users), config, NIGHT, NOW, private)
    noisy = {one.segment: one.users for one in found.segments}
    # That a segment is in the list, or a metric of new users there, does not say that there is such a user.
    served = {None: 2, "regular": 1, "absent": 0}
    assert noisy == {name: private(f"segment {name!r}", count) for name, count in served.items()}
    assert noisy != served
    assert found.evaluation is not None
    assert {row.segment: row.users for row in found.evaluation.rows} == {"all": 7}
    assert found.evaluation.noisy == {"new users": private("new users", 5), "new items": private("new items", 0)}
    assert (found.epsilon, found.samples) == (0.01, ())
    assert (found.published, found.sources, found.deciles) == (facts.published, facts.sources, facts.deciles)


def test_segments_with_noise_are_those_that_users_name_served_or_not(spark: SparkSession) -> None:
    private = PrivateCounts(0.01, b"a key of thirty-two bytes or so.", NIGHT)
    rows = tables(spark, users=[("u1", None, None, "regular")])
    nobody = rows.recommendations.limit(0)
    names = {one.segment for one in segment_counts(nobody, rows.users, private)}
    assert (
        names == {one.segment for one in segment_counts(rows.recommendations, rows.users, private)} == {None, "regular"}
    )
    assert (
        segment_counts(nobody, rows.users, None)
        == segment_counts(rows.recommendations, nobody_in(spark), private)
        == ()
    )


def nobody_in(spark: SparkSession) -> DataFrame:
    return tables(spark, users=[("u1", None, None, None)]).users


def test_noise_beside_users_shown_by_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="epsilon hides single users: sample_users is 5, expected 0"):
        load_config(None, ["report.epsilon=1"])


def test_the_latest_evaluation_with_metrics_is_shown(facts: Facts) -> None:
    assert facts.evaluation is not None
    assert [row.value for row in facts.evaluation.rows] == [0.2]
    assert (facts.evaluation.run_date, facts.evaluation.model_version) == (date(2026, 1, 29), "model0")


def test_stages_of_the_latest_run_of_each_job_are_in_order(facts: Facts) -> None:
    assert [(s.job, s.stage) for s in facts.stages] == [
        ("evaluate", "judge"),
        ("prepare", "events"),
        ("prepare", "items"),
    ]
    assert latest_stages([]) == ()


def test_samples_show_liked_titles_latest_first_and_the_lists_with_reasons(facts: Facts) -> None:
    first, second = facts.samples  # those with most likes first, u3 has none
    assert (first.user, first.segment, first.liked) == ("u1", "regular", ("Title 5", "Title 6"))
    shown = [(s.rank, s.title, s.score, s.reason) for s in first.suggestions]
    assert shown == [(1, "Title 1", 0.5, "because of i5"), (2, "Title 2", 0.25, "from co-visitation")]
    assert (second.user, second.liked) == ("u2", ("Title 1",))


def test_users_without_history_and_items_without_title_are_shown_by_what_is_known(spark: SparkSession) -> None:
    only = tables(spark, recommendations=RECOMMENDATIONS[-1:], runs=[], metrics=[], users=[], events=[])
    found = gather(only, load_config(None), NIGHT, NOW)
    assert (found.evaluation, found.stages, found.deciles) == (None, (), ())
    assert [(s.user, s.liked, s.suggestions[0].title) for s in found.samples] == [("u3", (), "gone")]


def test_the_run_date_defaults_to_the_latest_and_errors_name_those_there_are(spark: SparkSession) -> None:
    recommendations = spark.createDataFrame(RECOMMENDATIONS, SCHEMAS[C.RECOMMENDATIONS])
    assert choose_run_date(recommendations, None, "lake/r") == NIGHT
    assert choose_run_date(recommendations, date(2026, 1, 30), "lake/r") == date(2026, 1, 30)
    with pytest.raises(
        InputTableError, match=r"lake/r: no recommendations for 2026-02-01; there are 2026-01-31, 2026-01-30$"
    ):
        choose_run_date(recommendations, date(2026, 2, 1), "lake/r")
    with pytest.raises(InputTableError, match="for any run date"):
        choose_run_date(recommendations.limit(0), None, "lake/r")
