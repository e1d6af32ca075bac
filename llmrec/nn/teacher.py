"""A trained model that tells a student in training what it makes of each list (distillation).

It reads with its own tokenizer and limits, and may be any scorer: as a rule one that is too slow for a night. Of what
the student reads in copies (nn.copies) it reads the originals.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from llmrec.domain.users import Items
from llmrec.nn.artifact import load_encoder, save_encoder
from llmrec.nn.batches import user_sequences
from llmrec.nn.catalogue import Catalogue, Floats, Longs
from llmrec.nn.examples import Example
from llmrec.nn.inference import for_inference
from llmrec.nn.pairs import score_pairs
from llmrec.nn.ragged import Ragged
from llmrec.nn.scorer import PairScorer
from llmrec.nn.tokens import Tokens

_TOKENS, _STARTS = "tokens.npy", "token_starts.npy"


def write_teacher(folder: Path, model: Path, texts: list[str]) -> None:
    """Put into ``folder`` what `Teacher.load` reads: the encoder of ``model``, and all item texts as that splits them.

    Args:
        folder: created.
        model: a folder written by nn.artifact.save_encoder.
        texts: of all items, by index.
    """
    scorer, tokens = load_encoder(model)
    save_encoder(folder, scorer, tokens)
    pieces = tokens.item_pieces(texts)
    np.save(folder / _TOKENS, np.concatenate(pieces))
    np.save(folder / _STARTS, np.cumsum([0, *map(len, pieces)]))


class Teacher:
    """Scores the lists of examples, without gradients."""

    def __init__(self, scorer: PairScorer, tokens: Tokens, catalogue: Catalogue) -> None:
        """``catalogue`` holds the word pieces of ``tokens``."""
        self._scorer, self._tokens, self._catalogue = scorer, tokens, catalogue

    @staticmethod
    def load(folder: Path, catalogue: Catalogue, device: torch.device) -> "Teacher":
        """Open what `write_teacher` wrote for the items of ``catalogue``."""
        scorer, tokens = load_encoder(folder)
        theirs = replace(catalogue, tokens=np.load(folder / _TOKENS), token_starts=np.load(folder / _STARTS))
        return Teacher(for_inference(scorer.to(device)), tokens, theirs)

    @torch.inference_mode()
    def __call__(self, examples: Sequence[Example], items: Items, user: Longs, item: Longs) -> Floats:
        """Return one logit per pair, (P,).

        Args:
            examples: B of them.
            items: S distinct items.
            user: (P,) index into examples, ascending.
            item: (P,) index into items.
        """
        device = self._scorer.device
        originals = [one.original or one for one in examples]
        users = Ragged.of(user_sequences(originals, self._tokens, self._catalogue.pieces), device)
        texts = Ragged.of([self._tokens.item_sequence(self._catalogue.pieces(one)) for one in items], device)
        read = self._scorer.encode_users(users), self._scorer.encode_items(texts)
        return score_pairs(self._scorer, *read, user, item)
