"""Ratings from biases, from what texts say of items and of users' tastes, and from what a scorer says of pairs."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from llmrec.nn.biases import Biases, Doubles, Places, Rated, content_biases, fit_biases, fit_tastes

# Shape letters: R ratings, U users, I items, F features of an item.

_PULLS = (1.0, 2.0, 5.0, 10.0, 20.0)
_RIDGES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_NOISES = (0.75, 1.5, 3.0, 6.0, 12.0, 25.0)
"""What is tried of each strength."""
_AT_ONCE = 10_000
"""Pairs whose features are laid out together."""


def rmse(expected: Doubles, ratings: Doubles) -> float:
    """Return the root of the mean squared error of two (R,)."""
    return float(np.sqrt(np.mean((expected - ratings) ** 2)))


def mae(expected: Doubles, ratings: Doubles) -> float:
    """Return the mean absolute error of two (R,)."""
    return float(np.mean(np.abs(expected - ratings)))


def text_features(vectors: Doubles, groups: Doubles) -> Doubles:
    """Put what is known of the items side by side, (I, F): each part less its mean, and of unit length.

    Args:
        vectors: of their texts, (I, D).
        groups: 1 for each group (category, ...) that an item is in, else 0, (I, G).
    """
    moved = [part - part.mean(axis=0) for part in (vectors, groups) if part.shape[1]]
    return np.hstack([part / np.linalg.norm(part, axis=1, keepdims=True).clip(min=1e-9) for part in moved])


@dataclass(frozen=True)
class RatingModel:
    """What a user would rate an item, within the scale of the ratings it learned from."""

    biases: Biases
    tastes: Doubles
    """(U, F)."""
    features: Doubles
    """(I, F)."""
    new: Places
    """(I,) 1 for items without ratings, else 0."""
    scale: tuple[float, float]
    """The least and the greatest rating."""
    blend: Doubles
    """(2, 2) for items with and without ratings: what is added, and what a scorer's output counts."""

    def __call__(self, user: Places, item: Places, outputs: Doubles | None = None) -> Doubles:
        """Return ratings, (R,), with what a scorer says of the pairs (R,) if that was learned."""
        added = 0 if outputs is None else _blended(self.blend[self.new[item]], outputs)
        return np.clip(self._before(user, item) + added, *self.scale)

    def learn_outputs(self, valid: Rated, outputs: Doubles) -> "RatingModel":
        """Find what a scorer's outputs (R,) for the pairs of ``valid`` add, by least squares on these alone."""
        left = valid.rating - self._before(valid.user, valid.item)
        blend = np.zeros((2, 2))
        for kind, own in enumerate(blend):
            rows = self.new[valid.item] == kind
            if rows.any():
                own[:] = np.linalg.lstsq(np.stack([np.ones(rows.sum()), outputs[rows]], 1), left[rows], rcond=None)[0]
        return replace(self, blend=blend)

    def _before(self, user: Places, item: Places) -> Doubles:
        fits = np.zeros(len(user))
        for start in range(0, len(user), _AT_ONCE):
            rows = slice(start, start + _AT_ONCE)
            fits[rows] = np.einsum("rf,rf->r", self.tastes[user[rows]], self.features[item[rows]])
        return self.biases(user, item) + fits


def fit_plain_biases(learned: Rated, valid: Rated) -> Biases:
    """Fit biases that know no text, drawn to 0 as far as is best for the ratings of ``valid``."""
    found = [fit_biases(learned, pull) for pull in _PULLS]
    return min(found, key=lambda one: rmse(one(valid.user, valid.item), valid.rating))


def fit_rating_model(learned: Rated, valid: Rated, features: Doubles) -> RatingModel:
    """Learn from the ratings of ``learned``; those of ``valid`` decide how strongly each part is held back.

    ``valid`` should have ratings of items that ``learned`` has, and of items that it lacks: what texts say of items is
    judged by the latter. ``features`` as from `text_features`, (I, F).
    """
    new = np.bincount(learned.item, minlength=learned.items) == 0
    plain = fit_plain_biases(learned, valid)
    cold = _part(valid, new[valid.item]) if new[valid.item].any() else valid
    found = [content_biases(learned, plain.of_users, features, ridge) for ridge in _RIDGES]
    expected = min(found, key=lambda one: rmse(replace(plain, of_items=one)(cold.user, cold.item), cold.rating))
    drawn = [fit_biases(learned, pull, expected) for pull in _PULLS]
    biases = min(drawn, key=lambda one: rmse(one(valid.user, valid.item), valid.rating))
    left = learned.rating - biases(learned.user, learned.item)
    scale = float(learned.rating.min()), float(learned.rating.max())
    models = [
        RatingModel(biases, fit_tastes(learned, left, features, noise), features, new.astype(np.int64), scale,
                    np.zeros((2, 2)))
        for noise in _NOISES
    ]  # fmt: skip
    return min(models, key=lambda one: rmse(one(valid.user, valid.item), valid.rating))


def _part(rated: Rated, rows: npt.NDArray[np.bool_]) -> Rated:
    return replace(rated, user=rated.user[rows], item=rated.item[rows], rating=rated.rating[rows])


def _blended(weights: Doubles, outputs: Doubles) -> Doubles:
    return weights[:, 0] + weights[:, 1] * outputs
