"""The systems of bench.peers: what others offer for the next item, each with the grid it is tuned over.

A system learns from events and scores the whole catalogue for rows it has never seen, of which it gets the history (at
most what the row has) and the name of the user. ``decay`` is what an item of a history counts for each one after it.
"""

import logging
import warnings
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender
from scipy import sparse
from sentence_transformers import SentenceTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from threadpoolctl import threadpool_limits

from bench.next_rows import Events, Integers, Rows, Scores
from bench.peer_transformers import EPOCHS_A_STEP, ESASREC, MAX_EPOCHS, SASREC, Transformer
from bench.peer_tuning import Grid, Peer, Setting, System
from bench.texts import ENCODER

DECAYS = (1.0, 0.7, 0.4, 0.2)

warnings.filterwarnings("ignore")  # of the peers' own doing
for _name in ("sentence_transformers", "transformers"):
    logging.getLogger(_name).setLevel(logging.ERROR)


def systems(items: pd.DataFrame, seed: int, quick: bool) -> list[System]:
    """Return all peers, those by texts only where there are any; ``quick`` leaves one setting of each grid."""
    grid = partial(_grid, quick=quick)
    decays = grid(decay=DECAYS)
    epochs = EPOCHS_A_STEP if quick else MAX_EPOCHS
    found: list[System] = [
        Peer("popularity", lambda events, _: events, _ask_popularity, {}, {}),
        Peer("item-kNN", _knn, _ask_similarity, grid(kind=("cosine", "tfidf", "bm25"), K=(20, 50, 100, 200)), decays),
        Peer("EASE", _ease, _ask_similarity, grid(regularization=(3, 10, 30, 100, 300)), decays),
        Peer("ALS", partial(_als, seed), _ask_als, grid(
            factors=(32, 64, 128), regularization=(0.01, 1.0), alpha=(10, 40, 160)
        ), decays),
        Peer("BPR", partial(_bpr, seed), _ask_bpr, grid(
            factors=(64, 128), learning_rate=(0.01, 0.05), regularization=(0.01, 0.1), iterations=(100, 300),
        ), grid(user=("by history", "by name"), decay=DECAYS)),
        Transformer("SASRec", grid(n_factors=(64, 256), dropout_rate=(0.2, 0.5)), SASREC, seed, epochs),
        Transformer("eSASRec", grid(lr=(0.005, 0.001), n_factors=(64, 128)), ESASREC, seed, epochs),
    ]  # fmt: skip
    texts = _texts(items)
    if not any("".join(one) for one in texts.values()):
        print("no item has a text: TF-IDF and MiniLM are left out")
        return found
    by_field = grid(fields=tuple(texts))
    encode = cache(lambda fields: _encode(texts[fields]))
    tfidf = {**by_field, **grid(longest=(1, 2), sublinear=(True, False))}
    return [
        *found,
        Peer("TF-IDF", lambda _, setting: _tfidf(texts[setting["fields"]], setting), _ask_vectors, tfidf, decays),
        Peer("MiniLM", lambda _, setting: encode(setting["fields"]), _ask_vectors, by_field, decays),
    ]


def _grid(quick: bool, **choices: Sequence[Any]) -> Grid:
    return {name: values[:1] if quick else values for name, values in choices.items()}


def _ask_popularity(events: Events, _: Setting, rows: Rows) -> Scores:
    return np.tile(events.counts.astype(np.float32), (len(rows), 1))


def _knn(events: Events, setting: Setting) -> tuple[Any, Integers]:
    kinds = {"cosine": CosineRecommender, "tfidf": TFIDFRecommender, "bm25": BM25Recommender}
    model = kinds[setting["kind"]](K=setting["K"])
    model.fit(events.matrix, show_progress=False)
    return model.similarity, events.counts


