"""Items of a file as a catalogue, and scorers asked about pairs of users and items, for benchmarks without a night."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from bench.texts import ENCODER
from llmrec import columns as C
from llmrec.nn.catalogue import RELATIONS, Catalogue, write_catalogue
from llmrec.nn.inference import for_inference
from llmrec.nn.neighbours import no_neighbours
from llmrec.nn.pairs import score_pairs
from llmrec.nn.plan import Progress, Report, TrainingPlan, Tuning
from llmrec.nn.pretrained import load_tokens
from llmrec.nn.ragged import Ragged
from llmrec.nn.scorer import Scorer
from llmrec.nn.state_cache import StateCache
from llmrec.nn.tokens import TextLimits, Tokens
from llmrec.progress import Bar
from llmrec.settings.texts import Texts
from llmrec.settings.training import Train

_USERS_AT_ONCE = 256


def open_tokens(texts: Texts) -> Tokens:
    """Open the demo's tokenizer with the limits of ``texts``."""
    limits = TextLimits(texts.history_items, texts.history_tokens, texts.max_user_tokens, texts.max_item_tokens)
    return load_tokens(str(ENCODER), limits)


def open_catalogue(folder: Path, items: pd.DataFrame, taken: np.ndarray, tokens: Tokens) -> Catalogue:
    """Write a catalogue of ``items`` (item_id, title, text: all that is read of them), by place, without vectors."""
    pieces, size = tokens.item_pieces(items["text"].tolist()), len(items)
    nothing = pa.array([None] * size, pa.float32())
    table = pa.table({
        C.ITEM: items[C.ITEM].tolist(), C.TITLE: items[C.TITLE].tolist(),
        "tokens": pa.array([one.tolist() for one in pieces], pa.list_(pa.int32())),
        "vector": pa.array([[0.0]] * size, pa.list_(pa.float32())), "available": [True] * size,
        "taken": taken, "taken_lately": taken, "liked": taken, "idle": nothing, "age": nothing,
    })  # fmt: skip
    return write_catalogue(folder, table, {relation: no_neighbours() for relation in RELATIONS})


def make_plan(settings: Train, max_minutes: float, **changes: object) -> TrainingPlan:
    """Return the plan that train would make of ``settings``, on a clock."""
    named = ("seed", "objectives", "negatives", "batch_examples", "learning_rate", "max_epochs", "validations",
             "patience", "position_bias")  # fmt: skip
    given = {name: getattr(settings, name) for name in named} | {"max_minutes": max_minutes} | changes
    tuning = Tuning(settings.tuning, settings.tuning_rank, settings.frozen_layers, settings.frozen_embeddings)
    return TrainingPlan(**given, tuning=tuning)


class Reader:
    """A scorer as it is now, with ``items`` of the catalogue read once; users are read as they are asked for."""

    @torch.inference_mode()
    def __init__(self, scorer: Scorer, tokens: Tokens, catalogue: Catalogue, items: np.ndarray) -> None:
        self._scorer, self._tokens, self._catalogue = for_inference(scorer), tokens, catalogue
        lengths = np.diff(catalogue.token_starts)[items]
        read = items[np.argsort(lengths, kind="stable")]  # texts of like length together
        self._states = StateCache(self._scorer, tokens, catalogue).states(read.astype(np.int32))
        self._row = np.full(len(catalogue), -1)
        self._row[read] = np.arange(len(read))

    @torch.inference_mode()
    def vectors(self, items: np.ndarray) -> np.ndarray:
        """Return the vectors of items that were read, (S, D) of unit length."""
        found = self._scorer.item_vectors(self._states).float().cpu().numpy()
        return np.asarray(found[self._row[items]], np.float64)

    @torch.inference_mode()
    def outputs(self, histories: Sequence[np.ndarray], user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Return what the scorer says of pairs, (P,): users with ``histories`` (U), and items that were read."""
        said = np.zeros(len(user))
        for start in range(0, len(histories), _USERS_AT_ONCE):
            rows = np.flatnonzero((user >= start) & (user < start + _USERS_AT_ONCE))
            rows = rows[np.argsort(user[rows], kind="stable")]
            if len(rows):
                said[rows] = self._score(histories[start : start + _USERS_AT_ONCE], user[rows] - start, item[rows])
        return said

    def cosines(self, histories: Sequence[np.ndarray], user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Return the cosine of each pair's item and the mean of its user's history, (P,); 0 without one."""
        vectors = self.vectors(np.flatnonzero(self._row >= 0))
        place = np.cumsum(self._row >= 0) - 1
        means = np.zeros((len(histories), vectors.shape[1]))
        for own, history in zip(means, histories, strict=True):
            if len(history):
                own[:] = vectors[place[history]].mean(axis=0)
        return np.einsum("pd,pd->p", means[user], vectors[place[item]])

    def _score(self, histories: Sequence[np.ndarray], user: np.ndarray, item: np.ndarray) -> np.ndarray:
        nothing = np.zeros(0, np.int32)
        texts = [
            self._tokens.user_sequence(nothing, [self._catalogue.pieces(int(one)) for one in history])
            for history in histories
        ]
        users = self._scorer.encode_users(Ragged.of(texts, self._scorer.device))
        return score_pairs(self._scorer, users, self._states, user, self._row[item])


@contextmanager
def progress(label: str, figure: str) -> Iterator[Report]:
    """Give the function that fine-tuning tells its progress to; ``figure`` names what decides early stopping."""
    bars: list[Bar] = []

    def report(told: Progress) -> None:
        if not bars:
            bars.append(Bar(label, told.steps).__enter__())
        if told.ndcg is not None:
            print(f"{label}: step {told.step} of {told.steps}, {figure} {told.ndcg:.4f}", flush=True)
        bars[0].update(told.step)

    try:
        yield report
    finally:
        for bar in bars:
            bar.__exit__()
