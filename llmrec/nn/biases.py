"""Who rates high, what is rated high, what texts say of it, and what users make of texts: the parts of ratings."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

# Shape letters: R ratings, U users, I items, F features of an item.

_ROUNDS = 15
"""Users' and items' biases are found in turns; after so many they hardly move."""
_FEW = 20.0
"""An item of so many ratings counts half of one of very many where texts learn from items."""


@dataclass(frozen=True)
class Rated:
    """Ratings of ``users`` users and ``items`` items."""

    users: int
    items: int
    user: Places
    """(R,)."""
    item: Places
    """(R,)."""
    rating: Doubles
    """(R,)."""

    def of_item(self, values: Doubles) -> Doubles:
        """Add up ``values`` of ratings (R,) by item, (I,)."""
        return np.bincount(self.item, values, self.items).astype(np.float64)

    def of_user(self, values: Doubles) -> Doubles:
        """Add up ``values`` of ratings (R,) by user, (U,)."""
        return np.bincount(self.user, values, self.users).astype(np.float64)


@dataclass(frozen=True)
class Biases:
    """What to expect of a rating before anything is known of what user and item have to do with each other."""

    mean: float
    of_users: Doubles
    """(U,)."""
    of_items: Doubles
    """(I,)."""

    def __call__(self, user: Places, item: Places) -> Doubles:
        """Return the ratings to expect, (R,)."""
        return self.mean + self.of_users[user] + self.of_items[item]


def fit_biases(rated: Rated, pull: float, expected: Doubles | None = None) -> Biases:
    """Find both kinds of biases (Koren and Bell, "Advances in Collaborative Filtering", 2011).

    Args:
        rated: what is learned from.
        pull: a bias is drawn to what is expected of it as if by so many ratings.
        expected: of the items, (I,), as from `content_biases`; None: 0. Of users 0 is expected.

    Raises ValueError if there is no rating.
    """
    if not len(rated.rating):
        raise ValueError("biases are learned from no rating, expected some")
    prior, mean = np.zeros(rated.items) if expected is None else expected, float(rated.rating.mean())
    each = np.ones_like(rated.rating)
    by_item, by_user = rated.of_item(each) + pull, rated.of_user(each) + pull
    of_users, of_items = np.zeros(rated.users), prior
    for _ in range(_ROUNDS):
        left = rated.of_item(rated.rating - mean - of_users[rated.user])
        of_items = (left + pull * prior) / by_item
        of_users = rated.of_user(rated.rating - mean - of_items[rated.item]) / by_user
    return Biases(mean, of_users, of_items)


def content_biases(rated: Rated, of_users: Doubles, features: Doubles, ridge: float) -> Doubles:
    """Return what features say of the bias of every item, those without ratings too, (I,).

    It is a ridge regression (Hoerl and Kennard, 1970) of what items are rated above the mean and their users' biases.

    Args:
        rated: what is learned from.
        of_users: their biases, (U,).
        features: (I, F).
        ridge: how dear weights are.
    """
    count = rated.of_item(np.ones_like(rated.rating))
    known = count > 0
    weight = count[known] / (count[known] + _FEW)
    left = rated.of_item(rated.rating - rated.rating.mean() - of_users[rated.user])[known] / count[known]
    centre, level = np.average(features[known], axis=0, weights=weight), np.average(left, weights=weight)
    moved = features[known] - centre
    square = moved.T @ (weight[:, None] * moved) + ridge * np.eye(features.shape[1])
    weights = np.linalg.solve(square, moved.T @ (weight * (left - level)))
    return np.asarray(level + (features - centre) @ weights, np.float64)


def fit_tastes(rated: Rated, left: Doubles, features: Doubles, noise: float) -> Doubles:
    """Return for each user how much more than expected each feature is worth, (U, F); 0 without ratings.

    It is a ridge regression per user, which is what a Gaussian process with the features' products as its kernel
    expects (Rasmussen and Williams, 2006, 2.1).

    Args:
        rated: what is learned from.
        left: what is left of the ratings after what else is known, (R,).
        features: (I, F).
        noise: how dear weights are.
    """
    order = np.argsort(rated.user, kind="stable")
    ends = np.cumsum(np.bincount(rated.user, minlength=rated.users))[:-1]
    tastes = np.zeros((rated.users, features.shape[1]))
    for own, rows in zip(tastes, np.split(order, ends), strict=True):
        if len(rows):
            had = features[rated.item[rows]]
            own[:] = had.T @ np.linalg.solve(had @ had.T + noise * np.eye(len(rows)), left[rows])
    return tastes
