"""Texts per second to vectors: llmrec against SentenceTransformer.encode.

    .venv-bench/bin/python -m bench.encode [--quick] [--json FILE]

The same weights and the same texts of 8 to 200 words; every system is timed from texts to vectors of unit length.
"""

import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from bench import pair_peers
from bench.ours import LONGEST, bare_multiplies, load
from bench.output import arguments, save, show
from bench.texts import ENCODER, require_demo_data, texts_of_words
from bench.timing import interleaved, per_second, ratio
from llmrec.nn.encoding import encode_texts
from llmrec.nn.linear import Precision, best_float

ROUNDS = 5
DEFAULT = "SentenceTransformer float32"
BFLOAT16 = "SentenceTransformer bfloat16"


def main() -> int:
    """Measure, print, save."""
    args = arguments(__doc__).parse_args()
    require_demo_data()
    texts = texts_of_words(np.random.default_rng(0).integers(8, 201, 96 if args.quick else 512).tolist(), seed=1)
    systems: dict[str, Callable[[], object]] = {}
    for name, dtype in ((DEFAULT, torch.float32), (BFLOAT16, torch.bfloat16)):
        systems[name] = partial(pair_peers.sentence_encoder(ENCODER, dtype, 32), texts)
    precisions = list(dict.fromkeys([best_float(), Precision.INT8]))
    for precision in precisions:
        engine = load(ENCODER, 0, precision)
        systems[_name(precision)] = partial(encode_texts, engine.scorer, engine.tokens, texts)
        tokens = int(engine.sequences(texts).lengths.clamp(max=LONGEST).sum())
        systems[f"multiplies of {_name(precision)}"] = bare_multiplies(
            cached_layers=5, precision=precision, user_tokens=tokens, item_tokens=1, pairs=1, passes=1
        )
    seconds = interleaved(systems, ROUNDS)
    ours = {
        _name(precision): {
            "texts_per_s": per_second(len(texts), seconds[_name(precision)]),
            "ratio_to_default": ratio(seconds, DEFAULT, _name(precision)),
            "ratio_to_bfloat16": ratio(seconds, BFLOAT16, _name(precision)),
            "ratio_to_best_peer": min(ratio(seconds, peer, _name(precision)) for peer in (DEFAULT, BFLOAT16)),
            "gemm_limit_fraction": 1 / ratio(seconds, _name(precision), f"multiplies of {_name(precision)}"),
        }
        for precision in precisions
    }
    rates = {name: per_second(len(texts), seconds[name]) for name in (DEFAULT, BFLOAT16)}
    _show(rates, ours, len(texts))
    save(args.json, {"precision": best_float().value, **ours[_name(best_float())], "peers": rates, "ours": ours})
    return 0


def _name(precision: Precision) -> str:
    return f"llmrec {precision.value}"


def _show(rates: dict[str, float], ours: dict[str, dict[str, float]], texts: int) -> None:
    rows = [
        {"system": name, "texts/s": rate, "to default": rate / rates[DEFAULT], "of its multiplies": ""}
        for name, rate in rates.items()
    ] + [
        {"system": name, "texts/s": found["texts_per_s"], "to default": found["ratio_to_default"],
         "of its multiplies": f"{found['gemm_limit_fraction']:.2f}"}
        for name, found in ours.items()
    ]  # fmt: skip
    show(f"{texts} texts of 8 to 200 words; median of {ROUNDS} rounds", rows)


if __name__ == "__main__":
    sys.exit(main())
