import numpy as np
import pytest

from llmrec import columns as C
from llmrec.domain.features import FEATURES, NAMES
from llmrec.nn.ablations import ABLATIONS, Ablation
from llmrec.nn.sources import SOURCES

BY_NAME = {one.name: one for one in ABLATIONS}


def proposed_by(*sources: str) -> np.ndarray:
    return np.array([[source in sources for source in SOURCES]])


@pytest.mark.parametrize(("ablation", "sources", "stays"), [
    ("without-bert", [C.DENSE], False),
    ("without-bert", [C.DENSE, C.EASE], True),
    ("without-pair-scorer", [C.DENSE], True),
    ("without-collaborative", [C.COVISITATION, C.USER_BASED, C.NEXT, C.EASE], False),
    ("without-collaborative", [C.POPULARITY], True),
])  # fmt: skip
def test_what_only_the_missing_signal_proposed_is_no_candidate(ablation: str, sources: list[str], stays: bool) -> None:
    assert BY_NAME[ablation].candidates(proposed_by(*sources)).tolist() == [stays]


@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda one: one.name)
def test_the_features_of_a_missing_signal_tell_pairs_apart_no_longer(ablation: Ablation) -> None:
    before = np.random.default_rng(0).normal(size=(3, len(NAMES))).astype(np.float32)
    after = ablation.features(before)
    gone = {feature.name for feature in FEATURES if feature.signal in ablation.signals}
    for name, old, new in zip(NAMES, before.T, after.T, strict=True):
        assert len(set(new)) == (1 if name in gone else 3)
        assert name in gone or np.array_equal(old, new)
    assert gone


def test_a_signal_that_is_not_there_cannot_be_taken_away() -> None:
    features = np.random.default_rng(0).normal(size=(3, len(NAMES))).astype(np.float32)
    features[:, [feature.signal in BY_NAME["without-bert"].signals for feature in FEATURES]] = 0
    features[:, NAMES.index("pair_logit")] = np.nan
    popular = np.repeat(proposed_by(C.POPULARITY), 3, axis=0)
    assert not BY_NAME["without-bert"].takes_away(features, popular)
    assert BY_NAME["without-collaborative"].takes_away(features, popular)
    assert BY_NAME["without-bert"].takes_away(features, np.repeat(proposed_by(C.DENSE), 3, axis=0))


def test_without_bert_neither_its_vectors_nor_its_logits_are_left() -> None:
    left = np.flatnonzero(BY_NAME["without-bert"].features(np.ones((1, len(NAMES)), np.float32))[0])
    assert {NAMES[place] for place in left} & {"dense", "nearest", "last_liked", "pair_logit", "pair_rank"} == set()
    assert {NAMES[place] for place in left} >= {"covisitation", "ease", "popularity"}
