"""Users who decide when fine-tuning stops: how well a scorer ranks what they liked next."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from llmrec.domain.features import COLUMN
from llmrec.domain.metrics import user_metrics
from llmrec.domain.ranking import best_first
from llmrec.domain.users import User
from llmrec.nn.candidates import CandidateSizes
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.plan import Judge
from llmrec.nn.recommender import Recommender
from llmrec.nn.scorer import Scorer
from llmrec.nn.tokens import Tokens

_SIZES = CandidateSizes(
    **dict.fromkeys((field.name for field in fields(CandidateSizes)), 0)
    | {"covisitation": 40, "popularity": 10, "pair_scored": 50}
)


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
