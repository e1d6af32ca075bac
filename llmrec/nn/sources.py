"""Where candidates come from. All sources have one signature: asked about users, each proposes items and scores any."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from llmrec import columns as C
from llmrec.domain.users import Items, User
from llmrec.nn.als import everywhere, fold_in
from llmrec.nn.catalogue import RELATIONS, Catalogue, Floats
from llmrec.nn.neighbours import OfSome, Weights
from llmrec.nn.retrieval import ExactIndex, Index
from llmrec.nn.sequential import Sequential

SOURCES = (
    C.DENSE, C.SIMILAR, C.SEQUENTIAL, C.LEXICAL, *RELATIONS, C.ALS, C.POPULARITY, C.BY_SEGMENT, C.ARRIVALS, C.AGAIN,
    C.SUPPLIED,
)  # fmt: skip

_FADE = {C.COVISITATION: 1.0, C.USER_BASED: 1.0, C.NEXT: 0.7, C.EASE: 0.8, C.LEXICAL: 0.6, C.SIMILAR: 0.6}
"""How much a step back in the history counts: what comes next depends on the last items most."""


_TEXTS_READ = 8
"""Latest items whose words are looked up; those before count less than a fiftieth."""


Query = Callable[[Sequence[User], Tensor], Tensor]
"""From B users and their vectors to what is looked for, (B, D); all 0 where there is nothing to go by."""


class Answer(Protocol):
    """What a source knows for one user."""

    def best(self, count: int) -> Items:
        """Return the ``count`` best available items not excluded for the user, best first, equal ones by index."""

    def scores(self, items: Items) -> Floats:
        """Return the score of each of ``items``, (P,); higher is better, 0 where the source knows nothing."""


class Nothing:
    """The answer of a source that knows nothing."""

    def best(self, count: int) -> Items:
        """See `Answer`."""
        return np.zeros(0, np.int32)

    def scores(self, items: Items) -> Floats:
        """See `Answer`."""
        return np.zeros(len(items), np.float32)


class Source(Protocol):
    """One way to find candidates."""

    def ask(self, users: Sequence[User], vectors: Tensor) -> Sequence[Answer]:
        """Answer for each of B users; ``vectors`` are theirs, (B, D) of unit length."""


def open_sources(
    catalogue: Catalogue, index: Index, sequential: Sequential | None, counts: Mapping[str, int]
) -> dict[str, Source]:
    """Return all sources of a catalogue by name.

    Args:
        catalogue: of the night.
        index: of its vectors.
        sequential: None knows nothing.
        counts: how many items each of the sources finds that go by vectors.
    """
    by_vectors: dict[str, Query | None] = {
        C.DENSE: lambda _, vectors: vectors,
        C.SIMILAR: partial(_mean_of_recent, catalogue),
        C.SEQUENTIAL: None if sequential is None else partial(_next_of_recent, catalogue, sequential),
    }
    return {
        **{
            name: Nearest(catalogue.vectors, index, counts[name], query) if query and catalogue.has_vectors else SILENT
            for name, query in by_vectors.items()
        },
        C.ALS: _by_factors(catalogue, counts[C.ALS]),
        C.LEXICAL: Related(catalogue, partial(_lexical, catalogue)),
        **{name: Related(catalogue, partial(_related, catalogue, name)) for name in RELATIONS},
        C.POPULARITY: OneByOne(partial(MostTaken, catalogue)),
        C.BY_SEGMENT: OneByOne(partial(_taken_by_segment, catalogue)),
        C.ARRIVALS: OneByOne(partial(Newest, catalogue)),
        C.AGAIN: OneByOne(partial(_again, catalogue)),
        C.SUPPLIED: OneByOne(partial(_supplied, catalogue)),
    }


@dataclass(frozen=True)
class OneByOne:
    """A source whose answer for a user needs no other user."""

    answer: Callable[[User], Answer]

    def ask(self, users: Sequence[User], vectors: Tensor) -> Sequence[Answer]:
        """See `Source`."""
        return [self.answer(user) for user in users]


SILENT = OneByOne(lambda user: Nothing())
"""In place of a source that is not asked."""


def _by_factors(catalogue: Catalogue, count: int) -> Source:
    factors = catalogue.factors
    if not factors.shape[1]:
        return SILENT
    index, base = ExactIndex(factors, allowed=catalogue.available), everywhere(factors)

    def query(users: Sequence[User], vectors: Tensor) -> Tensor:
        return torch.from_numpy(fold_in([user.recent for user in users], factors, base))

    return Nearest(factors, index, count, query)


@dataclass(frozen=True)
class Related:
    """Items that something relates to the users' recent ones."""

    catalogue: Catalogue
    weigh: Callable[[Sequence[User]], Sequence[Weights]]

    def ask(self, users: Sequence[User], vectors: Tensor) -> Sequence[Answer]:
        """See `Source`."""
        return [Listed(self.catalogue, *of_user) for of_user in zip(users, self.weigh(users), strict=True)]


def _related(catalogue: Catalogue, relation: str, users: Sequence[User]) -> Sequence[Weights]:
    return catalogue.related[relation].sums([user.recent for user in users], _FADE[relation])


def _lexical(catalogue: Catalogue, users: Sequence[User]) -> Sequence[Weights]:
    return catalogue.words.alike([user.recent[-_TEXTS_READ:] for user in users], _FADE[C.LEXICAL])


