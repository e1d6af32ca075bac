"""Tastes that no history shows: users take things of all colours and say which colour they go on to like."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llmrec.domain.features import COLUMN
from llmrec.domain.metrics import user_metrics
from llmrec.domain.ranking import best_first
from llmrec.domain.users import User, forget_history
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.examples import Example
from llmrec.nn.plan import Outcome
from llmrec.nn.recommender import Recommender
from llmrec.nn.scorer import Scorer
from llmrec.nn.scorers import make_scorer
from llmrec.nn.tokens import Tokens
from tests import tiny
from tests.nn.planted_shop import ALL_UNSEEN, plan, tune

SAYS = ("old", "new", ",")
"""What those say who go on to like red, blue and green things; no item's text has these words."""
READS_WORDS = replace(tiny.LIMITS, words_tokens=2)


def talkers(count: int, seed: int) -> list[User]:
    """Users with four things of any colour each, who write on all of them what their taste is."""
    rng = np.random.default_rng(seed)
    users = []
    for n in range(count):
        items = rng.permutation(27)[:4].tolist()
        users.append(replace(tiny.user(f"u{n}", items), words=dict.fromkeys(items, SAYS[n % 3])))
    return users


def colour(place: int) -> set[int]:
    """The things that the user at this place likes."""
    return set(range(9 * (place % 3), 9 * (place % 3) + 9))


def next_likes(users: Sequence[User]) -> list[Example]:
    """Each user's history, and two things of the colour they like."""
    rng, found = np.random.default_rng(7), []
    for place, user in enumerate(users):
        wanted = sorted(colour(place) - set(user.liked.tolist()))
        positives = rng.permutation(wanted)[:2].astype(np.int32)
        seen = np.array(sorted({*user.liked.tolist(), *wanted}), np.int32)
        found.append(Example(user.text, user.liked, positives, seen, words=user.words_on(user.liked)))
    return found


def ndcg(scorer: Scorer, shop: Catalogue, tokens: Tokens, users: Sequence[User]) -> float:
    """NDCG@10 of all unseen things of the colour that each user likes."""
    recommender = Recommender(catalogue=shop, scorer=scorer, tokens=tokens, sizes=ALL_UNSEEN, fusion=None)
    figures = []
    for place, scored in enumerate(recommender.score(users)):
        items = scored.proposals.items
        ranked = items[best_first(scored.features[:, COLUMN["pair_logit"]], items)]
        figures.append(user_metrics(ranked.tolist(), colour(place) - set(scored.user.liked.tolist()), [10]))
    return float(np.mean([one["NDCG", 10] for one in figures]))


def learn(name: str, shop: Catalogue, folder: Path, learners: Sequence[User], tokens: Tokens) -> Outcome:
    """Learn from ``learners``, judged by users who tell their own taste."""
    scorer = make_scorer(name, tiny.backbone(layers=2), cached_layers=1, seed=0)
    training, judges = plan(max_epochs=6, learning_rate=3e-3), talkers(15, seed=2)
    return tune(
        scorer, shop, next_likes(learners), training, folder, lambda one: ndcg(one, shop, tokens, judges), tokens=tokens
    )


@pytest.mark.parametrize("name", ["prefix", pytest.param("joint", marks=pytest.mark.slow), "attention"])
def test_a_taste_told_only_in_a_users_own_words_is_learned(shop: Catalogue, tmp_path: Path, name: str) -> None:
    outcome = learn(name, shop, tmp_path, talkers(90, seed=1), tiny.tokens(READS_WORDS))
    assert outcome.ndcg > 0.8 > 0.6 > outcome.ndcg_before


def test_without_the_words_or_with_those_of_others_nothing_is_learned(shop: Catalogue, tmp_path: Path) -> None:
    users, rng = talkers(90, seed=1), np.random.default_rng(3)
    unread = learn("prefix", shop, tmp_path / "unread", users, tiny.tokens())
    of_others = [replace(one, words=dict.fromkeys(one.words, SAYS[rng.integers(3)])) for one in users]
    mixed_up = learn("prefix", shop, tmp_path / "mixed", of_others, tiny.tokens(READS_WORDS))
    assert max(unread.ndcg, mixed_up.ndcg) < 0.6


def test_a_user_who_is_shown_as_new_has_said_nothing(shop: Catalogue) -> None:
    [user] = talkers(1, seed=1)
    assert forget_history(user).words == {}
    assert forget_history(user).words_on(user.liked) == []


def test_own_words_are_never_printed(shop: Catalogue) -> None:
    user = replace(tiny.user(items=[1]), words={1: "what I would tell nobody"})
    [example] = next_likes([user])
    assert example.words == ["what I would tell nobody"]
    assert "nobody" not in f"{user} {example}"
