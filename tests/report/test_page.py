"""The page holds the facts, escaped, and needs nothing from outside."""

import importlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
from markupsafe import escape

from llmrec.domain.features import COLUMN, FEATURES, NAMES
from llmrec.pipelines.erasure import drop_report
from llmrec.report import plots
from llmrec.report.facts import Facts, Metric, SampleUser, SegmentCount
from llmrec.report.page import render_page


@pytest.fixture(scope="module")
def page(facts: Facts) -> str:
    return render_page(facts)


def text_of(page: str) -> str:
    return re.sub(r"[\s\N{NO-BREAK SPACE}]+", " ", re.sub(r"<[^>]+>", " ", page.split("</head>")[1]))


def test_page_tells_what_was_recommended_to_whom(page: str) -> None:
    text = text_of(page)
    assert "Recommendations for 31 January 2026" in text
    assert "950 users received 10 items each, 9,500 recommendations in all." in text
    assert "1,200 of 1,600 available items (75%)" in text
    assert "feedc0ffee12" in text


def test_page_says_in_words_whether_a_difference_may_be_chance(page: str) -> None:
    text = text_of(page)
    assert "NDCG@10 is 0.200 95% interval 0.190 to 0.210, measured on 500 users" in text
    better = "Better than popularity: +0.100 (+100%) 95% interval +0.080 to +0.120, p &lt; 0.001: significant"
    assert better in text
    assert "Not clearly different from co-visitation: +0.010 (+5%)" in text
    assert "p = 0.40: may be chance" in text


def test_table_marks_the_best_and_keeps_other_list_lengths_folded(page: str) -> None:
    shown, folded = page.split("<summary>All metrics at other list lengths")
    assert re.search(r'NDCG@10</th>\s*<td class="best">0\.200', shown)
    assert "NDCG@5</th>" not in shown
    assert "NDCG@5</th>" in folded
    assert not re.search(r'coverage@10</th>\s*<td class="best"', shown)


def section(page: str, name: str) -> str:
    return page[page.index(f'id="{name}"') :].split("</section>")[0]


def drawn(page: str, label: str) -> list[str]:
    """Return what is written in a chart, as a reader's eye would find it."""
    chart = page[page.index(f'aria-label="{escape(label)}"') :].split("</svg>")[0]
    return re.findall(r"<text[^>]*>([^<]*)</text>", chart)


def without(facts: Facts, *gone: str) -> str:
    """Return the page of an evaluation that wrote no such metric, segment or system."""
    assert facts.evaluation is not None
    rows = tuple(row for row in facts.evaluation.rows if not {row.metric, row.segment, row.system} & set(gone))
    return render_page(replace(facts, evaluation=replace(facts.evaluation, rows=rows)))


def test_page_says_what_each_part_is_worth_and_keeps_ablations_from_the_table_of_systems(page: str) -> None:
    text = text_of(section(page, "parts").join(("</head>", "")))
    assert "BERT adds +0.005 (+3%) 95% interval -0.005 to +0.015, p = 0.30: may be chance" in text
    assert "What others took adds +0.060 (+43%) 95% interval +0.050 to +0.070, p &lt; 0.001: significant" in text
    chart = drawn(page, "NDCG@10 lost without a part")
    assert chart.index("What others took") < chart.index("BERT")
    assert {"+0.005", "+0.060"} <= set(chart)
    table = page[page.index('aria-label="Metrics of the headline list length"') :].split("</table>")[0]
    assert ">popularity</th>" in table
    assert "without" not in table


def test_page_shows_the_features_that_count_most_with_their_meaning_and_sums_up_the_rest(page: str) -> None:
    ranker = section(page, "ranker")
    chart = drawn(page, "Share of the ranker's gain by feature")
    others = len(NAMES) + 1 - 12
    assert f"{others} others" in chart
    assert "pair_logit" in chart
    assert "idle" not in chart
    rest = sum(0.3 / (place + 1) for place in range(12, len(NAMES) + 1))
    assert f"{rest:.0%}" in chart
    assert re.search(r"<dt>pair_logit</dt>\s*<dd>logit of the fine-tuned pair scorer", ranker)
    assert "<dt>idle</dt>" not in ranker
    assert "<strong>16%</strong> the pair scorer" in ranker


