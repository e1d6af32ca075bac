"""What comes next by the order of the history: a small transformer over the vectors of a user's items.

As SASRec (Kang and McAuley, 2018) reads ids, this reads what the encoder made of the items' texts (as UniSRec does; Hou
et al., 2022), and it answers with a vector among theirs: items that nobody has taken yet are ranked like all others.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from llmrec.domain.users import Items, User
from llmrec.nn.catalogue import Catalogue

# Shape letters: B users, L = LONGEST, W width of the item vectors, N items of a softmax.

LONGEST = 20
"""Latest items that are read."""
_WIDTH, _LAYERS, _HEADS, _DROPOUT = 128, 2, 4, 0.3
_PIECES = 5
"""Stretches of a long history that are learned from, the latest."""
_EPOCHS, _MOST_STEPS, _HISTORIES_PER_STEP, _RATE = 30, 1500, 128, 1e-3
_ITEMS_PER_STEP = 4096
"""The softmax is over so many items, all if there are no more."""


class Sequential(nn.Module):
    """From the vectors of a history to one whose cosine with an item's says how likely that item is next."""

    def __init__(self, vector_width: int) -> None:
        """Make an untrained one for item vectors of ``vector_width``."""
        super().__init__()
        self.read = nn.Sequential(nn.Linear(vector_width, _WIDTH), nn.LayerNorm(_WIDTH))
        self.place = nn.Parameter(torch.randn(LONGEST, _WIDTH) * 0.02)
        self.drop = nn.Dropout(_DROPOUT)
        layer = nn.TransformerEncoderLayer(
            _WIDTH, _HEADS, 2 * _WIDTH, _DROPOUT, "gelu", batch_first=True, norm_first=True
        )
        self.stack = nn.TransformerEncoder(layer, _LAYERS, nn.LayerNorm(_WIDTH), enable_nested_tensor=False)
        self.answer = nn.Linear(_WIDTH, vector_width)
        self.log_scale = nn.Parameter(torch.tensor(2.5))
        """Of the logits that cosines make."""

    def forward(self, histories: Tensor) -> Tensor:
        """Return what each place of a history, and those before it, say of the next: (B, L, W), of unit length.

        Args:
            histories: (B, L, W) vectors of the items, oldest first; what fills a row up comes after them, so that no
                place with an item looks at it.
        """
        later = torch.ones(LONGEST, LONGEST, dtype=torch.bool, device=histories.device).triu(1)
        states = self.drop(self.read(histories) + self.place)
        states = self.stack(states, mask=later)
        return functional.normalize(self.answer(states), dim=-1)

    @torch.inference_mode()
    def next_vectors(self, histories: Sequence[Items], catalogue: Catalogue) -> Tensor:
        """Read the histories of B users, oldest first, (B, W); all 0 for one without."""
        vectors = torch.zeros(len(histories), catalogue.vectors.shape[1])
        there = [place for place, own in enumerate(histories) if len(own)]
        if there:
            items, valid = _padded([histories[place] for place in there])
            answers = self(torch.from_numpy(catalogue.vectors[items]))
            vectors[there] = answers[torch.arange(len(there)), torch.from_numpy(valid.sum(1) - 1)]
        return vectors


def fit_sequential(catalogue: Catalogue, users: Sequence[User], *, seed: int) -> Sequential | None:
    """Learn from what ``users`` have ``seen``, oldest first, which item they like next; None if there is no such step.

    The loss is a softmax over the items that anyone has taken; if these are more than _ITEMS_PER_STEP, over those of
    the batch and others drawn by popularity ** 0.75, corrected for how often each is drawn (logQ; Yi et al., 2019).
    """
    lessons = [lesson for user in users for lesson in _lessons(user)]
    if not lessons:
        return None
    torch.manual_seed(seed)
    model, vectors = Sequential(catalogue.vectors.shape[1]), torch.from_numpy(catalogue.vectors)
    sampler = _Sampler(catalogue, np.random.default_rng(seed))
    steps = min(_MOST_STEPS, _EPOCHS * -(-len(lessons) // _HISTORIES_PER_STEP))
    optimiser = torch.optim.AdamW(model.parameters(), lr=_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        batch = [lessons[place] for place in torch.randint(len(lessons), (_HISTORIES_PER_STEP,)).tolist()]
        items, valid = _padded([seen[:-1] for seen, _ in batch])
        following, _ = _padded([seen[1:] for seen, _ in batch])
        wanted = np.zeros_like(valid)
        wanted[valid] = np.concatenate([liked[1:] for _, liked in batch])
        states = model(vectors[torch.from_numpy(items)])[torch.from_numpy(wanted)]
        offered, correction = sampler.draw(following[wanted])
        logits = states @ vectors[torch.from_numpy(offered)].T * model.log_scale.exp() - correction
        optimiser.zero_grad()
        functional.cross_entropy(logits, torch.from_numpy(np.searchsorted(offered, following[wanted]))).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return model.eval().requires_grad_(False)


def _lessons(user: User) -> list[tuple[Items, npt.NDArray[np.bool_]]]:
    """Return the latest stretches of what a user has seen, and which of each were liked; the first is not asked for."""
    liked = np.isin(user.seen, user.liked)
    ends = range(len(user.seen), 1, -LONGEST)[:_PIECES]
    stretches = [slice(max(0, end - LONGEST - 1), end) for end in ends]
    return [(user.seen[span], liked[span]) for span in stretches if liked[span][1:].any()]


class _Sampler:
    """Draws the items that a softmax is over."""

    def __init__(self, catalogue: Catalogue, rng: np.random.Generator) -> None:
        self._rng, self._known = rng, np.flatnonzero(catalogue.taken)
        share = np.asarray(catalogue.taken, np.float64)[self._known] ** 0.75
        self._share = share / share.sum()

    def draw(self, wanted: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], Tensor]:
        """Return items (N,), ascending, the ``wanted`` ones among them, and what their logits are too large by (N,)."""
        if len(self._known) <= _ITEMS_PER_STEP:
            return self._known, torch.zeros(len(self._known))
        drawn = self._rng.choice(self._known, _ITEMS_PER_STEP, p=self._share)
        offered = np.union1d(drawn, wanted)
        share = self._share[np.searchsorted(self._known, offered)]
        return offered, torch.from_numpy(np.log(share * len(offered))).float()


def _padded(histories: Sequence[Items]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the latest items of each history (B, L), oldest first, and where there are any (B, L)."""
    latest = [own[-LONGEST:] for own in histories]
    valid = np.arange(LONGEST) < np.array([len(own) for own in latest], np.int64)[:, None]
    items = np.zeros(valid.shape, np.int64)
    items[valid] = np.concatenate([np.zeros(0, np.int32), *latest])
    return items, valid


def save_sequential(path: Path, model: Sequential) -> None:
    """Write the weights as safetensors."""
    save_file(model.state_dict(), path)


def load_sequential(path: Path) -> Sequential:
    """Read what `save_sequential` wrote."""
    weights = load_file(path)
    model = Sequential(weights["answer.bias"].shape[0])
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)
