"""Whether another runtime multiplies faster: a transformer block without attention in torch, OpenVINO, ONNX Runtime.

    .venv-bench/bin/python -m bench.runtimes [--quick] [--json FILE]

Linear layers are two thirds to three quarters of the time that scoring takes, so a runtime that does not do these in
much less time cannot do the whole in much less. The block is the encoder's first: queries, keys and values, which stand
for what attention would give, the output layer, the feed-forward part with its activation, and both layer norms, on the
states of as many tokens as one pass of scoring has. All systems have two threads and the same weights. OpenVINO's int8
is NNCF's, calibrated on the same states; ONNX Runtime's quantises inputs per call, ours per token. Cosines are with the
block in float32.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bench.output import arguments, save, show
from bench.texts import ENCODER, require_demo_data, texts_of_tokens
from bench.timing import interleaved, per_second, ratio
from llmrec.nn.backbone import Block
from llmrec.nn.linear import Precision, best_float
from llmrec.nn.packed import PackedBlock
from llmrec.nn.pretrained import load_backbone, load_tokens
from llmrec.nn.ragged import Ragged
from llmrec.nn.scorer import ITEM_SIDE
from llmrec.nn.tokens import TextLimits

ROUNDS, TOKENS = 15, 4096
OURS = tuple(dict.fromkeys([Precision.FLOAT32, best_float(), Precision.INT8]))
Run = Callable[[], Sequence[Tensor]]


class Layers(nn.Module):
    """The block as torch runs it, (N, D) -> states, queries and keys, each (N, D)."""

    def __init__(self, block: Block, heads: int) -> None:
        super().__init__()
        self.block, self.heads = block, heads
        self.scale = (block.query.weight.shape[1] // heads) ** -0.5

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run everything but the attention; values stand for what it would give."""
        query, key = self.block.query(states) * self.scale, self.block.key(states)
        return self.block.after_attention(states, self.block.value(states)), query, key


def main() -> int:
    """Measure, print, save."""
    args = arguments(__doc__).parse_args()
    require_demo_data()
    torch.set_num_threads(2)
    backbone = load_backbone(str(ENCODER)).requires_grad_(False).eval()
    states = _states(backbone)
    layers = Layers(backbone.stack[0], backbone.shape.heads).eval()
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        systems = {
            **_ours(layers, states, backbone.shape.activation),
            **_openvino(layers, states),
            **_onnx(layers, states, Path(folder)),
        }
        wanted = layers(states)[0].numpy()
        cosines = {name: _cosine(_states_of(run), wanted) for name, run in systems.items()}
        seconds = interleaved(systems, 3 if args.quick else ROUNDS)
    rows = [
        {"system": name, "tokens/s": per_second(TOKENS, taken),
         **{f"to {_ours_in(p)}": ratio(seconds, _ours_in(p), name) for p in OURS}, "least cosine": cosines[name]}
        for name, taken in seconds.items()
    ]  # fmt: skip
    rounds = len(seconds[_ours_in(Precision.INT8)])
    show(f"a block without attention, {TOKENS} tokens; median of {rounds} rounds", rows)
    save(args.json, {"systems": rows})
    return 0


def _states(backbone: nn.Module) -> Tensor:
    limits = TextLimits(history_items=1, history_tokens=1, max_user_tokens=512, max_item_tokens=512)
    tokens = load_tokens(str(ENCODER), limits)
    pieces = tokens.item_pieces(texts_of_tokens([30] * (TOKENS // 32), seed=0))
    items = Ragged.of([tokens.item_sequence(one) for one in pieces])
    states: Tensor = backbone.embed(items.ids, items.layout.position, ITEM_SIDE)
    return states.detach()


def _ours(layers: Layers, states: Tensor, activation: str) -> dict[str, Run]:
    def system(precision: Precision) -> Run:
        block, own = PackedBlock(layers.block, layers.heads, activation, precision), states.to(precision.states)

        def run() -> Sequence[Tensor]:
            query, key, value = block.query_key_value(own)
            return block.finish(own, value.flatten(1)), query, key

        return run

    return {_ours_in(p): system(p) for p in OURS}


def _ours_in(precision: Precision) -> str:
    return f"llmrec {precision.value}"


def _states_of(run: Run) -> np.ndarray:
    states = run()[0]
    return states.float().numpy() if isinstance(states, Tensor) else np.asarray(states)


def _openvino(layers: Layers, states: Tensor) -> dict[str, Run]:
    import nncf
    import openvino

    plain = openvino.convert_model(layers, example_input=states, input=[(list(states.shape), np.float32)])
    samples = nncf.Dataset([part.numpy() for part in states.split(len(states))])
    quantised = nncf.quantize(plain, samples, model_type=nncf.ModelType.TRANSFORMER, subset_size=1)
    threads = {"INFERENCE_NUM_THREADS": 2, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    data = states.numpy()

    def system(model: openvino.Model) -> Run:
        compiled = openvino.Core().compile_model(model, "CPU", threads)
        return lambda: list(compiled([data]).values())

    return {"OpenVINO float32": system(plain), "OpenVINO int8": system(quantised)}


def _onnx(layers: Layers, states: Tensor, folder: Path) -> dict[str, Run]:
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    plain, quantised = folder / "plain.onnx", folder / "int8.onnx"
    torch.onnx.export(layers, (states,), str(plain), input_names=["states"], dynamo=False)
    quantize_dynamic(plain, quantised, weight_type=QuantType.QInt8, per_channel=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    data = states.numpy()

    def system(path: Path) -> Run:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, {"states": data})

    return {"ONNX Runtime float32": system(plain), "ONNX Runtime int8": system(quantised)}


def _cosine(found: np.ndarray, wanted: np.ndarray) -> float:
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    return float(((found * wanted).sum(axis=1) / lengths).min())


if __name__ == "__main__":
    sys.exit(main())
