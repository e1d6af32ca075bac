"""Linear layers for inference, their weights packed once for the processor at hand."""

from collections.abc import Callable
from enum import Enum

import torch
from torch import Tensor
from torch.nn import functional

from llmrec.nn.backbone import ACTIVATIONS
from llmrec.nn.device import has_bfloat16

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
    """Weights rounded per output, inputs per batch. Fast where there is AVX512-VNNI or AMX."""

    @property
    def states(self) -> torch.dtype:
        """The number format of states between layers."""
        floats = best_float() if self is Precision.INT8 else self
        return torch.bfloat16 if floats is Precision.BFLOAT16 else torch.float32


def best_float() -> Precision:
    """Return bfloat16 where the processor multiplies it, else float32."""
    return Precision.BFLOAT16 if has_bfloat16(torch.device("cpu")) else Precision.FLOAT32


def pack(weight: Tensor, bias: Tensor, precision: Precision, activation: str | None = None) -> Linear:
    """Return x -> activation(x @ weight.T + bias).

    Args:
        weight: (M, K), float32.
        bias: (M,), float32.
        precision: what is multiplied; x comes in ``precision.states``.
        activation: a name of backbone.ACTIVATIONS, or None.
    """
    if precision is Precision.INT8:
        return _int8(weight, bias, activation)
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
    return lambda x: run(x, packed, bias, kind, [], variant)


def _int8(weight: Tensor, bias: Tensor, activation: str | None) -> Linear:
    """Weights to -127..127 per output, inputs to 0..255 per call, sums in 32-bit integers."""
    scale = weight.abs().amax(1).clamp(min=1e-12) / 127
    rounded = (weight / scale[:, None]).round().to(torch.int8)
    packed = torch.ops.onednn.qlinear_prepack(rounded, None)
    zero = torch.zeros(len(scale), dtype=torch.int64)
    kind, variant = _FUSED[activation] if activation else ("none", "")
    run = torch.ops.onednn.qlinear_pointwise

    def linear(x: Tensor) -> Tensor:
        low, high = (float(end) for end in x.aminmax()) if x.numel() else (0.0, 0.0)
        step = max(max(high, 0.0) - min(low, 0.0), 1e-12) / 254  # one code is left for rounding
        shift = round(-min(low, 0.0) / step)
        multiplied: Tensor = run(
            _codes(x, step, shift), step, shift, packed, scale, zero, bias, 1.0, 0, x.dtype, kind, [], variant
        )
        return multiplied

    return linear


_TO_LOW_BITS = 1.5 * 2**23
"""A float32 this large holds whole numbers only: adding it rounds to the nearest, which then stands in the low bits."""
_NUMBERS_AT_ONCE = 1 << 16
"""What is rounded at once stays in a processor's caches."""


def _codes(x: Tensor, step: float, shift: int) -> Tensor:
    """Round x / step + shift to 0..255, (N, K) bytes."""
    codes = torch.empty(x.shape, dtype=torch.uint8)
    rows = max(1, _NUMBERS_AT_ONCE // max(1, x.shape[1]))
    offset = torch.tensor(_TO_LOW_BITS + shift, dtype=torch.float32)
    for some, own in zip(x.split(rows), codes.split(rows), strict=True):
        own.copy_(torch.add(offset, some.float(), alpha=1 / step).view(torch.int32))  # keeps the lowest byte
    return codes
