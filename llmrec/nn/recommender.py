"""From users to ranked lists: candidates, pair scores, features, fusion. One batch of users at a time, no Spark."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llmrec import columns as C
from llmrec.domain.exploration import Exploration, explore
from llmrec.domain.features import COLUMN, FEATURE_ALONE, PAIR_FEATURES
from llmrec.domain.rules import Doubles, ListRules, Places, choose, keeps
from llmrec.domain.users import Items, User
from llmrec.nn.alone import Alone
from llmrec.nn.candidates import CandidateSizes, Proposals, propose
from llmrec.nn.catalogue import Catalogue, Floats
from llmrec.nn.features import all_features, one_feature, related_to_last
from llmrec.nn.fusion import Fusion
from llmrec.nn.inference import for_inference, kind_of
from llmrec.nn.kept import Fingerprints, Kept, fingerprints
from llmrec.nn.kept_states import KeptStates
from llmrec.nn.linear import Precision
from llmrec.nn.neighbours import Weights
from llmrec.nn.pairs import score_outputs
from llmrec.nn.reasons import reasons
from llmrec.nn.retrieval import ExactIndex, Index
from llmrec.nn.reuse import Batch, Reuse
from llmrec.nn.scorer import ReadUsers, Scorer
from llmrec.nn.sequential import Sequential
from llmrec.nn.sources import SILENT, SOURCES, Answer, Nothing, open_sources
from llmrec.nn.state_cache import StateCache
from llmrec.nn.tokens import Tokens
from llmrec.nn.unread import Unread

_LOG = logging.getLogger(__name__)
_USERS_AT_ONCE = {"cpu": 128, "cuda": 256}
"""A GPU wants more work at once than stays near a processor's caches."""
_KNOWN = 8
"""So many times as many where most need not be read, since they were on an earlier night."""
_SPARE = 0.25
"""Pairs beside those asked for, as a share, that are scored of a user who is read: what is asked for moves a little
every night, and reading the user again would cost as much as some 45 pairs."""


@dataclass(frozen=True)
class Scored:
    """One user's candidates, P of them, with all that is known about each."""

    user: User
    answers: Mapping[str, Answer]
    """Of each source."""
    proposals: Proposals
    features: Floats
    """(P, len(FEATURES)), columns as in domain.features."""
    ratings: Floats | None = None
    """(P,), as the pair scorer tells them; NaN where it did not read the candidate, None where it tells none."""
    failed: tuple[str, ...] = ()
    """Sources that raised an error and were left out."""


@dataclass(frozen=True)
class Recommendation:
    """One row of a user's list."""

    rank: int
    item_id: str
    score: float
    sources: list[str]
    reason: str
    propensity: float
    """The chance that the row had to stand where it does, given those above it."""
    rating: float | None
    """The rating that the user would give, if the pair scorer learned to tell it and read the item."""


