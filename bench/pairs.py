"""Pairs per second of a fine-tuned cross-encoder: llmrec against sentence-transformers and OpenVINO.

    .venv-bench/bin/python -m bench.pairs [--quick] [--json FILE]

All systems have the same encoder weights and read the same texts: users of about 85 tokens, candidates of about 26.
Ours is timed from the users' texts to the scores, 32 users at a time, with what is kept of the items at hand, which a
night makes once for each item; what making that costs is printed beside it. The others are timed from texts to scores.
Peers score fewer pairs per round, since they are slower; all figures are per pair. With --quick their batch size is 32;
otherwise it is the best of 16, 32, 64 and 128.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np
import torch

from bench import pair_peers
from bench.ours import Ours, bare_multiplies, load
from bench.output import arguments, save, show
from bench.texts import ENCODER, require_demo_data, texts_of_tokens
from bench.timing import interleaved, per_second, ratio
from llmrec.nn.linear import Precision, best_float
from llmrec.settings.training import Train

ROUNDS = 5
SHIPPED = Train().cached_layers
CATALOGUE = 200
BATCHES = (16, 32, 64, 128)
DEFAULT = "CrossEncoder float32"


@dataclass(frozen=True)
class Night:
    """Users, items, and which pairs of them are scored."""

    users: list[str]
    items: list[str]
    user: np.ndarray
    item: np.ndarray

    @staticmethod
    def of(users: int, candidates: int, *, user_tokens: int = 85, item_tokens: int = 26, seed: int = 0) -> "Night":
        """Draw texts of about these lengths, special tokens counted, and ``candidates`` distinct items per user."""
        rng = np.random.default_rng(seed)
        catalogue = max(CATALOGUE, candidates)

        def around(tokens: int, count: int) -> list[int]:
            spread = max(1, tokens // 2)
            return [
                int(n) for n in rng.integers(tokens - 2 - spread // 2, tokens - 1 + spread // 2, count).clip(1, 508)
            ]

        return Night(
            texts_of_tokens(around(user_tokens, users), seed + 1),
            texts_of_tokens(around(item_tokens, catalogue), seed + 2),
            np.repeat(np.arange(users), candidates),
            np.concatenate([rng.choice(catalogue, candidates, replace=False) for _ in range(users)]),
        )

    def pairs(self, most: int) -> list[tuple[str, str]]:
        """The first pairs as texts."""
        return [(self.users[u], self.items[i]) for u, i in zip(self.user[:most], self.item[:most], strict=True)]


def main() -> int:
    """Measure, print, save."""
    args = arguments(__doc__).parse_args()
    require_demo_data()
    figures = headline(Night.of(32, 50), args.quick)
    if not args.quick:
        figures["of_200_candidates"] = headline(Night.of(8, 200), args.quick)
        figures["sweep"] = sweep()
    save(args.json, figures)
    return 0


def headline(night: Night, quick: bool) -> dict[str, object]:
    """Compare all systems at one size."""
    some, count = night.pairs(50 if quick else 200), len(night.user)
    others = _peers(night, BATCHES[1:2] if quick else BATCHES)
    systems: dict[str, Callable[[], object]] = {name: partial(predict, some) for name, predict in others.items()}
    settings = [(k, p) for p in dict.fromkeys([best_float(), Precision.INT8]) for k in (0, 2, 4)
                if p is best_float() or k == SHIPPED or not quick]  # fmt: skip
    for k, p in settings:
        engine = load(ENCODER, k, p)
        items = engine.items(night.items)
        systems[_name(k, p)] = partial(engine.score, night.users, items, night.user, night.item)
        systems[f"multiplies of {_name(k, p)}"] = _limit(engine, night, k, p)
    seconds = interleaved(systems, ROUNDS)
    peer_rates = {name: per_second(len(some), seconds[name]) for name in others}
    best_peer = max(peer_rates, key=lambda name: peer_rates[name])
    more = count / len(some)  # pairs in a round of ours to those in a peer's
    ours = {
        _name(k, p): {
            "pairs_per_s": per_second(count, seconds[_name(k, p)]),
            "ratio_to_default": more * ratio(seconds, DEFAULT, _name(k, p)),
            "ratio_to_best_peer": more * ratio(seconds, best_peer, _name(k, p)),
            "gemm_limit_fraction": 1 / ratio(seconds, _name(k, p), f"multiplies of {_name(k, p)}"),
        }
        for k, p in settings
    }
    _show(f"{count // len(night.users)} candidates", peer_rates, ours, best_peer)
    shipped = {"cached_layers": SHIPPED, "precision": best_float().value, **ours[_name(SHIPPED, best_float())]}
    prepared = _preparing(load(ENCODER, SHIPPED), night)
    print(f"what is kept of items, made once a night: {prepared:,.0f} items/s at k = {SHIPPED}")
    return {**shipped, "best_peer": best_peer, "peers": peer_rates, "ours": ours, "items_per_s_prepared": prepared}


def _name(k: int, precision: Precision) -> str:
    return f"llmrec k={k} {precision.value}"


def _show(size: str, peer_rates: dict[str, float], ours: dict[str, dict[str, float]], best_peer: str) -> None:
    rows = [
        {"system": name, "pairs/s": rate, "to default": rate / peer_rates[DEFAULT],
         "to best peer": rate / peer_rates[best_peer], "of its multiplies": ""}
        for name, rate in peer_rates.items()
    ] + [
        {"system": name, "pairs/s": found["pairs_per_s"], "to default": found["ratio_to_default"],
         "to best peer": found["ratio_to_best_peer"], "of its multiplies": f"{found['gemm_limit_fraction']:.2f}"}
        for name, found in ours.items()
    ]  # fmt: skip
    show(f"users of 85 tokens, {size} of 26 tokens each; median of {ROUNDS} rounds", rows)


def _peers(night: Night, batches: Sequence[int]) -> dict[str, pair_peers.PairScorer]:
    some = night.pairs(max(batches))
    half = {batch: pair_peers.cross_encoder(ENCODER, torch.bfloat16, batch) for batch in batches}
    quantise = pair_peers.openvino_int8(ENCODER, night.pairs(64))
    quantised = {batch: quantise(batch) for batch in batches}
    best = [_fastest({batch: partial(p, some) for batch, p in each.items()}) for each in (half, quantised)]
    return {
        DEFAULT: pair_peers.cross_encoder(ENCODER, torch.float32, 32),
        f"CrossEncoder bfloat16, batch {best[0]}": half[best[0]],
        f"OpenVINO int8, batch {best[1]}": quantised[best[1]],
    }


def _fastest(runs: dict[int, Callable[[], object]]) -> int:
    if len(runs) == 1:
        return next(iter(runs))
    seconds = interleaved({str(batch): run for batch, run in runs.items()}, ROUNDS)
    return min(runs, key=lambda batch: median(seconds[str(batch)]))


def _limit(engine: Ours, night: Night, k: int, precision: Precision) -> Callable[[], None]:
    users = int(engine.sequences(night.users).lengths.sum())
    tokens = int(engine.sequences(night.items).lengths.numpy()[night.item].sum())
    return bare_multiplies(
        cached_layers=k, precision=precision, user_tokens=users, item_tokens=tokens, pairs=len(night.item),
        passes=max(1, round(tokens / 8192)),
    )  # fmt: skip


def _preparing(engine: Ours, night: Night) -> float:
    seconds = interleaved({"items": lambda: engine.items(night.items)}, ROUNDS)
    return per_second(len(night.items), seconds["items"])


def sweep() -> list[dict[str, object]]:
    """Compare with CrossEncoder's default over lengths and numbers of candidates."""
    engine = load(ENCODER, SHIPPED)
    default = pair_peers.cross_encoder(ENCODER, torch.float32, 32)
    rows: list[dict[str, object]] = []
    for user_tokens in (32, 85, 224, 448):
        for candidates in (10, 50, 200, 1000):
            night = Night.of(max(1, 200 // candidates), candidates, user_tokens=user_tokens)
            some, items = night.pairs(40), engine.items(night.items)
            seconds = interleaved(
                {
                    "default": partial(default, some),
                    "ours": partial(engine.score, night.users, items, night.user, night.item),
                },
                ROUNDS,
            )
            ours = per_second(len(night.item), seconds["ours"])
            times = ratio(seconds, "default", "ours") * len(night.item) / len(some)
            rows.append({"user tokens": user_tokens, "candidates": candidates, "pairs/s": ours, "to default": times})
    show(f"llmrec k={SHIPPED} against CrossEncoder float32, candidates of about 26 tokens", rows)
    return rows


if __name__ == "__main__":
    sys.exit(main())
