from pathlib import Path

import numpy as np
import pytest

from llmrec.domain.features import COLUMN, FEATURE_ALONE, NAMES
from llmrec.errors import ArtifactError
from llmrec.nn.alone import Alone

RNG = np.random.default_rng(0)


def pairs(feature: str, count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Pairs whose chance of a like is a logistic curve of one feature, among noise."""
    features = RNG.normal(size=(count, len(NAMES))).astype(np.float32)
    return features, RNG.random(count) < 1 / (1 + np.exp(-(2 * features[:, COLUMN[feature]] - 1)))


@pytest.mark.parametrize("feature", sorted(set(FEATURE_ALONE.values())))
def test_the_order_is_the_features_and_the_planted_curve_is_found(feature: str) -> None:
    features, liked = pairs(feature)
    ranker = Alone.train(feature, features, liked)
    found = ranker.probabilities(features)
    assert np.array_equal(np.argsort(found), np.argsort(features[:, COLUMN[feature]]))
    assert found == pytest.approx(1 / (1 + np.exp(-(2 * features[:, COLUMN[feature]] - 1))), abs=0.05)


def test_a_pair_without_the_feature_comes_last_and_spoils_nothing() -> None:
    features, liked = pairs("pair_logit")
    features[::2, COLUMN["pair_logit"]] = np.nan
    found = Alone.train("pair_logit", features, liked).probabilities(features)
    assert (found[::2] == 0).all()
    assert (found[1::2] > 0).all()


def test_what_is_saved_ranks_alike_and_an_unknown_feature_is_refused(tmp_path: Path) -> None:
    features, liked = pairs("next")
    ranker, path = Alone.train("next", features, liked), tmp_path / "ranker.json"
    ranker.save(path)
    assert np.array_equal(Alone.load(path).probabilities(features), ranker.probabilities(features))
    path.write_text(path.read_text().replace('"next"', '"price"'))
    with pytest.raises(ArtifactError, match="goes by the feature 'price'"):
        Alone.load(path)
