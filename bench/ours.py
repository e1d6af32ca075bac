"""llmrec's engine as the benchmarks call it: texts in, numbers out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from llmrec.nn.inference import for_inference
from llmrec.nn.linear import Precision, pack
from llmrec.nn.pairs import score_pairs
from llmrec.nn.prefix import PrefixScorer
from llmrec.nn.pretrained import load_backbone, load_tokens
from llmrec.nn.ragged import Ragged
from llmrec.nn.scorer import ItemStates, PairScorer
from llmrec.nn.tokens import TextLimits, Tokens

LONGEST = 512


@dataclass(frozen=True)
class Ours:
    """One engine with its tokenizer."""

    scorer: PairScorer
    tokens: Tokens

    def sequences(self, texts: list[str]) -> Ragged:
        """Tokenise texts and frame them."""
        return Ragged.of([self.tokens.item_sequence(pieces) for pieces in self.tokens.item_pieces(texts)])

    @torch.inference_mode()
    def items(self, texts: list[str]) -> ItemStates:
        """What is made once a night for each distinct item."""
        return self.scorer.encode_items(self.sequences(texts))

    @torch.inference_mode()
    def score(self, users: list[str], items: ItemStates, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Tokenise and read the users, then score their pairs."""
        return score_pairs(self.scorer, self.scorer.encode_users(self.sequences(users)), items, user, item)


def load(folder: Path, cached_layers: int, precision: Precision | None = None) -> Ours:
    """Open the encoder as the jobs do; the head is untrained."""
    torch.manual_seed(0)
    scorer = PrefixScorer(load_backbone(str(folder)), cached_layers=cached_layers).eval()
    limits = TextLimits(history_items=50, history_tokens=LONGEST, max_user_tokens=LONGEST, max_item_tokens=LONGEST)
    return Ours(for_inference(scorer.requires_grad_(False), precision), load_tokens(str(folder), limits))


def bare_multiplies(
    *, cached_layers: int, precision: Precision, user_tokens: int, item_tokens: int, pairs: int, passes: int,
    layers: int = 6, width: int = 384, inner: int = 1536,
) -> Callable[[], None]:  # fmt: skip
    """The linear layers' multiplies of this many tokens and nothing else: no attention, norms or activations.

    Users run through all layers, candidates through those above ``cached_layers``. The first of these has its queries,
    keys and values from what is kept of an item; the last computes one token per pair, whose query and values take the
    weights of keys and values in. Candidates are cut into ``passes``, as in scoring.
    """
    shapes = {"qkv": (3 * width, width), "one": (width, width), "up": (inner, width), "down": (width, inner)}
    linear = {name: pack(torch.randn(shape), torch.randn(shape[0]), precision) for name, shape in shapes.items()}

    def inputs(tokens: int) -> dict[str, torch.Tensor]:
        return {
            name: torch.randn(tokens, shape[1], dtype=torch.float32).to(precision.states)
            for name, shape in shapes.items()
        }

    users, candidates, firsts = inputs(user_tokens), inputs(item_tokens // passes), inputs(pairs // passes)
    between = layers - cached_layers - 1

    @torch.inference_mode()
    def run() -> None:
        for name in ("qkv", "one", "up", "down") * layers:
            linear[name](users[name])
        for _ in range(passes):
            for name in (("one", "up", "down", "qkv") * between)[:-1]:
                linear[name](candidates[name])
            for name in ("one", "one", "one", "one", "up", "down"):
                linear[name](firsts[name])

    return run
