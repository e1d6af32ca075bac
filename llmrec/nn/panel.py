"""Users who decide when fine-tuning stops: how well a scorer ranks what they liked next."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

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
class Panel:
    """Users, and what each liked next."""

    users: Sequence[User]
    targets: Sequence[set[int]]

    def judge(self, tokens: Tokens, catalogue: Catalogue) -> Judge:
        """Return what gives the mean NDCG@10 of a scorer's order of these users' candidates."""

        def ndcg(scorer: Scorer) -> float:
            recommender = Recommender(catalogue=catalogue, scorer=scorer, tokens=tokens, sizes=_SIZES, fusion=None)
            figures = []
            for scored, wanted in zip(recommender.score(self.users), self.targets, strict=True):
                items = scored.proposals.items
                ranked = items[best_first(scored.features[:, COLUMN["pair_logit"]], items)]
                figures.append(user_metrics(ranked.tolist(), wanted, [10])["NDCG", 10])
            return float(np.mean(figures))

        return ndcg
