from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.domain.bounds import EMPTY, LAST_DAY, QUANTILES, ROWS, Bounds, NightFigures, out_of_bounds, score_figures

FIRST = date(2026, 1, 1)
BOUNDS = Bounds(
    max_fall=0.3, max_rise=1.0, max_last_day_fall=0.9, max_share_change=0.2, max_score_shift=0.5, max_empty=0.5,
    same_columns=True,
)  # fmt: skip
OFF = Bounds(None, None, None, None, None, None, same_columns=False)


def night(day: int = 0, *, users: float = 100.0, late: float = 50.0, fallback: float = 0.1, empty: float = 0.0,
          scores: tuple[float, float, float] = (0.1, 0.2, 0.5), model: str = "m1", forced: bool = False,
          columns: dict[str, str] | None = None) -> NightFigures:  # fmt: skip
    return NightFigures(
        FIRST + timedelta(days=day), model, {"eligible users": users, LAST_DAY: late},
        {"share of fallback users": fallback, EMPTY: empty}, score_figures(scores),
        {"events.value": "double"} if columns is None else columns, forced,
    )  # fmt: skip


WEEK = [night(day) for day in range(7)]


def with_rows(of: NightFigures, denied: float) -> NightFigures:
    return replace(of, counts={**of.counts, f"{ROWS}denied": denied})


def test_a_table_may_have_any_number_of_rows_but_none_where_there_were_some() -> None:
    week = [with_rows(one, 40) for one in WEEK]
    assert out_of_bounds(with_rows(night(7), 0), week, BOUNDS) == [
        "rows of denied: 0, expected some; the night of 2026-01-07 had 40"
    ]
    assert not out_of_bounds(with_rows(night(7), 0), week, OFF)
    for passes in (with_rows(night(7), 1), with_rows(night(7), 4000), night(7)):
        assert not out_of_bounds(passes, week, BOUNDS)
    assert not out_of_bounds(with_rows(night(7), 9), [with_rows(one, 0) for one in WEEK], BOUNDS)


@pytest.mark.parametrize(
    ("tonight", "says"),
    [
        (night(7, users=50), "eligible users: 50, expected 70 to 200; 7 nights, 2026-01-01 to 2026-01-07, had "
                             "100 in the median, the last of them 100"),
        (night(7, users=201), "eligible users: 201, expected 70 to 200; "),
        (night(7, late=4), "events of the last day: 4, expected at least 5; "),
        (night(7, fallback=0.31), "share of fallback users: 31.0%, expected at most 30.0%; "),
        (night(7, fallback=1.0), "share of fallback users: 100.0%, expected at most 30.0%; "),
        (night(7, empty=0.51), "share of users without a list: 51.0%, expected at most 50.0% on any night"),
        (night(7, columns={}), "events.value: is missing, expected double as in the night of 2026-01-07"),
        (night(7, columns={"events.value": "float"}), "events.value: is float, expected double as in the night of"),
    ],
)  # fmt: skip
def test_what_is_too_far_from_the_week_before_is_named_with_what_was_found_and_expected(
    tonight: NightFigures, says: str
) -> None:
    reasons = out_of_bounds(tonight, WEEK, BOUNDS)
    assert any(reason.startswith(says) for reason in reasons), reasons
    assert len(reasons) == (2 if "any night" in says else 1)  # a share of 51 % of users is far from last week's 0 too


@pytest.mark.parametrize(
    "tonight",
    [
        night(7, users=70), night(7, users=200), night(7, late=5), night(7, late=10_000), night(7, fallback=0.3),
        night(7, fallback=0.0), night(7, empty=0.19), night(7, scores=(0.2, 0.3, 0.5)),
        night(7, columns={"events.value": "double", "events.scene": "string"}),
    ],
)  # fmt: skip
def test_a_night_within_bounds_has_nothing_against_it(tonight: NightFigures) -> None:
    assert out_of_bounds(tonight, WEEK, BOUNDS) == []