class Recommender:
    """Scores and ranks the candidates of users against one night's catalogue."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        scorer: Scorer | Unread,
        tokens: Tokens,
        sizes: CandidateSizes,
        fusion: Fusion | Alone | None,
        precision: Precision | None = None,
        index: Index | None = None,
        sequential: Sequential | None = None,
        without_failed: bool = False,
        only: str | None = None,
        rules: ListRules | None = None,
        exploration: Exploration | None = None,
    ) -> None:
        """Make ready.

        Args:
            catalogue: of the night.
            scorer: trained.
            tokens: its tokenizer.
            sizes: of the candidate sources.
            fusion: the ranker; None where only `score` is asked for.
            precision: of the pair scorer, see `for_inference`.
            rules: what lists must be like; None asks nothing of them.
            exploration: how much is tried out; None: nothing.
            index: answers dense retrieval; None searches all vectors of the catalogue.
            sequential: what the order of a history asks for; None: nothing.
            only: the one source that the ranker goes by; others are not asked, and of the features only its own is
                there. None asks all.
            without_failed: whether users get their lists without a source that raises an error.
        """
        self.catalogue = catalogue
        self._scorer = for_inference(scorer, precision)
        self._ratings = None if isinstance(scorer, Unread) else scorer.ratings
        self.tokens = tokens
        ignored = isinstance(fusion, Fusion) and not fusion.reads(PAIR_FEATURES) and self._ratings is None
        unread = isinstance(scorer, Unread) or ignored
        self.sizes = replace(sizes, pair_scored=0) if unread else sizes
        self.fusion = fusion
        self._rules = rules or ListRules()
        self._exploration = exploration or Exploration()
        self._without_failed = without_failed
        self._states = StateCache(self._scorer, tokens, catalogue)
        index = index or ExactIndex(catalogue.vectors, allowed=catalogue.available, device=self._scorer.device)
        self._only = only
        opened = open_sources(catalogue, index, sequential, {name: sizes.of(name) for name in SOURCES})
        asked = SOURCES if only is None else (only, C.POPULARITY)  # the latter fills lists
        self._open = {name: source if name in asked else SILENT for name, source in opened.items()}

    def recommend(self, users: Sequence[User], top_n: int) -> Iterator[list[Recommendation]]:
        """Yield each user's ``top_n`` best candidates (all, if fewer), in the order of ``users``."""
        for scored in self.score(users):
            yield self.top(scored, top_n)

    @torch.inference_mode()
    def score(self, users: Sequence[User], reuse: Reuse | None = None) -> Iterator[Scored]:
        """Yield each user's candidates with their features, in the order of ``users``.

        What ``reuse`` knows is not read again; None: see `knowing_nothing`.
        """
        at_once, reuse = _USERS_AT_ONCE[self._scorer.device.type], reuse or self.knowing_nothing()
        for start in range(0, len(users), _KNOWN * at_once):
            some = users[start : start + _KNOWN * at_once]
            for part, batch in reuse.batches(self._user_sequences(some), self._scorer, at_once):
                yield from self._score_batch(some[part], batch)

    @property
    def reads(self) -> bool:
        """Whether an encoder reads texts at all."""
        return not isinstance(self._scorer, Unread)

    @property
    def kind(self) -> str:
        """What computes, and in which numbers."""
        return kind_of(self._scorer)

    def reuse(self, kept: Kept | None, states: KeptStates | None = None, of_items: KeptStates | None = None) -> Reuse:
        """Return what makes use of what is kept, made by the same model and `kind`; None is the first night.

        Args:
            kept: of users and pairs.
            states: of users.
            of_items: states of items, for this recommender to take and to add to.
        """
        kept = Kept.nothing(self._scorer.width, self._scorer.outputs) if kept is None else kept
        self._states.earlier = of_items
        return Reuse(kept, self.item_texts, states=states, of_items=of_items)

    def knowing_nothing(self) -> Reuse:
        """Return what knows nothing and leaves nothing."""
        return Reuse.nothing(self._scorer.width, self._scorer.outputs, len(self.catalogue))

    @cached_property
    def item_texts(self) -> Fingerprints:
        """Of all items."""
        return fingerprints(map(self.catalogue.pieces, range(len(self.catalogue))))

    def probabilities(self, scored: Scored) -> npt.NDArray[np.float64]:
        """Return the probability that the user likes each candidate, (P,)."""
        if self.fusion is None:
            raise RuntimeError("this recommender was made without a fusion ranker")
        return self.fusion.probabilities(scored.features)

    def _score_batch(self, users: Sequence[User], batch: Batch) -> Iterator[Scored]:
        by_source, failed = self._ask(users, batch.vectors)
        answers = [{name: of_users[at] for name, of_users in by_source.items()} for at in range(len(users))]
        proposals = [propose(own, self.sizes) for own in answers]
        read = [own.agreed(self.sizes.pair_scored) for own in proposals]
        user_of_pair = np.repeat(np.arange(len(users)), [len(own) for own in read])
        item_of_pair = np.concatenate([own.items[chosen] for own, chosen in zip(proposals, read, strict=True)])
        spare = math.ceil(_SPARE * self.sizes.pair_scored)
        outputs = batch.outputs(
            user_of_pair,
            item_of_pair,
            more=lambda at: proposals[at].items[proposals[at].agreed(self.sizes.pair_scored + spare)],
            score=self._pair_outputs,
        )
        logits = outputs[:, 0]
        broken = np.flatnonzero(~np.isfinite(logits))
        if len(broken):
            user, [item] = users[user_of_pair[broken[0]]], self.catalogue.ids(item_of_pair[broken[:1]])
            raise FloatingPointError(
                f"user {user.user_id!r}, item {item!r}: the pair's logit is {logits[broken[0]]}, expected a number"
            )
        ends = np.cumsum([len(own) for own in read])[:-1]
        for user, answer, own, chosen, said, last in zip(
            users, answers, proposals, read, np.split(outputs, ends), self._last(users), strict=True
        ):
            features = self._features(user, own, chosen, said[:, 0], last)
            yield Scored(user, answer, own, features, self._told(len(own.items), chosen, said), failed)

    def _told(self, count: int, read: npt.NDArray[np.int64], outputs: Floats) -> Floats | None:
        """Return the ratings of ``count`` candidates, of which those at ``read`` have ``outputs``."""
        if self._ratings is None:
            return None
        ratings = np.full(count, np.nan, np.float32)
        ratings[read] = self._ratings.told(outputs[:, -1])
        return ratings

    def _ask(self, users: Sequence[User], vectors: Tensor) -> tuple[dict[str, Sequence[Answer]], tuple[str, ...]]:
        """Return the answers of all sources to all users, and which sources failed."""
        answers: dict[str, Sequence[Answer]] = {}
        failed = []
        for name, source in self._open.items():
            try:
                answers[name] = source.ask(users, vectors)
            except Exception:
                if not self._without_failed:
                    raise
                _LOG.exception("source %s failed; its candidates are missing from %d users' lists", name, len(users))
                answers[name] = [Nothing()] * len(users)
                failed.append(name)
        return answers, tuple(failed)

    def _user_sequences(self, users: Sequence[User]) -> list[npt.NDArray[np.int32]]:
        if isinstance(self._scorer, Unread):
            return [np.zeros(1, np.int32)] * len(users)
        histories = [self._history(user) for user in users]
        return self.tokens.user_sequences(
            [user.text for user in users],
            [[self.catalogue.pieces(item) for item in items] for items in histories],
            [user.words_on(items) for user, items in zip(users, histories, strict=True)],
        )

    def _pair_outputs(self, states: ReadUsers, user: npt.NDArray[np.int64], item: Items) -> Floats:
        if not len(item):
            return np.zeros((0, self._scorer.outputs), np.float32)
        distinct, place = np.unique(item, return_inverse=True)
        items = self._states.states(distinct)
        return score_outputs(self._scorer, states, items, user, place.astype(np.int64))

    def top(self, scored: Scored, top_n: int) -> list[Recommendation]:
        """Return a user's ``top_n`` best candidates, or popular items, as far as the rules let them."""
        if self.fusion is None:
            raise RuntimeError("this recommender was made without a fusion ranker")
        probabilities = self.probabilities(scored)
        best, top, chances = self._choose(scored, probabilities, top_n)
        while len(best) < top_n <= (probabilities >= self._rules.min_score).sum() and self._rules.at_most:
            wider = self._wider(scored)
            if len(wider.features) == len(scored.features):
                break
            scored, probabilities = wider, self.probabilities(wider)
            best, top, chances = self._choose(scored, probabilities, top_n)
        items, ratings = scored.proposals.items[top], scored.ratings
        contributions = self.fusion.contributions(scored.features[top])
        history = self._history(scored.user)
        why = reasons(self.catalogue, scored.user, history, scored.proposals, top, contributions)
        return [
            Recommendation(
                rank=place,
                item_id=item_id,
                score=float(probabilities[row]),
                sources=[*self._sources(scored, row), *([C.EXPLORATION] if row != planned else [])],
                reason=said,
                propensity=float(chance),
                rating=None if ratings is None or np.isnan(ratings[row]) else float(ratings[row]),
            )
            for place, (row, planned, chance, item_id, said) in enumerate(
                zip(top, best, chances, self.catalogue.ids(items), why, strict=True), 1
            )
        ]

    def _wider(self, scored: Scored) -> Scored:
        """Return ``scored`` with three times as many popular items beside its candidates, as far as there are any."""
        before = scored.proposals.items
        own = propose(scored.answers, replace(self.sizes, at_least=4 * len(before)))
        place = np.searchsorted(own.items, before)
        logit = scored.features[:, COLUMN["pair_logit"]]
        read = np.flatnonzero(np.isfinite(logit))
        ratings = None
        if scored.ratings is not None:
            ratings = np.full(len(own.items), np.nan, np.float32)
            ratings[place] = scored.ratings
        [last] = self._last([scored.user])
        features = self._features(scored.user, own, place[read], logit[read], last)
        return replace(scored, proposals=own, features=features, ratings=ratings)

    def _choose(self, scored: Scored, probabilities: Doubles, count: int) -> tuple[Places, Places, Doubles]:
        """Return the list as the rules have it, the list with what is tried out in it, and the chance of each row."""
        catalogue, items = self.catalogue, scored.proposals.items

        def groups(place: int) -> list[tuple[str, int]]:
            own = ((kind, catalogue.groups[kind].of(items[place])) for kind, _ in self._rules.at_most)
            return [(kind, int(code)) for kind, codes in own for code in codes]

        def cosines(place: int) -> Doubles:
            return np.asarray(catalogue.vectors[items] @ catalogue.vectors[items[place]], np.float64)

        best = choose(
            probabilities, catalogue.popularity_place[items], self._rules, count, groups=groups, cosines=cosines
        )
        tried = self._exploration
        if not tried.share:
            return best, best, np.ones(len(best))
        new = np.asarray(catalogue.taken[items] < tried.fewer_than)
        fits = partial(keeps, scores=probabilities, rules=self._rules, groups=groups)
        return best, *explore(best, probabilities, new, tried.share, tried.rng(scored.user.user_id), fits)

    def _sources(self, scored: Scored, row: int) -> list[str]:
        named = [source for source, there in zip(SOURCES, scored.proposals.sources[row], strict=True) if there]
        return [*named, C.FALLBACK] if scored.user.without_history else named

    def _last(self, users: Sequence[User]) -> Sequence[Mapping[str, Weights]]:
        return [{}] * len(users) if self._only is not None else related_to_last(self.catalogue, users)

    def _features(
        self,
        user: User,
        proposals: Proposals,
        read: npt.NDArray[np.int64],
        logit: Floats,
        last: Mapping[str, Weights],
    ) -> Floats:
        if self._only is not None:
            return one_feature(FEATURE_ALONE[self._only], proposals.scored_by(self._only))
        return all_features(self.catalogue, user, self._history(user), proposals, read, logit, last)

    def _history(self, user: User) -> Items:
        return user.liked[-self.tokens.limits.history_items :]