def test_page_lists_every_feature_with_its_share_meaning_and_what_computes_it(page: str) -> None:
    table = section(page, "ranker").split('aria-label="All features"')[1].split("</table>")[0]
    cells = [re.findall(r"<(?:th|td|small)[^>]*>([^<]*)", row) for row in table.split("<tr>")[2:]]
    assert {row[0] for row in cells} == set(NAMES)
    assert [row[1] for row in cells if row[0] == "pair_logit"] == ["15.0%"]
    assert escape(FEATURES[COLUMN["als"]].meaning) in table
    for _, share, meaning, where in cells:
        assert share.endswith("%")
        assert meaning
        module, name = where.rsplit(".", 1)
        assert hasattr(importlib.import_module(module), name)


def test_page_tells_how_cold_starts_go(page: str) -> None:
    text = text_of(page)
    assert "No user judged was without history." in text
    assert "500 users took an item that nobody had taken before" in text
    table = section(page, "cold").split("<table>")[1].split("</table>")[0]
    assert "New items (500 users)" in table
    assert "New users" not in table
    shown = [text_of(f"</head>{row}").split() for row in table.split("<tr>")[2:]]
    assert shown[0] == ["System", "NDCG@10", "HR@10"]
    assert shown[1:] == [["llmrec", "0.070", "0.140"], ["vectors", "alone", "0.030", "0.060"]]
    assert "chance decides" not in text


def test_cold_start_of_few_users_comes_with_a_warning(facts: Facts) -> None:
    assert facts.evaluation is not None
    few = replace(facts.evaluation.find("llmrec", "NDCG", 10), users=8, segment="new users")
    rows = (*facts.evaluation.rows, few)
    text = text_of(render_page(replace(facts, evaluation=replace(facts.evaluation, rows=rows))))
    assert "8 of the users judged had no history" in text
    assert "New users (8 users)" in text
    assert "chance decides much of them" in text


def test_page_sets_what_the_sources_reach_beside_what_the_lists_hold(page: str) -> None:
    assert "Candidates hold 52% of what users went on to take , the first 10 of their lists 20%." in text_of(page)
    chart = drawn(page, "Candidate recall by source")
    assert chart.index("all together") < chart.index("nearest vectors")
    assert "again" not in chart
    assert "Without a hit or switched off: again." in page


def test_page_tells_how_many_pairs_stand_behind_each_predicted_probability(page: str) -> None:
    table = page[page.index('aria-label="Calibration"') :].split("</table>")[0]
    assert re.search(r">10%</th>\s*<td>9%</td>\s*<td>500</td>", table)


@pytest.mark.parametrize(
    ("gone", "headings"),
    [
        (("importance",), ("What the ranker relies on",)),
        (("NDCG difference", "NDCG p-value"), ("What each part is worth", "Better than")),
        (("without-bert", "without-collaborative"), ("What each part is worth",)),
        (("new items",), ("New items",)),
        (("candidate recall",), ("Candidate recall", "Candidates hold")),
        (("calibration predicted", "calibration error"), ("What the scores mean", "Calibration error")),
        (("recall",), ("of their lists",)),
    ],
)
def test_what_was_not_measured_is_not_on_the_page(
    page: str, facts: Facts, gone: tuple[str, ...], headings: tuple[str, ...]
) -> None:
    text = text_of(without(facts, *gone))
    for heading in headings:
        assert heading in text_of(page)
        assert heading not in text
    assert "Where the time went" in text


def test_without_cold_starts_there_is_no_table_of_them(page: str, facts: Facts) -> None:
    assert "<table>" in section(page, "cold")
    assert "<table>" not in section(without(facts, "new items"), "cold")


def test_losses_stand_left_of_the_line_at_zero_and_in_the_chart() -> None:
    gains = [Metric(system, "NDCG difference", "all", value) for system, value in (("a", 0.01), ("b", -0.02))]
    chart = plots.gains("g", "g", [(gain.system, gain) for gain in gains], frozenset())
    assert [text for text in ("+0.010", "-0.020") if f">{text}</text>" in chart] == ["+0.010", "-0.020"]
    better, worse = map(float, re.findall(r'<use [^>]*\bx="(-?[\d.]+)"', chart))
    assert 18 < worse < better < 370


