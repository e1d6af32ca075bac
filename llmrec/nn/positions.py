"""What the place where an item was shown adds to the log-odds of a click: learned beside the scores, no part of them.

Zhao et al., "Recommending What Video to Watch Next" (2019), have the same term, there from a network of its own; PAL
(Guo et al., 2019) multiplies chances instead, which comes to the same where clicks are rare.
"""

import torch
from torch import Tensor, nn

UNKNOWN = -1
"""The place of what was not shown, or not said where."""
_PLACES = 64
"""Those further down count as the last of them."""


class PositionBias(nn.Module):
    """A log-odds per place; 0 at the first one, so that what was drawn counts as if it had been seen."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(_PLACES))

    def forward(self, places: Tensor) -> Tensor:
        """Return what is added to the logits of pairs shown at ``places``, (P,), from 0 on; 0 for UNKNOWN ones."""
        return (self.logits - self.logits[0])[places.clamp(0, _PLACES - 1)]

    def learned(self) -> list[float]:
        """Return the log-odds of the places, from the first to the last that was seen."""
        seen = self.logits.detach().nonzero().flatten().tolist()  # no other has ever had a gradient
        relative = self.logits.detach() - self.logits.detach()[0]
        return relative[: max(seen, default=-1) + 1].tolist()