def test_a_model_that_scores_all_alike_is_out_of_bounds_wherever_its_score_lies() -> None:
    for score in (0.1, 0.2, 0.3, 0.5):
        reasons = out_of_bounds(night(7, scores=(score, score, score)), WEEK, BOUNDS)
        assert any(one.startswith("score spread, quantile 0.9 less 0.1: 0, expected at least 0.2; ") for one in reasons)


def test_scores_that_moved_by_half_their_spread_are_out_of_bounds_and_another_model_is_named() -> None:
    moved = night(7, scores=(0.31, 0.41, 0.71), model="m2")
    reasons = out_of_bounds(moved, WEEK, BOUNDS)
    assert [reason.split(":")[0] for reason in reasons] == [f"score quantile {share}" for share in QUANTILES]
    assert all(reason.endswith("; the model is m2 now, before it was m1") for reason in reasons)
    assert not any("the model is" in one for one in out_of_bounds(replace(moved, model_version="m1"), WEEK, BOUNDS))


def test_without_earlier_nights_only_what_needs_none_counts() -> None:
    assert out_of_bounds(night(users=1, fallback=1.0), [], BOUNDS) == []
    assert out_of_bounds(night(empty=0.6), [], BOUNDS) == [
        "share of users without a list: 60.0%, expected at most 50.0% on any night"
    ]


def test_one_odd_night_among_seven_moves_no_bound() -> None:
    odd = [*WEEK[:6], night(6, users=1000)]
    assert out_of_bounds(night(7), odd, BOUNDS) == []
    [reason] = out_of_bounds(night(7, users=1000), odd, BOUNDS)
    assert reason.endswith("had 100 in the median, the last of them 1,000")


def test_after_a_forced_night_one_like_it_passes_and_so_does_one_as_before() -> None:
    forced = [*WEEK[:6], night(6, users=400, columns={}, forced=True)]
    assert out_of_bounds(night(7, users=390, columns={}), forced, BOUNDS) == []
    assert out_of_bounds(night(7, users=100, columns={}), forced, BOUNDS) == []
    [reason] = out_of_bounds(night(7, users=240, columns={}), forced, BOUNDS)
    assert reason.startswith("eligible users: 240, expected 70 to 200 or 280 to 800; ")


def test_each_bound_can_be_switched_off() -> None:
    anything = night(7, users=0, late=0, fallback=1.0, empty=1.0, scores=(9, 9, 9), columns={})
    assert len(out_of_bounds(anything, WEEK, BOUNDS)) == 10
    assert out_of_bounds(anything, WEEK, OFF) == []


def test_what_only_one_side_knows_is_not_compared() -> None:
    more = replace(night(7), counts={**WEEK[0].counts, "baskets": 3.0}, shares={}, scores={})
    assert out_of_bounds(more, WEEK, BOUNDS) == []
    assert out_of_bounds(night(8), [more], BOUNDS) == []


values = st.floats(0, 1e9)
shares = st.floats(0, 1)


@given(
    counts=st.dictionaries(st.sampled_from(["eligible users", "events", LAST_DAY]), values),
    known=st.dictionaries(st.text(max_size=3), shares),
    scores=st.tuples(shares, shares, shares),
    nights=st.integers(1, 8),
    bounds=st.builds(
        Bounds, *(st.none() | shares for _ in range(5)), max_empty=st.none(), same_columns=st.booleans()
    ),
)  # fmt: skip
def test_a_night_equal_to_all_before_passes_whatever_the_bounds(
    counts: dict[str, float], known: dict[str, float], scores: tuple[float, ...], nights: int, bounds: Bounds
) -> None:
    same = NightFigures(FIRST, "m1", counts, known, score_figures(sorted(scores)), {"events.value": "double"})
    before = [replace(same, run_date=FIRST + timedelta(days=day), forced=day == 3) for day in range(nights)]
    assert out_of_bounds(same, before, bounds) == []


@given(fall=st.floats(0, 1), bound=st.floats(0, 1))
def test_a_count_may_fall_by_exactly_as_much_as_allowed(fall: float, bound: float) -> None:
    bounds = replace(OFF, max_fall=bound)
    assert bool(out_of_bounds(night(7, users=100 * (1 - fall)), WEEK, bounds)) == (100 * (1 - fall) < 100 * (1 - bound))
