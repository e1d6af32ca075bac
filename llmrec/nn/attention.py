"""Attention without padding and without a maximum: what nn.engine adds up.

Sequences are laid end to end in the order of their lengths, so those of equal length form a dense block. Softmax is
exp(logit) over its sum; over two kinds of keys it is the sum of two such sums. Where one leaves the range of float32,
all are taken again in doubles.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from llmrec.nn.row_counts import rounded_up

# Shape letters: S sequences, N tokens, H heads, E head width, D = H * E; C sequences of L tokens each.

_SMALLEST, _LARGEST = 1e-30, 1e30
"""Between these a sum of exp(logit) in float32 is trusted."""
_RUN = 100_000
"""Logits per head of one run: few enough to stay in a processor's cache between the steps of attention."""


@dataclass(frozen=True)
class Run:
    """Neighbouring sequences of equal length; not always all of that length."""

    first: int
    """Place of the first one's first token."""
    count: int
    length: int

    @property
    def tokens(self) -> slice:
        """Where their tokens stand."""
        return slice(self.first, self.first + self.count * self.length)

    def parts(self) -> list["Run"]:
        """Cut into runs of no more logits than are computed at once."""
        most = max(1, _RUN // self.length**2)
        return [
            Run(self.first + done * self.length, min(most, self.count - done), self.length)
            for done in range(0, self.count, most)
        ]


class ByLength:
    """S sequences laid end to end, shortest first; equal ones keep their order."""

    def __init__(self, lengths: Tensor) -> None:
        self.order = torch.argsort(lengths, stable=True)
        """(S,) the sequence at each place."""
        self.lengths = lengths[self.order]
        """(S,)."""
        present, counts = torch.unique_consecutive(self.lengths, return_counts=True)
        firsts = torch.cumsum(present * counts, 0) - present * counts
        whole = (Run(*values) for values in torch.stack([firsts, counts, present], 1).tolist())
        self.runs = [part for run in whole for part in run.parts()]

    def tokens(self, starts: Tensor) -> Tensor:
        """(N,) for each token its place in a layout in which sequence s begins at ``starts[s]``."""
        own_starts = torch.cumsum(self.lengths, 0) - self.lengths
        shifts = torch.repeat_interleave(starts[self.order] - own_starts, self.lengths)
        return torch.arange(len(shifts)) + shifts


class Heads(Protocol):
    """A block's weights (H, E, D) and biases (H, E, 1), by head."""

    key: Tensor
    value: Tensor
    key_bias: Tensor
    value_bias: Tensor


class Part(Protocol):
    """Some of the keys that queries attend to."""

    def sums(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """Return sums over keys of exp(logit) * value, (N, H, E), and of exp(logit), (N, H), for queries (N, H, E)."""


def softmax(query: Tensor, parts: Sequence[Part]) -> Tensor:
    """Attend to all keys of ``parts``: queries (N, H, E) give values (N, D)."""
    values, weights = _add_up(query, parts)
    if not _in_range(weights):
        values, weights = _add_up(query.double(), parts)
        if not _in_range(weights):
            raise FloatingPointError("attention is not finite: the weights are not those of a trained encoder")
    return (values / weights[..., None]).to(query.dtype).flatten(1)


def _add_up(query: Tensor, parts: Sequence[Part]) -> tuple[Tensor, Tensor]:
    values, weights = parts[0].sums(query)
    for part in parts[1:]:
        more_values, more_weights = part.sums(query)
        values, weights = more_values.add_(values), more_weights.add_(weights)
    return values, weights


def _in_range(weights: Tensor) -> bool:
    lowest, highest = weights.aminmax() if weights.numel() else (1.0, 1.0)
    return bool(lowest > _SMALLEST and highest < _LARGEST) or bool(
        weights.dtype == torch.float64 and lowest > 0 and highest < torch.inf
    )


class Own:
    """Each sequence attends to its own keys: per run, keys and values (C, H, L, E)."""

    def __init__(self, asking: Sequence[Run], keys: Sequence[Tensor], values: Sequence[Tensor]) -> None:
        self._asking, self._keys, self._values = asking, keys, values

    def sums(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """See `Part`."""
        values, weights = _buffers(query)
        for run, key, value in zip(self._asking, self._keys, self._values, strict=True):
            weight = (_block(query, run) @ key.to(query.dtype).transpose(2, 3)).exp_()  # (C, H, asking, L)
            _block(values, run).copy_(weight @ value.to(query.dtype))
            _block(weights, run).copy_(weight.sum(-1, dtype=weights.dtype))
        return values, weights


class Absorbed:
    """One token of each sequence attends to its sequence, whose keys and values are never made.

    A query times W h is (W^T query) times h, and weighted values are W times the weighted states (as in DeepSeek-V2's
    multi-head latent attention, 2024): for one token asking, two small products instead of two for every token.
    """

    def __init__(self, block: "Heads", runs: Sequence[Run], states: Tensor) -> None:
        """Let the first of each sequence's tokens ask; ``states`` (N, D) are those of all, laid out as ``runs``."""
        self._block, self._runs, self._states = block, runs, states

    def sums(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """See `Part`; N is the number of sequences."""
        kind, block = query.dtype, self._block
        by_head = query.transpose(0, 1)  # (H, N, E)
        looking = torch.bmm(by_head, block.key.to(kind)).transpose(0, 1).contiguous()  # (N, H, D)
        constant = torch.bmm(by_head, block.key_bias.to(kind)).transpose(0, 1)  # (N, H, 1)
        weights = query.new_empty(query.shape[:2], dtype=torch.promote_types(kind, torch.float32))
        for asking, run in zip(first_tokens(self._runs), self._runs, strict=True):
            states = self._states[run.tokens].unflatten(0, (run.count, run.length)).to(kind)
            weight = torch.baddbmm(constant[asking.tokens], looking[asking.tokens], states.transpose(1, 2)).exp_()
            torch.sum(weight, -1, dtype=weights.dtype, out=weights[asking.tokens])
            torch.bmm(weight, states, out=looking[asking.tokens])  # weighted states, in the place of what looked
        values = torch.bmm(looking.transpose(0, 1), block.value.to(kind).transpose(1, 2)).transpose(0, 1)  # (N, H, E)
        return values + weights[..., None].to(kind) * block.value_bias.to(kind)[..., 0], weights


class Known:
    """Sums taken before, of the same queries in the same numbers; others are taken again."""

    def __init__(self, values: Tensor, weights: Tensor, again: Callable[[], Part]) -> None:
        self._values, self._weights, self._again = values, weights, again

    def sums(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """See `Part`."""
        if query.dtype != self._values.dtype:
            return self._again().sums(query)
        return self._values, self._weights


class Grouped:
    """N tokens put together by the user they belong to, and back."""

    def __init__(self, owner: Tensor, users: int) -> None:
        self.there = torch.argsort(owner, stable=True)
        self.back = torch.argsort(self.there)
        ends = torch.cumsum(torch.bincount(owner, minlength=users), 0).tolist()
        self.spans = [slice(first, last) for first, last in zip([0, *ends[:-1]], ends, strict=True)]


class Shared:
    """All tokens of a user attend to the same keys: per user, keys and values as of `rounded_up_keys`, and L."""

    def __init__(self, grouped: Grouped, of_users: Sequence[tuple[Tensor, Tensor, int]]) -> None:
        self._grouped, self._of_users = grouped, of_users

    def sums(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """See `Part`."""
        query = query.index_select(0, self._grouped.there)
        values, weights = _buffers(query)
        for span, (key, value, length) in zip(self._grouped.spans, self._of_users, strict=True):
            asking = span.stop - span.start
            rows = query[span.start : span.start + rounded_up(asking)]  # the next user's too: they are left out below
            if len(rows) < rounded_up(asking):
                rows = functional.pad(rows, (0, 0, 0, 0, 0, rounded_up(asking) - len(rows)))
            weight = torch.bmm(rows.transpose(0, 1), key.to(query.dtype).transpose(1, 2)).exp_()  # (H, n, L)
            values[span].copy_(torch.bmm(weight, value.to(query.dtype)).transpose(0, 1)[:asking])
            weights[span].copy_(weight[:, :asking, :length].sum(-1).T)
        return values.index_select(0, self._grouped.back), weights.index_select(0, self._grouped.back)


def by_run(flat: Tensor, runs: Sequence[Run]) -> list[Tensor]:
    """(N, H, E) -> per run (C, H, L, E)."""
    return [_block(flat, run).contiguous() for run in runs]


def rounded_up_keys(by_run: Sequence[Tensor]) -> list[Tensor]:
    """Add zeros to keys or values (C, H, L, E) up to a rounded L: as values they add nothing to a sum."""
    return [functional.pad(one, (0, 0, 0, rounded_up(one.shape[2]) - one.shape[2])) for one in by_run]


def first_tokens(runs: Sequence[Run]) -> list[Run]:
    """The runs of the sequences' first tokens alone."""
    ends = [0]
    for run in runs:
        ends.append(ends[-1] + run.count)
    return [Run(first, run.count, 1) for first, run in zip(ends, runs, strict=False)]


def _block(flat: Tensor, run: Run) -> Tensor:
    """(N, H, ...) -> (C, H, L, ...), a view."""
    whole: Tensor = flat[run.tokens].unflatten(0, (run.count, run.length))
    return whole.transpose(1, 2)


def _buffers(query: Tensor) -> tuple[Tensor, Tensor]:
    """Room for sums of values (N, H, E) and of weights (N, H); weights are never summed in less than float32."""
    values = torch.empty_like(query, memory_format=torch.contiguous_format)
    return values, query.new_empty(query.shape[:2], dtype=torch.promote_types(query.dtype, torch.float32))
