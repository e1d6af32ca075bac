"""A planted shop: who likes red things goes on to like red things."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llmrec.domain.features import COLUMN
from llmrec.domain.metrics import user_metrics
from llmrec.domain.ranking import best_first
from llmrec.domain.users import User
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.examples import Example, cut_examples, write_examples
from llmrec.nn.plan import Outcome, Progress, TrainingPlan
from llmrec.nn.recommender import Recommender
from llmrec.nn.scorer import Scorer
from llmrec.nn.tokens import Tokens
from llmrec.nn.training import Judge, fine_tune
from tests import tiny

COLOURS = ("red", "blue", "green")
THINGS = ("tea", "coffee", "cup", "pot", "film", "song", "book", "cat", "dog")
ALL_UNSEEN = tiny.sizes(popularity=27)


def open_shop(folder: Path, texts: list[str] | None = None) -> Catalogue:
    """Items 0-8 are red, 9-17 blue, 18-26 green; ``texts`` may say so otherwise."""
    texts = texts or [f"{colour} {thing}" for colour in COLOURS for thing in THINGS]
    neighbours = {(item, item + 1): 0.5 for item in range(26)}
    return tiny.catalogue(folder, texts, together=neighbours)


def cuts(users: list[User]) -> list[Example]:
    """All their examples, with two liked items each."""
    return cut_examples(users, positives=2, history=5)


def plan(**changes: Any) -> TrainingPlan:
    usual = {
        "seed": 1, "objectives": {"listwise": 1, "in-batch": 1}, "negatives": 8, "batch_examples": 16,
        "learning_rate": 1e-2, "max_epochs": 4, "max_minutes": 9, "validations": 1, "patience": 9,
    }  # fmt: skip
    return TrainingPlan(**usual | changes)


def likers(count: int, seed: int, liked: int = 6) -> list[User]:
    """Users who each like things of one colour."""
    rng = np.random.default_rng(seed)
    return [tiny.user(f"u{n}", (9 * (n % 3) + rng.permutation(9)[:liked]).tolist()) for n in range(count)]


def shuffled(users: list[User]) -> list[User]:
    """The same users with likes dealt out anew, so that nothing follows from a history."""
    rng = np.random.default_rng(5)
    return [tiny.user(user.user_id, rng.permutation(27)[: len(user.liked)].tolist()) for user in users]


def quality(
    scorer: Scorer,
    shop: Catalogue,
    column: str = "pair_logit",
    colours: Sequence[str] = COLOURS,
    tokens: Tokens | None = None,
) -> float:
    """NDCG@10 of the four things of their colour that 15 new users, or those of some colours, have not seen yet."""
    users = [user for user in likers(15, seed=2, liked=5) if COLOURS[int(user.liked[0]) // 9] in colours]
    tokens = tokens or tiny.tokens()
    recommender = Recommender(catalogue=shop, scorer=scorer, tokens=tokens, sizes=ALL_UNSEEN, fusion=None)
    figures = []
    for scored in recommender.score(users):
        colour = int(scored.user.liked[0]) // 9
        wanted = set(range(9 * colour, 9 * colour + 9)) - set(scored.user.seen.tolist())
        ranked = scored.proposals.items[best_first(scored.features[:, COLUMN[column]], scored.proposals.items)]
        figures.append(user_metrics(ranked.tolist(), wanted, [10])["NDCG", 10])
    return float(np.mean(figures))


def tune(
    scorer: Scorer,
    shop: Catalogue,
    examples: Sequence[Example],
    training: TrainingPlan,
    folder: Path,
    judge: Judge,
    report: Callable[[Progress], None] = lambda _: None,
    tokens: Tokens | None = None,
) -> Outcome:
    """Fine-tune on ``examples``; shards and checkpoints go to ``folder``."""
    write_examples(folder / "examples", examples)
    tokens = tokens or tiny.tokens()
    return fine_tune(scorer, tokens, shop, folder / "examples", training, judge, report, folder / "checkpoints")
