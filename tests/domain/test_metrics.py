"""Metrics against ir_measures, against brute force, and on answers known by construction."""

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import AP, RR, P, R, Success, nDCG

from llmrec.domain.metrics import (
    auc,
    bootstrap_interval,
    coverage,
    diversity,
    expected_calibration_error,
    novelty,
    paired_bootstrap,
    user_metrics,
)

KS = [1, 3, 5, 10, 20]
CATALOGUE = [f"item-{i}" for i in range(40)]
PEERS = {"HR": Success, "precision": P, "recall": R, "NDCG": nDCG, "MRR": RR, "MAP": AP}

rankings = st.lists(st.sampled_from(CATALOGUE), unique=True, max_size=30)
relevants = st.sets(st.sampled_from(CATALOGUE), min_size=1, max_size=25)


def test_user_metrics_agree_with_ir_measures_on_random_rankings() -> None:
    random = np.random.default_rng(0)
    ours, run, judged = {}, {}, {}
    for user in range(200):
        ranked = list(random.permutation(CATALOGUE)[: random.integers(1, 31)])
        relevant = set(random.permutation(CATALOGUE)[: random.integers(1, 26)])
        ours[str(user)] = user_metrics(ranked, relevant, KS)
        run[str(user)] = {item: -float(position) for position, item in enumerate(ranked)}
        judged[str(user)] = {item: 1 for item in relevant}
    compared = 0
    for name, peer in PEERS.items():
        for k in KS:
            for found in ir_measures.iter_calc([peer @ k], judged, run):
                assert ours[found.query_id][name, k] == pytest.approx(found.value, abs=1e-6), (name, k)
                compared += 1
    assert compared == 200 * len(PEERS) * len(KS)


@given(ranked=rankings, relevant=relevants, k=st.integers(1, 35))
def test_user_metrics_keep_to_their_bounds_and_to_each_other(ranked: list[str], relevant: set[str], k: int) -> None:
    values = {name: value for (name, _), value in user_metrics(ranked, relevant, [k]).items()}
    assert all(0 <= value <= 1 + 1e-12 for value in values.values())
    assert (values["HR"] == 0) == (values["NDCG"] == 0) == (values["MRR"] == 0) == (values["F1"] == 0)
    hits = len(set(ranked[:k]) & relevant)
    assert values["F1"] == pytest.approx(2 * hits / (k + len(relevant)))  # Dice, the same thing in other words
    assert values["MAP"] <= values["recall"] + 1e-12


@given(relevant=relevants, k=st.integers(1, 35))
def test_a_perfect_list_has_the_best_ndcg_and_an_empty_one_scores_nothing(relevant: set[str], k: int) -> None:
    assert user_metrics(sorted(relevant), relevant, [k])["NDCG", k] == pytest.approx(1)
    assert set(user_metrics([], relevant, [k]).values()) == {0.0}


def test_user_metrics_take_arrays_and_users_without_relevant_items() -> None:
    ranked = np.array(["a", "b"])
    assert user_metrics(ranked, {"b"}, [1, 2])["MRR", 2] == 0.5
    assert set(user_metrics(ranked, set(), [2]).values()) == {0.0}
    assert user_metrics(ranked, {"b"}, []) == {}


def test_user_metrics_refuse_repeated_items_and_impossible_k() -> None:
    with pytest.raises(ValueError, match="3 items, 2 of them different"):
        user_metrics(["a", "b", "a"], {"a"}, [3])
    with pytest.raises(ValueError, match=r"at least 1, got \[5, 0\]"):
        user_metrics(["a"], {"a"}, [5, 0])


@settings(max_examples=200)
@given(ranked=rankings, relevant=st.sets(st.sampled_from(CATALOGUE)))
def test_auc_is_the_share_of_pairs_in_the_right_order(ranked: list[str], relevant: set[str]) -> None:
    height = {item: len(ranked) - position for position, item in enumerate(ranked)}
    pairs = [(height.get(a, 0), height.get(b, 0)) for a in relevant for b in CATALOGUE if b not in relevant]
    if not pairs:
        assert auc(ranked, relevant, len(CATALOGUE)) is None
        return
    brute = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)
    assert auc(ranked, relevant, len(CATALOGUE)) == pytest.approx(brute)


