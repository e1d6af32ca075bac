"""A planted market: ratings follow user, item, what is said of the item, and each user's taste for that."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from llmrec.nn.biases import Rated, content_biases, fit_biases, fit_tastes
from llmrec.nn.rating_model import RatingModel, fit_plain_biases, fit_rating_model, mae, rmse, text_features

USERS, ITEMS, WIDTH = 120, 90, 6
NEW = np.arange(ITEMS) >= 70
"""Items that the learned ratings lack: the first ten of them are validation's."""


@dataclass(frozen=True)
class Market:
    learned: Rated
    valid: Rated
    test: Rated
    features: np.ndarray
    more: np.ndarray
    """(users, items) what else there is to a rating."""


def part(rated: Rated, rows: np.ndarray) -> Rated:
    return replace(rated, user=rated.user[rows], item=rated.item[rows], rating=rated.rating[rows])


@pytest.fixture(scope="module")
def market() -> Market:
    rng = np.random.default_rng(0)
    features = text_features(rng.normal(size=(ITEMS, WIDTH)), np.zeros((ITEMS, 0)))
    worth = features @ rng.normal(size=WIDTH) * 1.5 + rng.normal(size=ITEMS) * 0.3
    taste = rng.normal(size=(USERS, WIDTH)) @ features.T
    more = rng.normal(size=(USERS, ITEMS)) * 0.5
    whole = 6 + rng.normal(size=USERS)[:, None] + worth + taste + more + rng.normal(size=(USERS, ITEMS)) * 0.3
    user, item = np.nonzero(rng.random((USERS, ITEMS)) < 0.6)
    rated = Rated(USERS, ITEMS, user, item, whole[user, item].clip(1, 10))
    chance = rng.random(len(user))
    valid = np.where(NEW[item], item < 80, chance < 0.15)
    test = np.where(NEW[item], item >= 80, chance > 0.85)
    return Market(part(rated, ~valid & ~test), part(rated, valid), part(rated, test), features, more)


def errors(model: RatingModel, rated: Rated, outputs: np.ndarray | None = None) -> tuple[float, float]:
    """RMSE for items with and without learned ratings."""
    said, new = model(rated.user, rated.item, outputs), NEW[rated.item]
    return rmse(said[~new], rated.rating[~new]), rmse(said[new], rated.rating[new])


def test_biases_are_those_of_the_ridge_regression_on_users_and_items(market: Market) -> None:
    learned, prior, pull = market.learned, np.linspace(-1, 1, ITEMS), 5.0
    found = fit_biases(learned, pull, prior)
    place = np.arange(len(learned.rating))
    table = np.zeros((len(place), USERS + ITEMS))
    table[place, learned.user] = table[place, USERS + learned.item] = 1
    expected = np.concatenate([np.zeros(USERS), prior])
    left = learned.rating - learned.rating.mean() - table @ expected
    whole = expected + np.linalg.solve(table.T @ table + pull * np.eye(USERS + ITEMS), table.T @ left)
    np.testing.assert_allclose(np.concatenate([found.of_users, found.of_items]), whole, atol=0.01)
    np.testing.assert_allclose(found.of_items[NEW], prior[NEW])


def test_a_taste_is_the_ridge_regression_of_the_users_own_ratings(market: Market) -> None:
    learned = market.learned
    left = learned.rating - learned.rating.mean()
    found = fit_tastes(learned, left, market.features, noise=2.0)
    for user in (0, 17, USERS - 1):
        had, own = market.features[learned.item[learned.user == user]], left[learned.user == user]
        np.testing.assert_allclose(found[user], np.linalg.solve(had.T @ had + 2 * np.eye(WIDTH), had.T @ own))
    nobody = part(learned, learned.user != 3)
    assert not fit_tastes(nobody, left[learned.user != 3], market.features, noise=2.0)[3].any()


def test_what_texts_say_of_new_items_is_learned_from_the_others(market: Market) -> None:
    learned, test = market.learned, part(market.test, NEW[market.test.item])
    plain = fit_biases(learned, 2.0)

    def error(features: np.ndarray) -> float:
        said = content_biases(learned, plain.of_users, features, ridge=0.3)
        return rmse(replace(plain, of_items=said)(test.user, test.item), test.rating)

    nothing = rmse(plain(test.user, test.item), test.rating)
    assert error(market.features) < 0.9 * nothing
    assert error(np.random.default_rng(1).permutation(market.features)) > nothing


def test_known_and_new_items_are_told_better_than_by_biases_and_with_dealt_out_texts_no_better(market: Market) -> None:
    plain = fit_plain_biases(market.learned, market.valid)
    said = plain(market.test.user, market.test.item)
    new = NEW[market.test.item]
    known_before, new_before = (rmse(said[rows], market.test.rating[rows]) for rows in (~new, new))
    known, cold = errors(fit_rating_model(market.learned, market.valid, market.features), market.test)
    assert known < 0.8 * known_before
    assert cold < 0.8 * new_before
    shuffled = np.random.default_rng(1).permutation(market.features)
    known, cold = errors(fit_rating_model(market.learned, market.valid, shuffled), market.test)
    assert known > 0.95 * known_before
    assert cold > 0.95 * new_before


def test_a_scorers_outputs_count_for_what_they_are_worth_on_validation_ratings(market: Market) -> None:
    model, rng = fit_rating_model(market.learned, market.valid, market.features), np.random.default_rng(2)
    before = errors(model, market.test)

    def after(valid: np.ndarray, test: np.ndarray) -> tuple[float, float]:
        return errors(model.learn_outputs(market.valid, valid), market.test, test)

    worth = market.more * np.where(NEW, -1, 3) + 7  # the two kinds of items have weights of their own
    telling = [worth[of.user, of.item] for of in (market.valid, market.test)]
    assert all(now < 0.9 * then for now, then in zip(after(*telling), before, strict=True))
    noise = [rng.normal(size=len(of.user)) for of in (market.valid, market.test)]
    assert after(*noise) == pytest.approx(before, rel=0.03)
    assert errors(model, market.test, telling[1]) == before  # nothing was learned of them


def test_ratings_stay_within_the_scale_of_those_learned_from(market: Market) -> None:
    model = fit_rating_model(market.learned, market.valid, market.features)
    far = replace(model, tastes=model.tastes * 100)
    said = far(market.test.user, market.test.item)
    assert (said.min(), said.max()) == (market.learned.rating.min(), market.learned.rating.max())


def test_features_are_of_unit_length_part_by_part() -> None:
    rng = np.random.default_rng(0)
    vectors, groups = rng.normal(size=(8, 4)) + 5, np.eye(8)[:, :3]
    found = text_features(vectors, groups)
    assert np.linalg.norm(found[:, :4], axis=1) == pytest.approx(np.ones(8))
    assert np.linalg.norm(found[:, 4:], axis=1) == pytest.approx(np.ones(8))
    assert text_features(vectors, groups[:, :0]).shape == (8, 4)


def test_errors_are_root_mean_square_and_mean_absolute() -> None:
    said, truth = np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, 6.0])
    assert rmse(said, truth) == pytest.approx((13 / 3) ** 0.5)
    assert mae(said, truth) == pytest.approx(5 / 3)


def test_no_ratings_are_an_error() -> None:
    nothing = np.zeros(0, np.int64)
    with pytest.raises(ValueError, match="expected some"):
        fit_biases(Rated(2, 2, nothing, nothing, np.zeros(0)), 1.0)
