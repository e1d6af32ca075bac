"""Users who decide when fine-tuning stops: how well a scorer ranks what they liked next."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from llmrec import columns as C
from llmrec.domain.features import COLUMN
from llmrec.domain.metrics import user_metrics
from llmrec.domain.ranking import best_first
from llmrec.domain.users import User
from llmrec.nn.artifact import load_encoder
from llmrec.nn.candidates import CandidateSizes
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.device import pick_device
from llmrec.nn.linear import Precision
from llmrec.nn.plan import Judge
from llmrec.nn.recommender import Recommender
from llmrec.nn.scorer import Scorer
from llmrec.nn.tokens import Tokens

_SIZES = CandidateSizes(
    **dict.fromkeys((field.name for field in fields(CandidateSizes)), 0)
    | {"covisitation": 40, "popularity": 10, "pair_scored": 50}
)

_TIMED, _PASSES = 200, 3
"""Users whose candidates are scored to take the time, and how often."""


@dataclass(frozen=True)
class PairFigures:
    """How a pair scorer ranked what U users liked next."""

    ndcg: npt.NDArray[np.float64]
    """NDCG@10, (U,)."""
    loss: npt.NDArray[np.float64]
    """Mean over what was liked of -log of its share in the softmax over the candidates, (U,); NaN where none is among
    them."""


@dataclass(frozen=True)
class Panel:
    """Users, and what each liked next."""

    users: Sequence[User]
    targets: Sequence[set[int]]

    def judge(self, tokens: Tokens, catalogue: Catalogue) -> Judge:
        """Return what gives the mean NDCG@10 of a scorer's order of these users' candidates."""
        return lambda scorer: float(self.figures(scorer, tokens, catalogue).ndcg.mean())

    def figures(self, scorer: Scorer, tokens: Tokens, catalogue: Catalogue) -> PairFigures:
        """Judge a scorer's order of these users' candidates: those co-visited with their items, and popular ones."""
        recommender = Recommender(catalogue=catalogue, scorer=scorer, tokens=tokens, sizes=_SIZES, fusion=None)
        ndcg, loss = [], []
        for scored, wanted in zip(recommender.score(self.users), self.targets, strict=True):
            items, logits = scored.proposals.items, scored.features[:, COLUMN["pair_logit"]].astype(np.float64)
            ranked = items[best_first(logits, items)]
            ndcg.append(user_metrics(ranked.tolist(), wanted, [10])["NDCG", 10])
            right = np.isin(items, list(wanted))
            loss.append(np.logaddexp.reduce(logits) - logits[right].mean() if right.any() else np.nan)
        return PairFigures(np.array(ndcg), np.array(loss))

    def pairs_per_second(self, models: Sequence[tuple[Path, Path]], precision: Precision | None) -> list[float]:
        """Return how many candidates of these users each model scores in a second, as in a night, in this process.

        The models take turns, and of several passes the fastest counts: what else the machine does slows all of them.
        Items are read before, as a night reads each but once; users are read anew.

        Args:
            models: folders of a model and of the catalogue as it reads it.
            precision: see `for_inference`.
        """
        users, recommenders = self.users[:_TIMED], []
        for folder, shelves in models:
            scorer, tokens = load_encoder(folder)
            recommenders.append(
                Recommender(
                    catalogue=Catalogue.load(shelves), scorer=scorer.to(pick_device()), tokens=tokens, sizes=_SIZES,
                    fusion=None, precision=precision, only=C.COVISITATION,
                )
            )  # fmt: skip
        pairs = [sum(len(scored.proposals.items) for scored in one.score(users)) for one in recommenders]
        seconds = [np.inf] * len(models)
        for _ in range(_PASSES):
            for place, recommender in enumerate(recommenders):
                started = time.perf_counter()
                for _ in recommender.score(users):
                    pass
                seconds[place] = min(seconds[place], time.perf_counter() - started)
        return [count / spent for count, spent in zip(pairs, seconds, strict=True)]
