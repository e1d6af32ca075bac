"""What is made smaller of a trained scorer, as `train --export` is asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmrec.errors import ConfigError
from llmrec.nn.int8 import round_weights
from llmrec.nn.prefix import PrefixScorer
from llmrec.nn.pruning import Lists, choose_heads, choose_layers, keep_heads, keep_layers
from llmrec.nn.scorer import Scorer
from llmrec.nn.unread import Unread


@dataclass(frozen=True)
class Compression:
    """How small a model is to be; layers go first, then heads, then the weights are rounded."""

    int8: bool = False
    layers: int | None = None
    """Left of all; None: all."""
    heads: int | None = None
    """Left in each layer; None: all."""

    @staticmethod
    def of(options: Sequence[str]) -> "Compression":
        """Read what follows ``--export``; raises ConfigError if it is not understood."""
        asked: dict[str, Any] = {}
        for option in options:
            name, _, number = option.partition("=")
            if name in asked:
                raise ConfigError(f"--export: {name} is there twice, expected it once")
            if option == "int8":
                asked[name] = True
            elif name in ("layers", "heads") and number.isascii() and number.isdigit() and int(number):
                asked[name] = int(number)
            else:
                raise ConfigError(f"--export: {option!r}, expected int8, layers=N or heads=N with N at least 1")
        return Compression(**asked)

    def require_fitting(self, scorer: Scorer | Unread, where: str) -> Scorer:
        """Return ``scorer``; raises ConfigError, naming ``where`` it is from, if it cannot be made so small."""
        if isinstance(scorer, Unread):
            raise ConfigError(f"--export: {where} has scorer {Unread.name}, expected one that reads texts")
        shape = scorer.backbone.shape
        if not shape.is_plain:
            raise ConfigError(
                f"--export: the encoder of {where} has adapters, virtual tokens or rotary positions, for which there "
                "are no packed kernels; expected a BERT with nothing added"
            )
        if self.int8 and not isinstance(scorer, PrefixScorer):
            raise ConfigError(
                f"--export int8: {where} has scorer {scorer.name}, which is not scored in int8; expected "
                f"{PrefixScorer.name}, or layers=N or heads=N alone"
            )
        if self == Compression(int8=True) and scorer.is_rounded:
            raise ConfigError(f"--export int8: {where} is in int8 already, expected layers=N or heads=N with it")
        for name, wanted, there in (("layers", self.layers, shape.layers), ("heads", self.heads, shape.heads)):
            if wanted is not None and wanted >= there:
                raise ConfigError(f"--export {name}={wanted}: {where} has {there}, expected fewer than these")
        return scorer

    def apply(self, scorer: Scorer, lists: Lists) -> tuple[Scorer, dict[str, Any]]:
        """Return a smaller scorer, and what of the old one is left in it, for the manifest.

        Args:
            scorer: as `require_fitting` returned it.
            lists: tell which layers and heads matter.
        """
        left: dict[str, Any] = {}
        in_int8 = self.int8 or scorer.is_rounded
        if self.layers is not None:
            left["layers"] = choose_layers(scorer, self.layers, lists)
            scorer = keep_layers(scorer, left["layers"])
        if self.heads is not None:
            left["heads"] = choose_heads(scorer, self.heads, lists)
            scorer = keep_heads(scorer, left["heads"])
        if in_int8:
            round_weights(scorer)
        return scorer, left
