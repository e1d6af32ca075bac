"""Pairs and texts per second on one GPU: llmrec against sentence-transformers, and the share of the card's peak.

    python -m bench.gpu [--json FILE] [--peak TFLOPS]
    python -m bench.gpu --quick --device cpu      # only to see that it runs

Needs torch, transformers and this package; sentence-transformers where it is installed, else its computation is
imitated: the same model of transformers in bfloat16 on padded batches sorted by length. Weights are random, of the
shapes of MiniLM-L6 and BERT-base; speed does not depend on their values. Inputs are token ids: tokenising is left out
for all. ``--peak`` is the card's dense bfloat16 peak (H100 and H200 SXM: 989, by NVIDIA's data sheet).
"""

import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification

from bench.output import arguments, save, show
from bench.timing import interleaved, per_second, ratio
from llmrec.nn.families import open_model
from llmrec.nn.inference import for_inference
from llmrec.nn.pairs import score_pairs
from llmrec.nn.prefix import PrefixScorer
from llmrec.nn.ragged import Ragged
from llmrec.nn.scorer import ItemStates, PairScorer

SHAPES = {"MiniLM-L6": (6, 384, 1536), "BERT-base": (12, 768, 3072)}
BATCHES = (64, 128, 256, 512)
Sequences = list[np.ndarray]


def main() -> int:
    """Measure, print, save."""
    parser = arguments(__doc__)
    parser.add_argument("--peak", type=float, default=989.0, help="dense bfloat16 peak of the card, TFLOP/s")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    device = torch.device(args.device)
    figures = {name: _one_shape(name, device, args.peak, args.quick) for name in SHAPES}
    save(args.json, figures)
    return 0


def _one_shape(name: str, device: torch.device, peak: float, quick: bool) -> dict[str, float]:
    layers, width, inner = SHAPES[name]
    config = BertConfig(num_hidden_layers=layers, hidden_size=width, intermediate_size=inner, num_attention_heads=12)
    config.num_labels = 1
    torch.manual_seed(0)
    users, candidates, rounds = (1, 8, 1) if quick else (256, 50, 5)
    rng = np.random.default_rng(0)
    read, shown = _sequences(rng, users, 85), _sequences(rng, 10 * candidates, 26)
    user = np.repeat(np.arange(users), candidates)
    item = np.concatenate([rng.choice(len(shown), candidates, replace=False) for _ in range(users)])
    pairs = [np.concatenate([read[u], shown[i]]) for u, i in zip(user, item, strict=True)]
    model = BertForSequenceClassification(config).eval()
    ours = {k: for_inference(PrefixScorer(open_model(model.bert), cached_layers=k).to(device)) for k in (0, layers - 2)}
    theirs = model.to(device, torch.bfloat16 if device.type == "cuda" else torch.float32)
    texts = _sequences(rng, 4 if quick else 4096, 120)
    best_pairs, best_texts = (
        _best_batch(partial(_padded, net, some), device) for net, some in ((theirs, pairs), (theirs.bert, texts))
    )
    systems: dict[str, Callable[[], object]] = {
        "pairs, padded batches": partial(_padded, theirs, pairs, best_pairs),
        "texts, padded batches": partial(_padded, theirs.bert, texts, best_texts),
        "texts, llmrec": partial(_vectors, ours[0], texts, device),
    }
    for k, scorer in ours.items():
        with torch.inference_mode():
            items = scorer.encode_items(Ragged.of(shown, device))
        systems[f"pairs, llmrec k={k}"] = partial(_pairs, scorer, items, read, user, item, device)
    seconds = interleaved({each: partial(_waited, run, device) for each, run in systems.items()}, rounds)
    flops = 2 * layers * (4 * width**2 + 2 * width * inner) * sum(map(len, texts))
    counts = {each: len(texts) if each.startswith("texts") else len(pairs) for each in systems}
    show(
        f"{name} on {torch.cuda.get_device_name() if device.type == 'cuda' else device}, median of {rounds} rounds",
        [{"system": each, "per second": per_second(counts[each], seconds[each])} for each in systems],
    )
    encoding = flops / float(np.median(seconds["texts, llmrec"])) / 1e12
    return {
        **{f"{each}, per second": per_second(counts[each], seconds[each]) for each in systems},
        **{f"ratio of pairs k={k}": ratio(seconds, "pairs, padded batches", f"pairs, llmrec k={k}") for k in ours},
        "ratio of texts": ratio(seconds, "texts, padded batches", "texts, llmrec"),
        "encoding, TFLOP/s of linear layers": encoding,
        "encoding, share of peak": encoding / peak,
    }


def _sequences(rng: np.random.Generator, count: int, tokens: int) -> Sequences:
    lengths = rng.integers(tokens - tokens // 4, tokens + tokens // 4 + 1, count)
    return [rng.integers(1000, 30000, length).astype(np.int32) for length in lengths]


@torch.inference_mode()
def _padded(model: torch.nn.Module, sequences: Sequences, batch: int) -> None:
    """What sentence-transformers does: sort by length, pad each batch, run the model."""
    device = next(model.parameters()).device
    order = np.argsort([-len(one) for one in sequences], kind="stable")
    for start in range(0, len(order), batch):
        some = [sequences[place] for place in order[start : start + batch]]
        ids = torch.zeros(len(some), len(some[0]), dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, one in enumerate(some):
            ids[row, : len(one)], mask[row, : len(one)] = torch.from_numpy(one.astype(np.int64)), 1
        model(input_ids=ids.to(device), attention_mask=mask.to(device))


def _best_batch(run: Callable[[int], None], device: torch.device) -> int:
    seconds = interleaved({str(batch): partial(_waited, partial(run, batch), device) for batch in BATCHES}, 1)
    return min(BATCHES, key=lambda batch: seconds[str(batch)][0])


@torch.inference_mode()
def _vectors(scorer: PairScorer, texts: Sequences, device: torch.device) -> None:
    order = np.argsort([-len(one) for one in texts], kind="stable")
    for start in range(0, len(order), 1024):
        items = Ragged.of([texts[place] for place in order[start : start + 1024]], device)
        scorer.item_vectors(scorer.encode_items(items)).cpu()


@torch.inference_mode()
def _pairs(scorer: PairScorer, items: ItemStates, read: Sequences, user: np.ndarray, item: np.ndarray,
           device: torch.device) -> None:  # fmt: skip
    score_pairs(scorer, scorer.encode_users(Ragged.of(read, device)), items, user, item)


def _waited(run: Callable[[], object], device: torch.device) -> None:
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    sys.exit(main())
