"""From texts to the token sequences that the model reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from llmrec.domain.noise import MASKED

Pieces = npt.NDArray[np.int32]
"""Word piece ids of one text, without special tokens."""
LONGEST_PIECE = 40
"""Characters of a text that are looked at for each word piece that is wanted."""


@dataclass(frozen=True)
class TextLimits:
    """How much text the model reads, in word pieces; see settings.Texts for the meaning of each."""

    history_items: int
    history_tokens: int
    max_user_tokens: int
    max_item_tokens: int
    words_tokens: int = 0


_NOTHING = np.zeros(0, np.int32)


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
        cut = [text[: at_most * LONGEST_PIECE] for text in texts]
        self.tokenizer.enable_truncation(at_most)
        encoded = self.tokenizer.encode_batch(cut, add_special_tokens=False)
        return [np.asarray(one.ids, dtype=np.int32) for one in encoded]

    def masked_pieces(self, texts: list[str], at_most: int, mask: int | None) -> list[Pieces]:
        """Do the same with texts that hold MASKED: ``mask`` stands in its place, or nothing if that is None."""
        parts = [[part.rstrip() for part in text.split(MASKED)] for text in texts]
        pieces = iter(self.pieces([part for one in parts for part in one], at_most))
        between = np.array([] if mask is None else [mask], np.int32)
        return [
            np.concatenate([next(pieces), *(each for _ in one[1:] for each in (between, next(pieces)))])[:at_most]
            for one in parts
        ]

    def item_pieces(self, texts: list[str]) -> list[Pieces]:
        """Split item texts, cut so that the special tokens still fit."""
        return self.pieces(texts, self.limits.max_item_tokens - 2)

    def item_sequence(self, pieces: Pieces) -> Pieces:
        """Frame one item: [CLS] text [SEP]."""
        return np.concatenate([[self.first], pieces, [self.between]]).astype(np.int32)

    def user_sequences(
        self, profiles: Sequence[str | Pieces], histories: Sequence[list[Pieces]], words: Sequence[Sequence[str]]
    ) -> list[Pieces]:
        """Frame users.

        Args:
            profiles: what stands before each user's history, or the word pieces to read of it.
            histories: word pieces of each user's items, oldest first.
            words: what each user wrote on these items, "" for nothing; or nothing at all.
        """
        split = iter(self.pieces([one for one in profiles if isinstance(one, str)], self.limits.max_user_tokens))
        read = [next(split) if isinstance(one, str) else one for one in profiles]
        if not self.limits.words_tokens:
            return [self.user_sequence(profile, items) for profile, items in zip(read, histories, strict=True)]
        latest = [own[-self.limits.history_items :] for own in words]
        said = iter(self.pieces([text for own in latest for text in own], self.limits.words_tokens))
        return [
            self.user_sequence(profile, items, [*islice(said, len(own))])
            for profile, items, own in zip(read, histories, latest, strict=True)
        ]

    def user_sequence(self, profile: Pieces, history: list[Pieces], words: Sequence[Pieces] = ()) -> Pieces:
        """Frame one user: [CLS] profile [SEP] oldest item, words on it [SEP] ... latest item, words on it [SEP].

        At most ``max_user_tokens`` pieces; the profile keeps at most half of them, the oldest items go first.
        ``words`` is empty, or holds what the user wrote on each of the ``history_items`` latest items.
        """
        room = self.limits.max_user_tokens - 1
        parts: list[Pieces | list[int]] = [profile[: room // 2 - 1], [self.between]] if len(profile) else []
        room -= sum(len(part) for part in parts)
        items: list[Pieces | list[int]] = []
        latest = history[-self.limits.history_items :]
        for pieces, said in zip(reversed(latest), reversed(words or [_NOTHING] * len(latest)), strict=True):
            kept = pieces[: self.limits.history_tokens]
            if len(kept) + len(said) + 1 > room:
                break
            room -= len(kept) + len(said) + 1
            items[:0] = [kept, said, [self.between]]
        return np.concatenate([[self.first], *parts, *items]).astype(np.int32)
