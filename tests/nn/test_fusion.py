from pathlib import Path

import numpy as np
import pytest

from llmrec.domain.features import COLUMN, NAMES
from llmrec.domain.metrics import auc
from llmrec.errors import ArtifactError
from llmrec.nn.fusion import Fusion

PLANTED = COLUMN["covisitation"]


def planted(pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of noise but one, likes drawn from it, and the probability of each like."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(pairs, len(NAMES))).astype(np.float32)
    truth = 1 / (1 + np.exp(3 - 2 * features[:, PLANTED]))  # one in ten is liked
    return features, rng.random(pairs) < truth, truth


def train(features: np.ndarray, liked: np.ndarray, seed: int) -> Fusion:
    """Fit on users with fifty pairs each."""
    lists = len(liked) // 50
    return Fusion.train(features, liked, np.full(lists, 50), np.arange(lists), seed=seed)


def auc_of(scores: np.ndarray, liked: np.ndarray) -> float:
    value = auc(np.argsort(-scores, kind="stable").tolist(), set(np.flatnonzero(liked).tolist()), len(liked))
    assert value is not None
    return value


@pytest.fixture(scope="module")
def trained() -> Fusion:
    features, liked, _ = planted(20_000, seed=1)
    return train(features, liked, seed=1)


def test_a_planted_feature_is_learned(trained: Fusion) -> None:
    features, liked, truth = planted(2000, seed=2)
    shuffled = train(features, np.random.default_rng(0).permutation(liked), seed=1)
    figure = auc_of(trained.probabilities(features), liked)
    assert figure > auc_of(shuffled.probabilities(features), liked) + 0.2
    assert figure > auc_of(truth, liked) - 0.02
    importance = trained.importance()
    assert max(importance, key=lambda name: importance[name]) == NAMES[PLANTED]
    assert sum(importance.values()) == pytest.approx(1)


def test_probabilities_are_calibrated_on_held_out_pairs(trained: Fusion) -> None:
    features, _, truth = planted(20_000, seed=3)
    predicted = trained.probabilities(features)
    assert predicted.min() >= 0
    assert predicted.max() <= 1
    for low in (0.0, 0.1, 0.2, 0.3):
        inside = (predicted >= low) & (predicted < low + 0.1)
        assert inside.sum() > 100
        assert predicted[inside].mean() == pytest.approx(truth[inside].mean(), abs=0.05)


def test_contributions_add_up_to_the_log_odds_less_one_constant(trained: Fusion) -> None:
    features, _, _ = planted(50, seed=4)
    probabilities = trained.probabilities(features)
    log_odds = np.log(probabilities / (1 - probabilities))
    contributions = trained.contributions(features)
    assert contributions.shape == (50, len(NAMES))
    rest = log_odds - contributions.sum(axis=1)
    np.testing.assert_allclose(rest, rest[0], atol=1e-6)
    assert np.corrcoef(contributions[:, PLANTED], features[:, PLANTED])[0, 1] > 0.8


@pytest.mark.parametrize("pairs", [[40], [15, 0, 15, 10]])
def test_few_users_or_users_without_candidates_are_enough_for_some_ranker(pairs: list[int]) -> None:
    features, _, _ = planted(40, seed=10)
    liked = np.arange(40) % 4 == 0
    fusion = Fusion.train(features, liked, np.array(pairs), np.arange(len(pairs)), seed=1)
    assert fusion.probabilities(features).mean() == pytest.approx(0.25, abs=0.05)


def test_no_pairs_have_no_probabilities(trained: Fusion) -> None:
    nothing = np.zeros((0, len(NAMES)), np.float32)
    assert trained.probabilities(nothing).shape == (0,)
    assert trained.contributions(nothing).shape == (0, len(NAMES))


def test_the_same_seed_gives_the_same_trees_and_another_seed_others(tmp_path: Path) -> None:
    features, liked, _ = planted(1000, seed=5)
    for name, seed in (("one", 7), ("two", 7), ("other", 8)):
        train(features, liked, seed=seed).save(tmp_path / name)
    assert (tmp_path / "one").read_text() == (tmp_path / "two").read_text()
    assert (tmp_path / "one").read_text() != (tmp_path / "other").read_text()


def test_trees_loaded_predict_what_the_saved_ones_did(trained: Fusion, tmp_path: Path) -> None:
    features, _, _ = planted(100, seed=6)
    trained.save(tmp_path / "ranker.json")
    loaded = Fusion.load(tmp_path / "ranker.json")
    np.testing.assert_array_equal(loaded.probabilities(features), trained.probabilities(features))


def test_trees_of_other_features_are_refused(trained: Fusion, tmp_path: Path) -> None:
    trained.save(tmp_path / "ranker.json")
    saved = (tmp_path / "ranker.json").read_text()
    (tmp_path / "ranker.json").write_text(saved.replace(f"feature_names={NAMES[0]} ", "feature_names=price "))
    with pytest.raises(ArtifactError, match=r"ranker\.json: was trained on features \['price', .*expected \['covisit"):
        Fusion.load(tmp_path / "ranker.json")


def test_probabilities_keep_the_order_of_scores_and_know_nothing_of_users_without_likes() -> None:
    """Users without a like teach no order, but that likes are rare."""
    features, liked, truth = planted(20_000, seed=8)
    silent = np.arange(20_000) // 50 % 2 == 0
    rare = train(features, liked & ~silent, seed=1)
    often = train(features, liked, seed=1)
    fresh, _, _ = planted(2000, seed=9)
    assert rare.probabilities(fresh).mean() == pytest.approx(truth.mean() / 2, abs=0.02)
    assert often.probabilities(fresh).mean() == pytest.approx(truth.mean(), abs=0.02)
    assert len(np.unique(rare.probabilities(fresh))) > 1000


def test_lists_in_which_nothing_was_liked_change_no_order() -> None:
    features, liked, _ = planted(6000, seed=11)
    silent = np.arange(6000) // 50 % 3 == 0
    rest = train(features[~silent], liked[~silent], seed=1)
    both = train(features, liked & ~silent, seed=1)
    fresh, _, _ = planted(1000, seed=12)
    np.testing.assert_array_equal(
        np.argsort(both.probabilities(fresh), kind="stable"), np.argsort(rest.probabilities(fresh), kind="stable")
    )


def test_of_one_users_lists_none_vouches_for_another() -> None:
    """Likes by chance, each list twice: trees that saw a list know its twin, and no other."""
    rng = np.random.default_rng(13)
    features = np.repeat(rng.normal(size=(40, 50, len(NAMES))), 2, axis=0).reshape(4000, -1).astype(np.float32)
    liked = np.repeat(rng.random((40, 50)) < 0.1, 2, axis=0).ravel()
    fresh, _, _ = planted(1000, seed=14)

    def spread(owners: np.ndarray) -> float:
        return float(Fusion.train(features, liked, np.full(80, 50), owners, seed=1).probabilities(fresh).std())

    assert spread(np.arange(80) // 2) < 0.3 * spread(np.arange(80))


def test_the_gain_is_that_of_lists_of_unseen_users_and_tells_a_telling_feature_from_noise() -> None:
    features, liked, _ = planted(20_000, seed=9)
    pairs, owners = np.full(1000, 20), np.arange(1000)
    told = Fusion.train(features, liked, pairs, owners, seed=1)
    blind = features.copy()
    blind[:, PLANTED] = 0
    guessed = Fusion.train(blind, liked, pairs, owners, seed=1)
    assert told.gain > 1.2 * guessed.gain
    assert told.reads([NAMES[PLANTED]])
    assert not guessed.reads([NAMES[PLANTED]])


def test_an_ensemble_is_the_mean_of_its_trees_and_survives_the_file(tmp_path: Path) -> None:
    features, liked, _ = planted(4_000, seed=1)
    fresh, _, _ = planted(500, seed=2)
    alone = [train(features, liked, seed=seed) for seed in (1, 2)]
    both = Fusion.train(features, liked, np.full(80, 50), np.arange(80), seed=1, ensemble=2)
    scores = np.mean([one.contributions(fresh).sum(axis=1) / one._slope for one in alone], axis=0)
    assert np.corrcoef(scores, both.contributions(fresh).sum(axis=1))[0, 1] > 0.9999
    both.save(tmp_path / "ranker.json")
    assert Fusion.load(tmp_path / "ranker.json").probabilities(fresh) == pytest.approx(both.probabilities(fresh))
