"""Attention over sequences of different lengths laid end to end, with what is needed to add two of them up.

On a GPU it is torch's variable-length attention (FlashAttention or cuDNN), which wants 16-bit floats. Elsewhere each
sequence is taken alone: the same results, for tests and for trying things out, at no speed worth having.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

# Shape letters: S sequences, N tokens asking, M tokens asked, H heads, E head width.


def is_supported(head_width: int, capability: tuple[int, int]) -> bool:
    """Tell whether a GPU of this compute capability has a kernel for heads of this width.

    FlashAttention-2 is for Ampere and later, and heads of up to 256 (its README); torch wants multiples of 8.
    """
    return capability >= (8, 0) and head_width <= 256 and head_width % 8 == 0


@dataclass(frozen=True)
class Spans:
    """Where S sequences stand that are laid end to end."""

    bounds: Tensor
    """(S + 1,) int32: sequence s is the tokens from ``bounds[s]`` to ``bounds[s + 1]``."""
    longest: int

    @staticmethod
    def of(lengths: Tensor) -> "Spans":
        """Lay sequences of ``lengths`` (S,) end to end; a length may be 0."""
        bounds = torch.zeros(len(lengths) + 1, dtype=torch.int32, device=lengths.device)
        bounds[1:] = torch.cumsum(lengths, 0)
        return Spans(bounds, int(lengths.max()) if len(lengths) else 0)


def attend(query: Tensor, key: Tensor, value: Tensor, asking: Spans, asked: Spans) -> tuple[Tensor, Tensor]:
    """Let each sequence of ``asking`` attend to the sequence of ``asked`` that stands at the same place.

    Args:
        query: (N, H, E), scaled.
        key: (M, H, E).
        value: (M, H, E).
        asking: S sequences, N tokens.
        asked: S sequences, M tokens, none empty where its counterpart asks.

    Returns:
        The values attended to, (N, H, E), and the logarithm of each softmax's denominator, (N, H), in float32.
    """
    if not query.is_cuda:
        return _one_by_one(query, key, value, asking, asked)
    from torch.nn.attention.varlen import AuxRequest, varlen_attn  # takes a second to import, without need on a CPU

    attended, log_sum = varlen_attn(
        query, key, value, asking.bounds, asked.bounds, asking.longest, asked.longest,
        return_aux=AuxRequest(lse=True), scale=1.0,
    )  # fmt: skip
    return attended, log_sum.T


def add_up(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """Join what queries found among two sets of keys, as one softmax over both would have: (N, H, E)."""
    (values, log_sum), (more_values, more_log_sum) = first, second
    share = torch.sigmoid(log_sum - more_log_sum)[..., None].to(values.dtype)  # the first set's part of the denominator
    return torch.lerp(more_values, values, share)


def _one_by_one(query: Tensor, key: Tensor, value: Tensor, asking: Spans, asked: Spans) -> tuple[Tensor, Tensor]:
    attended, log_sum = torch.empty_like(query), query.new_empty(query.shape[:2], dtype=torch.float32)
    starts, asked_starts = asking.bounds.tolist(), asked.bounds.tolist()
    for at in range(len(starts) - 1):
        own, theirs = slice(*starts[at : at + 2]), slice(*asked_starts[at : at + 2])
        logits = torch.einsum("nhe,mhe->nhm", query[own].float(), key[theirs].float())
        log_sum[own] = logits.logsumexp(-1)
        attended[own] = torch.einsum("nhm,mhe->nhe", logits.softmax(-1), value[theirs].float()).to(value.dtype)
    return attended, log_sum
