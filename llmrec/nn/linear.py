"""Linear layers for inference, their weights packed once for the processor at hand."""

from collections.abc import Callable
from enum import Enum

import torch
from torch import Tensor
from torch.nn import functional

from llmrec.nn.backbone import ACTIVATIONS
from llmrec.nn.device import has_bfloat16
from llmrec.nn.int8 import to_int8
from llmrec.nn.row_counts import rows_of_bfloat16

Linear = Callable[[Tensor], Tensor]
"""(N, K) -> (N, M)."""

_FUSED = {
    "gelu": ("gelu", "none"),
    "gelu_new": ("gelu", "tanh"),
    "gelu_pytorch_tanh": ("gelu", "tanh"),
    "relu": ("relu", ""),
}
"""Activations as oneDNN names them: the operation and its variant."""


class Precision(str, Enum):
    """The numbers that linear layers multiply."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"
    """Weights rounded per output, inputs per token. Fast where there is AVX512-VNNI or AMX."""

    @property
    def states(self) -> torch.dtype:
        """The number format of states between layers."""
        floats = best_float() if self is Precision.INT8 else self
        return torch.bfloat16 if floats is Precision.BFLOAT16 else torch.float32


def best_float() -> Precision:
    """Return bfloat16 where the processor multiplies it, else float32."""
    return Precision.BFLOAT16 if has_bfloat16(torch.device("cpu")) else Precision.FLOAT32


def pack(
    weight: Tensor, bias: Tensor, precision: Precision, activation: str | None = None, *, activated: bool = False
) -> Linear:
    """Return x -> activation(x @ weight.T + bias).

    Args:
        weight: (M, K), float32.
        bias: (M,), float32.
        precision: what is multiplied; x comes in ``precision.states``.
        activation: a name of backbone.ACTIVATIONS, or None.
        activated: whether x comes from one of these, so that nothing of it is far below zero.
    """
    if precision is Precision.INT8:
        return _int8(weight, bias, activation, _ZERO_OF_ACTIVATED if activated else 128)
    weight, bias = weight.to(precision.states), bias.to(precision.states)
    if weight.device.type == "cpu" and torch.backends.mkldnn.is_available():
        return _onednn(weight, bias, activation)
    act = ACTIVATIONS[activation] if activation else None
    return lambda x: act(functional.linear(x, weight, bias)) if act else functional.linear(x, weight, bias)


def _onednn(weight: Tensor, bias: Tensor, activation: str | None) -> Linear:
    """The operator torch's own compiler uses on processors: packed weights, the activation in the same pass."""
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())
    kind, variant = _FUSED[activation] if activation else ("none", "")
    run = torch.ops.mkldnn._linear_pointwise
    outputs, inputs = weight.shape
    if weight.dtype is not torch.bfloat16:
        return lambda x: run(x, packed, bias, kind, [], variant)

    def linear(x: Tensor) -> Tensor:
        more = rows_of_bfloat16(len(x), inputs, outputs) - len(x)
        found: Tensor = run(functional.pad(x, (0, 0, 0, more)) if more else x, packed, bias, kind, [], variant)
        return found[: len(x)]

    return linear


_TO_LOW_BITS = 1.5 * 2**23
"""A float32 this large holds whole numbers only: adding it rounds to the nearest, which then stands in the low bits."""
_NUMBERS_AT_ONCE = 1 << 16
"""What is rounded at once stays in a processor's caches."""
_ZERO_OF_ACTIVATED = 20
"""The code of zero where values reach from -0.17 (the least of GELU) upwards."""


def _int8(weight: Tensor, bias: Tensor, activation: str | None, zero: int) -> Linear:
    """Weights to -127..127 per output, inputs to 0..255 per row, sums in 32-bit integers.

    A row's step is its own, so that a result does not depend on what else is in the batch.
    """
    rounded, steps_of_outputs = to_int8(weight)
    packed = torch.ops.onednn.qlinear_prepack(rounded, None)
    zeros = torch.zeros(len(weight), dtype=torch.int64)
    act = ACTIVATIONS[activation] if activation else None
    run = torch.ops.onednn.qlinear_pointwise

    def linear(x: Tensor) -> Tensor:
        codes, steps = _codes(x, zero)
        multiplied = run(codes, 1.0, zero, packed, steps_of_outputs, zeros, None, 1.0, 0, x.dtype, "none", [], "")
        summed = torch.addcmul(bias.to(x.dtype), multiplied, steps)
        return act(summed) if act else summed

    return linear


def _codes(x: Tensor, zero: int) -> tuple[Tensor, Tensor]:
    """Round x / step + zero to bytes, (N, K), with a step for each row, (N, 1)."""
    codes, steps = torch.empty(x.shape, dtype=torch.uint8), x.new_empty(len(x), 1)
    rows = max(1, _NUMBERS_AT_ONCE // max(1, x.shape[1]))
    for some, own, step in zip(x.split(rows), codes.split(rows), steps.split(rows), strict=True):
        values = some.to(torch.float32, copy=True)  # worked on in place
        least = torch.maximum(values.amax(1, keepdim=True) / (255 - zero), values.amin(1, keepdim=True) / -zero)
        step.copy_(least.clamp_(min=1e-12).mul_(1.01))  # rounded to x's kind, it is still large enough
        own.copy_(values.div_(step).add_(_TO_LOW_BITS + zero).view(torch.int32))  # keeps the lowest byte
    return codes, steps