def _ease(events: Events, setting: Setting) -> tuple[Any, Integers]:
    """Steck, 2019: the closed form."""
    taken = (events.matrix > 0).astype(np.float32)
    inverse = np.linalg.inv((taken.T @ taken).toarray() + setting["regularization"] * np.eye(events.size, dtype="f4"))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights, events.counts


def _ask_similarity(model: tuple[Any, Integers], setting: Setting, rows: Rows) -> Scores:
    """Score by the items of the history times what each says of all items."""
    similarity, counts = model
    return _known_only(_dense(rows.weights(setting["decay"]) @ similarity), counts)


def _als(seed: int, events: Events, setting: Setting) -> tuple[Any, Integers]:
    model = AlternatingLeastSquares(**_without_asks(setting), iterations=15, random_state=seed, use_gpu=False)
    with threadpool_limits(1, "blas"):
        model.fit(events.matrix, show_progress=False)
    return model, events.counts


def _ask_als(model: tuple[Any, Integers], setting: Setting, rows: Rows) -> Scores:
    """Fold the history in: the factors a user of just these items would have."""
    fitted, counts = model
    users = fitted.recalculate_user(np.arange(len(rows)), rows.weights(setting["decay"]))
    return _known_only(_dense(users @ fitted.item_factors.T), counts)


def _bpr(seed: int, events: Events, setting: Setting) -> tuple[Any, Events]:
    model = BayesianPersonalizedRanking(**_without_asks(setting), random_state=seed, use_gpu=False)
    model.fit(events.matrix, show_progress=False)
    return model, events


def _ask_bpr(model: tuple[Any, Events], setting: Setting, rows: Rows) -> Scores:
    """Take the mean of the history's factors for the user's, or the user's own where the events have the user."""
    fitted, events = model
    weights = rows.weights(setting["decay"])
    users = weights @ fitted.item_factors / np.maximum(weights.sum(axis=1).A, 1e-9)
    users[:, -1] = 1  # what an item's bias is multiplied by
    if setting["user"] == "by name":
        known = [(row, events.places[name]) for row, name in enumerate(rows.users) if name in events.places]
        users[[row for row, _ in known]] = fitted.user_factors[[place for _, place in known]]
    return _known_only(_dense(users @ fitted.item_factors.T), events.counts)


def _tfidf(texts: list[str], setting: Setting) -> sparse.csr_matrix:
    words = TfidfVectorizer(ngram_range=(1, setting["longest"]), sublinear_tf=setting["sublinear"], dtype=np.float32)
    return words.fit_transform(texts)


def _encode(texts: list[str]) -> npt.NDArray[np.float32]:
    """Encode as the folder is set up: mean pooling, unit length."""
    model = SentenceTransformer(str(ENCODER), local_files_only=True)
    return np.asarray(model.encode(texts, show_progress_bar=False), np.float32)


def _ask_vectors(vectors: Any, setting: Setting, rows: Rows) -> Scores:
    """Score by the cosine with the weighted sum of the history's vectors."""
    return _dense((rows.weights(setting["decay"]) @ vectors) @ vectors.T)


def _known_only(scores: Scores, counts: Integers) -> Scores:
    """Put items without an event last: what a collaborative model says of them is how it was initialised."""
    scores[:, counts == 0] = -np.inf
    return scores


def _without_asks(setting: Setting) -> dict[str, Any]:
    return {name: value for name, value in setting.items() if name not in ("decay", "user")}


def _dense(scores: Any) -> Scores:
    return np.asarray(scores.toarray() if sparse.issparse(scores) else scores, np.float32)


def _texts(items: pd.DataFrame) -> dict[str, list[str]]:
    """Return the items' texts by the columns they are made of."""
    columns = {", ".join(one): one for one in (["title"], ["title", "brand"], ["title", "brand", "text"])}
    filled = items.reindex(columns=["title", "brand", "text"]).fillna("").astype(str)
    return {
        name: [". ".join(filter(None, one)) for one in filled[own].itertuples(index=False)]
        for name, own in columns.items()
    }