def test_auc_at_its_edges() -> None:
    assert auc(["a", "b"], {"a"}, 5) == 1.0
    assert auc([], {"a"}, 5) == 0.5
    assert auc(["a"], set(), 5) is None
    assert auc(["a"], {"a", "b"}, 2) is None
    with pytest.raises(ValueError, match="catalogue_size is 2, expected at least the 3"):
        auc(["a", "b"], {"c"}, 2)


def test_bootstrap_interval_is_near_the_normal_one_and_repeatable() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, size=2_000)
    mean, low, high = bootstrap_interval(values, resamples=2_000, seed=5)
    error = 1.96 * values.std() / np.sqrt(len(values))
    assert mean == pytest.approx(values.mean())
    assert (low, high) == (pytest.approx(mean - error, abs=0.01), pytest.approx(mean + error, abs=0.01))
    assert bootstrap_interval(values, resamples=2_000, seed=5) == (mean, low, high)


def test_bootstrap_of_many_users_works_in_chunks() -> None:
    values = np.zeros(150_000)
    values[:75_000] = 1.0
    mean, low, high = bootstrap_interval(values, resamples=40, seed=0)  # 6,000,000 draws, three times the chunk
    assert mean == 0.5
    assert 0.49 < low < 0.5 < high < 0.51


def test_bootstrap_needs_users() -> None:
    with pytest.raises(ValueError, match="got 0 and 10"):
        bootstrap_interval(np.array([]), resamples=10, seed=0)


def test_paired_bootstrap_finds_a_planted_difference() -> None:
    random = np.random.default_rng(2)
    b = random.beta(1, 4, size=1_000)
    a = b + random.normal(0.01, 0.05, size=1_000)  # far below the spread of b: only pairing can see it
    difference, low, high, p = paired_bootstrap(a, b, resamples=1_000, seed=0)
    assert difference == pytest.approx((a - b).mean())
    assert 0 < low < difference < high < 0.02
    assert p < 0.01


def test_paired_bootstrap_rejects_a_null_difference_about_one_time_in_twenty() -> None:
    random = np.random.default_rng(3)
    samples = [(random.normal(size=100), random.normal(size=100)) for _ in range(200)]
    p_values = [paired_bootstrap(a, b, resamples=300, seed=i)[3] for i, (a, b) in enumerate(samples)]
    assert 0.01 <= np.mean(np.array(p_values) < 0.05) <= 0.10


def test_paired_bootstrap_of_equal_systems_has_p_one() -> None:
    same = np.array([0.1, 0.5, 0.9])
    assert paired_bootstrap(same, same, resamples=100, seed=0) == (0.0, 0.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="got 3 and 2"):
        paired_bootstrap(same, same[:2], resamples=100, seed=0)


def test_coverage_counts_each_item_once() -> None:
    assert coverage([["a", "b"], ["b", "c"], []], catalogue_size=10) == 0.3
    with pytest.raises(ValueError, match="at least 1, got 0"):
        coverage([], catalogue_size=0)


def test_novelty_is_in_bits() -> None:
    assert novelty(["a", "b"], {"a": 0.5, "b": 0.125}) == pytest.approx(2.0)
    assert novelty(["a", "new"], {"a": 0.5}, unseen=0.125) == pytest.approx(2.0)
    assert novelty([], {"a": 0.5}) == 0.0
    with pytest.raises(ValueError, match="1 of 2 items have no popularity share"):
        novelty(["a", "new"], {"a": 0.5})


def test_diversity_is_the_mean_over_pairs() -> None:
    vectors = np.random.default_rng(4).normal(size=(6, 8))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    brute = np.mean([1 - unit[i] @ unit[j] for i in range(6) for j in range(i)])
    assert diversity(vectors) == pytest.approx(brute)
    assert diversity(np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 0.0]])) == pytest.approx(2 / 3)
    assert diversity(np.ones((1, 4))) is None


def test_calibration_error_weighs_bins_by_size() -> None:
    predicted, labels, count = np.array([1.0, 9.0, 0.0]), np.array([2.0, 8.0, 0.0]), np.array([10, 10, 0])
    assert expected_calibration_error(predicted, labels, count) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="at least one pair"):
        expected_calibration_error(np.zeros(2), np.zeros(2), np.zeros(2))
