"""Linear layers for inference, their weights packed once for the processor at hand."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from llmrec.nn.backbone import ACTIVATIONS

Linear = Callable[[Tensor], Tensor]
"""(N, K) -> (N, M)."""

_FUSED = {
    "gelu": ("gelu", "none"),
    "gelu_new": ("gelu", "tanh"),
    "gelu_pytorch_tanh": ("gelu", "tanh"),
    "relu": ("relu", ""),
}
"""Activations as oneDNN names them: the operation and its variant."""


def pack(weight: Tensor, bias: Tensor, activation: str | None = None) -> Linear:
    """Return x -> activation(x @ weight.T + bias).

    Args:
        weight: (M, K), in the number format of the states.
        bias: (M,).
        activation: a name of backbone.ACTIVATIONS, or None.
    """
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
