"""Sequences of different lengths laid end to end, so that linear layers see no padding."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llmrec.nn.device import send


@dataclass(frozen=True)
class Ragged:
    """Token ids of S sequences, N tokens in all.

    ids: (N,) int64; lengths: (S,) int64, each at least 1.
    """

    ids: Tensor
    lengths: Tensor

    @staticmethod
    def of(sequences: list[npt.NDArray[np.int32]], device: torch.device | None = None) -> "Ragged":
        """Lay ``sequences`` end to end on ``device``."""
        ids = np.concatenate(sequences) if sequences else np.zeros(0, np.int32)
        lengths = np.fromiter((len(s) for s in sequences), np.int64, len(sequences))
        return Ragged(send(ids.astype(np.int64), device), send(lengths, device))

    @cached_property
    def layout(self) -> "Layout":
        """Where each token stands."""
        return Layout(self.lengths)


class Layout:
    """Maps N flat tokens to a padded grid (S, T) and back. T is the longest sequence."""

    def __init__(self, lengths: Tensor) -> None:
        self.lengths = lengths
        self.starts = torch.cumsum(lengths, 0) - lengths
        """(S,) flat index of each sequence's first token."""

    @cached_property
    def sequence(self) -> Tensor:
        """(N,) sequence of each token."""
        return torch.repeat_interleave(torch.arange(len(self.lengths), device=self.lengths.device), self.lengths)

    @cached_property
    def position(self) -> Tensor:
        """(N,) place of each token in its sequence."""
        return torch.arange(len(self.sequence), device=self.lengths.device) - self.starts[self.sequence]

    @cached_property
    def _places(self) -> Tensor:
        longest = int(self.lengths.max()) if len(self.lengths) else 0
        return torch.arange(longest, device=self.lengths.device)[None, :]

    @cached_property
    def valid(self) -> Tensor:
        """(S, T) True where the grid holds a token."""
        return self._places < self.lengths[:, None]

    @cached_property
    def grid(self) -> Tensor:
        """(S, T) flat index of each place; padding points at some token, to be masked."""
        padding = self.starts[:, None].clamp(max=max(int(self.lengths.sum()) - 1, 0))
        return torch.where(self.valid, self.starts[:, None] + self._places, padding)

    def pad(self, flat: Tensor) -> Tensor:
        """(N, ...) -> (S, T, ...); padding holds copies of other tokens, to be masked: gradients there are dropped."""
        padded: Tensor = _Pad.apply(flat, self) if flat.requires_grad else flat[self.grid]
        return padded

    def flatten(self, padded: Tensor) -> Tensor:
        """(S, T, ...) -> (N, ...)."""
        flat: Tensor = _Flatten.apply(padded, self) if padded.requires_grad else padded[self.sequence, self.position]
        return flat

    def mean(self, flat: Tensor) -> Tensor:
        """Mean over each sequence's tokens, (N, D) -> (S, D)."""
        sums = flat.new_zeros(len(self.lengths), flat.shape[-1]).index_add_(0, self.sequence, flat)
        return sums / self.lengths[:, None].to(flat.dtype)


class _Pad(torch.autograd.Function):
    """`Layout.pad`, whose gradients are looked up: torch would add them up one by one."""

    @staticmethod
    def forward(context: Any, flat: Tensor, layout: Layout) -> Tensor:
        context.layout = layout
        return flat[layout.grid]

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return context.layout.flatten(gradient), None


class _Flatten(torch.autograd.Function):
    """`Layout.flatten`, in the same way."""

    @staticmethod
    def forward(context: Any, padded: Tensor, layout: Layout) -> Tensor:
        context.layout = layout
        return padded[layout.sequence, layout.position]

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        layout = context.layout
        padding = ~layout.valid.view(*layout.valid.shape, *(1 for _ in gradient.shape[1:]))
        return layout.pad(gradient).masked_fill_(padding, 0), None


def take(states: Tensor, layout: Layout, chosen: Tensor) -> tuple[Tensor, Layout]:
    """Pick whole sequences: states (N, D) of ``layout`` -> those of ``chosen`` (C,), in that order, laid end to end."""
    picked = Layout(layout.lengths[chosen])
    return states.index_select(0, layout.starts[chosen][picked.sequence] + picked.position), picked
