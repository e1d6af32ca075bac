import numpy as np
import pytest

from llmrec.domain.exploration import Exploration, explore

SCORES = np.array([0.5, 0.4, 0.3, 0.03, 0.01, 0.9])
NEW = np.array([False, False, False, True, True, False])
LIST = np.array([0, 1, 2])


def tried(share: float, seed: int, new: np.ndarray = NEW, fits=lambda places: True):
    return explore(LIST, SCORES, new, share, np.random.default_rng(seed), fits)


def test_without_a_share_or_without_new_items_the_list_stays_and_is_certain() -> None:
    for share, new in ((0.0, NEW), (0.9, np.zeros(6, bool)), (0.9, np.isin(np.arange(6), LIST))):
        found, chances = tried(share, 0, new)
        assert found.tolist() == [0, 1, 2]
        assert chances.tolist() == [1, 1, 1]
    assert LIST.tolist() == [0, 1, 2]


def test_each_place_but_the_first_is_given_away_as_often_as_asked_and_the_chances_say_so() -> None:
    nights = [tried(0.3, seed) for seed in range(4000)]
    assert all(found[0] == 0 and chances[0] == 1 for found, chances in nights)
    second = np.array([found[1] for found, _ in nights])
    for place, chance in ((1, 0.7), (3, 0.3 * 0.75), (4, 0.3 * 0.25)):
        assert np.mean(second == place) == pytest.approx(chance, abs=0.02)
        assert {round(chances[1], 6) for found, chances in nights if found[1] == place} == {round(chance, 6)}


def test_weighing_by_the_chances_gives_what_every_item_would_have_brought() -> None:
    """Inverse propensity scoring: over nights, gain / chance comes to the sum of the gains of all that may come."""
    gains = np.array([0, 1.0, 0, 5.0, 2.0, 0])
    estimate = np.mean([gains[found[1]] / chances[1] for found, chances in (tried(0.5, seed) for seed in range(6000))])
    assert estimate == pytest.approx(1 + 5 + 2, abs=0.3)


def test_no_item_stands_twice_and_the_rules_are_kept() -> None:
    for seed in range(200):
        found, _ = tried(0.9, seed)
        assert len(set(found.tolist())) == 3
        found, _ = tried(0.9, seed, fits=lambda places: 3 not in places)
        assert 3 not in found


def test_a_user_has_the_same_list_on_the_same_night_alone() -> None:
    draws = [Exploration(0.5, 10, night).rng(user).random() for night in ("a", "b") for user in ("u", "v")]
    assert len(set(draws)) == 4
    assert Exploration(0.5, 10, "a").rng("u").random() == draws[0]
