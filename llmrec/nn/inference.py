"""Which computation scores fastest where the scorer is."""

import copy

import torch

from llmrec.nn.engine import Engine
from llmrec.nn.gpu_engine import GpuEngine
from llmrec.nn.linear import Precision, best_float
from llmrec.nn.prefix import PrefixScorer
from llmrec.nn.scorer import PairScorer, Scorer
from llmrec.nn.unread import Unread
from llmrec.nn.varlen import is_supported


def for_inference(scorer: Scorer | Unread, precision: Precision | None = None) -> PairScorer:
    """Return what scores like ``scorer`` as it is now, and fastest where it is.

    ``precision`` None takes int8 where the weights were rounded to it, else the best floats of the processor; a GPU
    computes in bfloat16 unless float32 is asked for or it has no kernel for this encoder. int8 exists for the prefix
    scorer on a CPU, with nothing added to its encoder; elsewhere it means the best floats.
    """
    if isinstance(scorer, Unread):
        return scorer
    scorer, on_cpu = scorer.eval(), scorer.device.type == "cpu"
    fast = scorer if isinstance(scorer, PrefixScorer) and scorer.backbone.shape.is_plain else None
    if on_cpu and fast:
        return Engine(fast, precision or (Precision.INT8 if fast.is_rounded else best_float()))
    if not on_cpu:
        shape = scorer.backbone.shape
        if not is_supported(shape.width_of_head, torch.cuda.get_device_capability(scorer.device)):
            return scorer
    if precision is None or precision is Precision.INT8:
        precision = best_float() if on_cpu else Precision.BFLOAT16
    if precision is Precision.FLOAT32:
        return scorer
    return GpuEngine(fast) if fast else copy.deepcopy(scorer).to(torch.bfloat16)


def kind_of(scorer: PairScorer) -> str:
    """Name what the last bits of a score depend on beside model and texts: the program, its numbers and the device."""
    numbers = scorer.precision.value if isinstance(scorer, Engine) else "bfloat16"
    if isinstance(scorer, Scorer):
        numbers = str(next(scorer.parameters()).dtype)
    return f"{type(scorer).__name__} {numbers} {scorer.device.type} torch {torch.__version__}"
