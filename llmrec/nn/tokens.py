"""From texts to the token sequences that the model reads."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

Pieces = npt.NDArray[np.int32]
"""Word piece ids of one text, without special tokens."""


@dataclass(frozen=True)
class TextLimits:
    """How much text the model reads, in word pieces; see settings.Texts for the meaning of each."""

    history_items: int
    history_tokens: int
    max_user_tokens: int
    max_item_tokens: int


class Tokens:
    """A tokenizer and the templates of both sides.

    ``first`` and ``between`` are the ids of the tokens that open a text and end its parts (BERT: [CLS], [SEP]).
    """

    def __init__(self, tokenizer: Tokenizer, *, first: int, between: int, limits: TextLimits) -> None:
        tokenizer.no_padding()  # a pretrained tokenizer may come with a fixed length
        tokenizer.encode_special_tokens = True  # "[SEP]" in someone's text is text, not the end of a part
        self.tokenizer = tokenizer
        self.limits = limits
        self.first, self.between = first, between

    def pieces(self, texts: list[str], at_most: int) -> list[Pieces]:
        """Split each text into its first ``at_most`` word pieces."""
        if not texts:
            return []
        # A word piece holds at least one character; cutting first keeps a 100,000-word text from being tokenised whole.
        cut = [text[: at_most * 40] for text in texts]
        self.tokenizer.enable_truncation(at_most)
        encoded = self.tokenizer.encode_batch(cut, add_special_tokens=False)
        return [np.asarray(one.ids, dtype=np.int32) for one in encoded]

    def item_pieces(self, texts: list[str]) -> list[Pieces]:
        """Split item texts, cut so that the special tokens still fit."""
        return self.pieces(texts, self.limits.max_item_tokens - 2)

    def item_sequence(self, pieces: Pieces) -> Pieces:
        """Frame one item: [CLS] text [SEP]."""
        return np.concatenate([[self.first], pieces, [self.between]]).astype(np.int32)

    def user_sequence(self, profile: Pieces, history: list[Pieces]) -> Pieces:
        """Frame one user: [CLS] profile [SEP] oldest item [SEP] ... latest item [SEP].

        At most ``max_user_tokens`` pieces; the profile keeps at most half of them, the oldest items go first.
        """
        room = self.limits.max_user_tokens - 1
        parts: list[Pieces | list[int]] = [profile[: room // 2 - 1], [self.between]] if len(profile) else []
        room -= sum(len(part) for part in parts)
        items: list[Pieces | list[int]] = []
        for pieces in reversed(history[-self.limits.history_items :]):
            kept = pieces[: self.limits.history_tokens]
            if len(kept) + 1 > room:
                break
            room -= len(kept) + 1
            items[:0] = [kept, [self.between]]
        return np.concatenate([[self.first], *parts, *items]).astype(np.int32)
