"""The scorers by name."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from llmrec.nn.backbone import Backbone, BackboneShape
from llmrec.nn.content import ContentScorer
from llmrec.nn.joint import JointScorer
from llmrec.nn.prefix import PrefixScorer
from llmrec.nn.scorer import Scorer
from llmrec.nn.towers import AttentionScorer, BilinearScorer, DotScorer

_ALONE: dict[str, Callable[..., Scorer]] = {
    JointScorer.name: JointScorer,
    DotScorer.name: DotScorer,
    BilinearScorer.name: BilinearScorer,
    AttentionScorer.name: AttentionScorer,
}
"""Those that need no more than an encoder."""


def make_scorer(
    name: str, backbone: Backbone, cached_layers: int, *, outputs: int = 1, seed: int | None = None
) -> Scorer:
    """Put an untrained head on ``backbone``.

    Args:
        name: as the configuration calls it; see settings.Train.scorer.
        backbone: the encoder.
        cached_layers: what the prefix scorer caches of candidates; others ignore it.
        outputs: see `Scorer`; the content scorer has one.
        seed: of the head's first weights; None leaves torch's generator as it is.

    Raises ValueError if there is no such scorer, or the encoder is too small for ``cached_layers``.
    """
    if seed is not None:
        torch.manual_seed(seed)
    if name == PrefixScorer.name:
        return PrefixScorer(backbone, cached_layers=cached_layers, outputs=outputs)
    if name == ContentScorer.name:
        return ContentScorer(backbone)
    if name not in _ALONE:
        known = (PrefixScorer.name, ContentScorer.name, *_ALONE)
        raise ValueError(f"scorer is {name!r}, expected one of {', '.join(known)}")
    return _ALONE[name](backbone, outputs=outputs)


def remake_scorer(scorer: Scorer, shape: BackboneShape, cached_layers: int, state: Mapping[str, Tensor]) -> Scorer:
    """Return a scorer like ``scorer`` of another ``shape``, with the weights ``state``, for inference."""
    made = make_scorer(scorer.name, Backbone(shape), cached_layers, outputs=scorer.outputs)
    made.load_state_dict(state)
    made.ratings = scorer.ratings
    return made.to(scorer.device).requires_grad_(False).eval()