def _taken_by_segment(catalogue: Catalogue, user: User) -> Answer:
    if user.segment not in catalogue.segments:
        return Nothing()
    items, weights = catalogue.taken_by_segment.of(catalogue.segments[user.segment])
    order = np.argsort(items)
    return Listed(catalogue, user, OfSome(items[order], weights[order]))


def _again(catalogue: Catalogue, user: User) -> Answer:
    weights = 1 / np.arange(len(user.recent), 0, -1)
    order = np.argsort(user.recent)
    return Listed(catalogue, user, OfSome(user.recent[order], weights[order].astype(np.float32)))


def _supplied(catalogue: Catalogue, user: User) -> Answer:
    items = np.fromiter(user.supplied, np.int32, len(user.supplied))
    scores = np.fromiter(user.supplied.values(), np.float32, len(user.supplied))
    order = np.argsort(items)
    return Listed(catalogue, user, OfSome(items[order], scores[order]))


@dataclass(frozen=True)
class Listed:
    """Some items with weights; the rest is unknown."""

    catalogue: Catalogue
    user: User
    known: Weights

    def best(self, count: int) -> Items:
        """See `Answer`."""
        return self.known.best(count, self.catalogue.available, self.user.excluded)

    def scores(self, items: Items) -> Floats:
        """See `Answer`."""
        return self.known.look_up(items)


@dataclass(frozen=True)
class Nearest:
    """Items whose vectors have the largest products with one made for each user."""

    vectors: Floats
    """(S, D) of all items."""
    index: Index
    count: int
    query: Query

    def ask(self, users: Sequence[User], vectors: Tensor) -> Sequence[Answer]:
        """See `Source`."""
        queries = self.query(users, vectors)
        excluded = [np.concatenate([user.excluded, user.recent]) for user in users]  # `again` proposes the latter
        found = self.index.top_k(queries, self.count, excluded=excluded).items.cpu().numpy()
        own = queries.float().cpu().numpy()
        return [
            Near(self.vectors, row[row >= 0].astype(np.int32) if vector.any() else row[:0].astype(np.int32), vector)
            for row, vector in zip(found, own, strict=True)
        ]


def _mean_of_recent(catalogue: Catalogue, users: Sequence[User], vectors: Tensor) -> Tensor:
    """Return the mean vector of each user's recent items, of unit length, (B, D)."""
    means = np.zeros((len(users), catalogue.vectors.shape[1]), np.float32)
    for mean, user in zip(means, users, strict=True):
        shares = _FADE[C.SIMILAR] ** np.arange(len(user.recent) - 1, -1, -1)
        mean += shares.astype(np.float32) @ catalogue.vectors[user.recent]
        mean /= max(float(np.linalg.norm(mean)), 1e-12)
    return torch.from_numpy(means).to(vectors.device)


def _next_of_recent(catalogue: Catalogue, sequential: Sequential, users: Sequence[User], vectors: Tensor) -> Tensor:
    return sequential.next_vectors([user.recent for user in users], catalogue).to(vectors.device)


@dataclass(frozen=True)
class Near:
    """A user's nearest items, and the product (of unit vectors, the cosine) with any."""

    vectors: Floats
    """(S, D) of all items."""
    items: Items
    vector: Floats
    """(D,) of the user."""

    def best(self, count: int) -> Items:
        """See `Answer`."""
        return self.items[:count]

    def scores(self, items: Items) -> Floats:
        """See `Answer`."""
        products: Floats = self.vectors[items] @ self.vector
        return products


def all_scores(answers: Sequence[Answer], items: Items) -> Floats:
    """Return what each of A answers, all to one user, says of ``items``: (P, A), filled and to be read by answer."""
    scores = np.empty((len(items), len(answers)), np.float32, order="F")
    near = dict[int, list[tuple[int, Near]]]()
    for column, answer in enumerate(answers):
        if isinstance(answer, Near):
            near.setdefault(id(answer.vectors), []).append((column, answer))
        else:
            scores[:, column] = answer.scores(items)
    for of_same in near.values():  # the vectors of the items are fetched once
        columns, alike = zip(*of_same, strict=True)
        scores[:, columns] = alike[0].vectors[items] @ np.stack([answer.vector for answer in alike]).T
    return scores


def _first(catalogue: Catalogue, ordered: Items, user: User, count: int) -> Items:
    """Return the ``count`` first of ``ordered`` that are not excluded for the user."""
    front, allowed = ordered[: count + len(user.excluded)], np.ones(len(catalogue), np.bool_)
    allowed[user.excluded] = False
    return front[allowed[front]][:count]


@dataclass(frozen=True)
class Newest:
    """Items that became available last."""

    catalogue: Catalogue
    user: User

    def best(self, count: int) -> Items:
        """See `Answer`."""
        return _first(self.catalogue, self.catalogue.newest, self.user, count)

    def scores(self, items: Items) -> Floats:
        """See `Answer`."""
        return self.catalogue.newness[items]


@dataclass(frozen=True)
class MostTaken:
    """Items most taken in the popularity window, then most taken at all."""

    catalogue: Catalogue
    user: User

    def best(self, count: int) -> Items:
        """See `Answer`."""
        return _first(self.catalogue, self.catalogue.popular, self.user, count)

    def scores(self, items: Items) -> Floats:
        """See `Answer`."""
        return self.catalogue.counted["popularity_lately"][items]
