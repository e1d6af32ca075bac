"""Item texts to word pieces and vectors, in batches of a bounded number of tokens."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from llmrec.nn.ragged import Ragged
from llmrec.nn.scorer import PairScorer
from llmrec.nn.tokens import Pieces, Tokens

_TOKENS_AT_ONCE = {"cpu": 8192, "cuda": 262_144}


def encode_texts(scorer: PairScorer, tokens: Tokens, texts: list[str]) -> tuple[list[Pieces], npt.NDArray[np.float32]]:
    """Return the word pieces of each text and their vectors (len(texts), D), in the order of ``texts``."""
    pieces = tokens.item_pieces(texts)
    return pieces, encode_pieces(scorer, tokens, pieces)


@torch.inference_mode()
def encode_pieces(scorer: PairScorer, tokens: Tokens, pieces: Sequence[Pieces]) -> npt.NDArray[np.float32]:
    """Return the vectors of items whose texts have these word pieces, (len(pieces), D)."""
    vectors = np.zeros((len(pieces), scorer.width), np.float32)
    # Texts of like length together: attention pads within a batch.
    by_length = np.argsort([-len(p) for p in pieces], kind="stable")
    sizes = np.cumsum([len(pieces[place]) + 2 for place in by_length])
    cuts = np.flatnonzero(np.diff(sizes // _TOKENS_AT_ONCE[scorer.device.type])) + 1
    before = np.zeros(0, np.int64), torch.zeros(0, scorer.width)
    for batch in filter(len, np.split(by_length, cuts)):
        items = Ragged.of([tokens.item_sequence(pieces[place]) for place in batch], scorer.device)
        now = batch, scorer.item_vectors(scorer.encode_items(items)).float()
        vectors[before[0]] = before[1].cpu().numpy()  # one batch late, so that a GPU has the next one to work on
        before = now
    vectors[before[0]] = before[1].cpu().numpy()
    return vectors
