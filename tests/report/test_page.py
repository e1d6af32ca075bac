"""The page holds the facts, escaped, and needs nothing from outside."""

import re
from dataclasses import replace

import pytest

from llmrec.report import plots
from llmrec.report.facts import Facts
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


def test_page_says_what_each_part_is_worth_and_keeps_ablations_from_the_table_of_systems(page: str) -> None:
    assert "BERT adds +0.005 (+3%) 95% interval -0.005 to +0.015: may be chance" in text_of(page)
    table = page[page.index('aria-label="Metrics of the headline list length"') :].split("</table>")[0]
    assert ">popularity</th>" in table
    assert "without" not in table


def test_page_tells_how_cold_starts_go(page: str) -> None:
    text = text_of(page)
    assert "No user judged was without history." in text
    assert "500 users took an item that nobody had taken before" in text
    assert 'aria-label="NDCG@10, new items"' in page


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
