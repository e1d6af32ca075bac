"""Makes copies of texts that say about the same in other words, or less, as word pieces.

Where a copy comes to nothing, it is the text itself.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer

from llmrec.domain.noise import Noise, draws
from llmrec.domain.synonyms import replace_words
from llmrec.nn.tokens import Pieces, TextLimits, Tokens

if TYPE_CHECKING:
    from llmrec.nn.masked_language import MaskedLanguage
    from llmrec.nn.translation import Translation

_SETTINGS, _TOKENIZER = "rewriter.json", "tokenizer.json"
_MASKED, _TRANSLATION = "masked-language", "translation"


@dataclass(frozen=True)
class Rewriting:
    """What is done to a text, in this order, for each of its copies; see settings.Augment for the meaning of each."""

    seed: int
    copies: int
    synonyms: Mapping[str, Sequence[str]] = field(default_factory=dict)
    synonym_share: float = 0.0
    masked_language: float = 0.0
    noise: Noise = field(default_factory=Noise)


class Rewriter:
    """Rewrites texts as a plan says, with the models that it needs.

    Args:
        plan: what is done.
        tokens: of the encoder that is to read the copies.
        mask: its mask token; None where it has none, and words that are masked are left out.
        masked_language: needed if the plan replaces words by it.
        translation: with it, texts are translated there and back before anything else.
    """

    def __init__(
        self,
        plan: Rewriting,
        tokens: Tokens,
        mask: int | None,
        masked_language: "MaskedLanguage | None" = None,
        translation: "Translation | None" = None,
    ) -> None:
        if plan.masked_language and masked_language is None:
            raise ValueError("words are to be replaced by a masked-language head, expected one")
        self._plan, self._tokens, self._mask = plan, tokens, mask
        self._masked_language, self._translation = masked_language, translation

    def copies(self, keys: Sequence[str], texts: Sequence[str], at_most: int) -> list[list[Pieces]]:
        """Return of each text its copies, of at most ``at_most`` word pieces each.

        What is drawn follows from the plan's seed and a text's key, whatever texts are beside it.
        """
        plan, originals = self._plan, self._tokens.pieces(list(texts), at_most)
        rewritten = [[text] * plan.copies for text in texts]
        if self._translation is not None:
            rewritten = self._translation(texts, plan.copies, at_most)
        rngs = [[draws(plan.seed, key, number) for number in range(plan.copies)] for key in keys]
        flat = [
            replace_words(text, plan.synonyms, plan.synonym_share, rng)
            for row, of_row in zip(rewritten, rngs, strict=True)
            for text, rng in zip(row, of_row, strict=True)
        ]
        every = [rng for of_row in rngs for rng in of_row]
        if self._masked_language is not None:
            flat = self._masked_language(flat, plan.masked_language, every, at_most)
        noisy = [plan.noise(text, rng) for text, rng in zip(flat, every, strict=True)]
        pieces = self._tokens.masked_pieces(noisy, at_most, self._mask)
        return [
            [one if len(one) else original for one in pieces[place * plan.copies : (place + 1) * plan.copies]]
            for place, original in enumerate(originals)
        ]

    def to(self, device: torch.device) -> "Rewriter":
        """Move the models to ``device``."""
        for model in (self._masked_language, self._translation):
            if model is not None:
                model.to(device)
        return self

    def save(self, folder: Path) -> str:
        """Write all of it to ``folder``; return its version, 12 hexadecimal digits."""
        folder.mkdir(parents=True)
        self._tokens.tokenizer.no_truncation()
        self._tokens.tokenizer.save(str(folder / _TOKENIZER))
        tokens = {"first": self._tokens.first, "between": self._tokens.between, "limits": asdict(self._tokens.limits)}
        settings = {"plan": asdict(self._plan), "tokens": tokens, "mask": self._mask}
        (folder / _SETTINGS).write_text(json.dumps(settings), encoding="utf-8")
        if self._masked_language is not None:
            self._masked_language.save(folder / _MASKED)
        if self._translation is not None:
            self._translation.save(folder / _TRANSLATION)
        digest = hashlib.sha256()
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()[:12]

    @staticmethod
    def load(folder: Path) -> "Rewriter":
        """Load what `save` wrote."""
        settings = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
        of, named = settings["tokens"], settings["plan"]
        tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER))
        tokens = Tokens(tokenizer, first=of["first"], between=of["between"], limits=TextLimits(**of["limits"]))
        plan = replace(Rewriting(**named), noise=Noise(**named["noise"]))
        masked_language = translation = None
        # transformers takes a worker some ten seconds to import
        if (folder / _MASKED).exists():
            from llmrec.nn.masked_language import MaskedLanguage

            masked_language = MaskedLanguage.load(str(folder / _MASKED))
        if (folder / _TRANSLATION).exists():
            from llmrec.nn.translation import Translation

            translation = Translation.open(folder / _TRANSLATION)
        return Rewriter(plan, tokens, settings["mask"], masked_language, translation)