def test_titles_and_names_are_escaped_everywhere(page: str) -> None:
    assert "<script" not in page
    assert "&lt;script&gt;alert" in page
    assert page.count("alert(") >= 12  # in likes, in reasons, in the chart of features


def test_page_fetches_nothing(page: str) -> None:
    references = re.findall(r'(?:src|href|action|data|poster)\s*=\s*"([^"]*)"|@import|url\(([^)]*)\)', page)
    outside = [a or b for a, b in references if not (a or b).startswith(("#", "data:,"))]
    assert outside == []
    assert not re.search(r"https?://", page)


def test_ids_are_unique_and_referred_to_ids_exist(page: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', page)) <= set(ids)


def test_the_same_facts_give_the_same_page(page: str, facts: Facts) -> None:
    assert render_page(facts) == page


def test_without_evaluation_the_page_says_so_in_place_of_its_charts(facts: Facts) -> None:
    text = text_of(render_page(replace(facts, evaluation=None)))
    assert "Evaluation has not run yet" in text
    assert "NDCG" not in text
    assert "Where candidates came from" in text


def test_calibration_axes_are_logarithmic_only_for_small_probabilities() -> None:
    wide = plots.calibration("c", "c", [(0.001, 0.002, 1_000), (0.3, 0.25, 1_000)])
    with_zero = plots.calibration("c", "c", [(0.001, 0.0, 1_000), (0.3, 0.25, 1_000), (0.0, 0.0, 0)])
    assert [f">{tick}%</text>" in wide for tick in (0, 0.1, 1, 10)] == [False, True, True, True]
    assert [f">{tick}%</text>" in with_zero for tick in (0, 0.1, 1, 10)] == [True, False, False, True]


def test_failed_stages_are_named(page: str) -> None:
    assert "4 min 05 s, failed" in page


def test_the_page_says_how_much_noise_counts_by_segment_have(facts: Facts) -> None:
    segments = (SegmentCount("new & old", 1_234), SegmentCount(None, 7))
    page = render_page(replace(facts, segments=segments, epsilon=0.5))
    assert '<th scope="row">new &amp; old</th><td>1,234</td>' in page
    assert '<th scope="row">without one</th><td>7</td>' in page
    assert "&epsilon; = 0.5" in page
    assert "noise" not in render_page(replace(facts, segments=segments))
    assert "Who was served" not in render_page(facts)


@pytest.mark.parametrize("user", ["O'Hara", 'the "boss"', "<b>&co", "red\u202etea", "plain"])
def test_a_page_is_deleted_if_it_shows_a_user_and_stays_for_the_others(user: str, facts: Facts, tmp_path: Path) -> None:
    page, unfinished = tmp_path / "report.html", tmp_path / ".report-ab12_z9x"
    page.write_text(render_page(replace(facts, samples=(SampleUser(user, None, (), ()),))), encoding="utf-8")
    (tmp_path / ".report-mine.html").write_text("")
    assert drop_report(page, ["somebody else", "plai"]) == 0
    unfinished.write_bytes(b"<p>torn \xc3")  # as a report leaves that was killed
    assert drop_report(page, ["somebody else", user]) == 2
    assert [path.name for path in tmp_path.iterdir()] == [".report-mine.html"]
    assert drop_report(page, [user]) == 0


def test_a_noisy_count_of_cold_starts_is_shown_alike_for_nobody_and_for_some(facts: Facts) -> None:
    assert facts.evaluation is not None
    rows = tuple(row for row in facts.evaluation.rows if row.segment != "new items")
    evaluation = replace(facts.evaluation, rows=rows, noisy={"new users": 0, "new items": 3})
    page = render_page(replace(facts, evaluation=evaluation, epsilon=0.5))
    text = text_of(page)
    assert "0 of the users judged had no history" in text
    assert "3 users took an item that nobody had taken before" in text
    assert "Both counts have Laplace noise: &epsilon; = 0.5 for each." in text
    assert "<table>" not in section(page, "cold")
