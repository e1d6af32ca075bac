"""Weights in int8, with a step for each row: what the int8 engine multiplies, and what an exported model folder holds.

A step is a bfloat16 number, so that a step times a code is a float32 number without rounding, and what was rounded once
is rounded again to the same codes and steps. A scorer whose weights were rounded therefore scores in int8 as it does
without having been.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from llmrec.nn.scorer import Scorer

ROUNDED = re.compile(
    r"backbone\.(?:blocks\.\d+\.(?:query|key|value|output|up|down)|embeddings\.words)\.weight", re.ASCII
)
"""Names of the weights that are rounded: of the blocks' linear layers by output, of the embeddings by word. Biases,
norms, positions and the head stay as they are."""
STORED = {
    "int8, a step per output": "linear layers of the blocks",
    "int8, a step per word": "embeddings of words",
    "float32": "biases, norms, positions, token types and the head",
}
"""The same, for the manifest."""
_STEPS = ".steps"
_LEAST = 1e-12


def to_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round the rows of ``weight`` (M, K) to whole multiples, -127 to 127, of a step for each: codes and steps (M,)."""
    steps = (weight.abs().amax(1) / 127).clamp(min=_LEAST).bfloat16().float()
    return (weight / steps[:, None]).round().to(torch.int8), steps


def from_int8(codes: Tensor, steps: Tensor) -> Tensor:
    """Return what codes (M, K) and steps (M,) stand for, in float32."""
    return codes.float() * steps[:, None]


def rounded(weight: Tensor) -> Tensor:
    """Return the nearest to ``weight`` (M, K) that int8 can hold, in float32; what it returned once, it leaves."""
    return from_int8(*to_int8(weight))


@torch.no_grad()
def round_weights(scorer: Scorer) -> None:
    """Let ``scorer`` have weights that int8 can hold, and know it."""
    for name, weight in scorer.named_parameters():
        if ROUNDED.fullmatch(name):
            weight.copy_(rounded(weight))
    scorer.is_rounded = True


def pack_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put codes and steps in the place of rounded weights."""
    packed = dict(state)
    for name in filter(ROUNDED.fullmatch, state):
        packed[name], packed[name + _STEPS] = to_int8(state[name])
    return packed


def unpack_state(packed: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], bool]:
    """Undo `pack_state`, if it was done; tell whether it was.

    Raises RuntimeError if steps are missing.
    """
    coded = [name for name, tensor in packed.items() if tensor.dtype is torch.int8]
    state = {name: tensor for name, tensor in packed.items() if not name.endswith(_STEPS)}
    for name in coded:
        if name + _STEPS not in packed:
            raise RuntimeError(f"{name} is int8 and has no {name}{_STEPS}, expected its steps")
        state[name] = from_int8(packed[name], packed[name + _STEPS])
    return state, bool(coded)
