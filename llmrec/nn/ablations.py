"""The pipeline without one of its signals, to tell what that is worth: fewer candidates, and a ranker of its own."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmrec import columns as C
from llmrec.domain.features import BERT, COLLABORATIVE, FEATURES, PAIR_SCORER
from llmrec.nn.catalogue import RELATIONS, Floats
from llmrec.nn.sources import SOURCES

_SIGNAL = {C.DENSE: BERT, C.SIMILAR: BERT, C.SEQUENTIAL: BERT, **dict.fromkeys((*RELATIONS, C.ALS), COLLABORATIVE)}
"""What a source goes by; the others go by none of the signals that can be taken away."""


@dataclass(frozen=True)
class Ablation:
    """Some signals that are taken away, features and candidates alike."""

    name: str
    signals: frozenset[str]

    def candidates(self, sources: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Return which pairs (P,) the other sources propose too; ``sources`` (P, len(SOURCES)) as in `Proposals`."""
        left = [_SIGNAL.get(source) not in self.signals for source in SOURCES]
        return np.asarray(sources[:, left].any(axis=1))

    def features(self, features: Floats) -> Floats:
        """Return ``features`` (P, F) with those of the signals the same for all pairs."""
        return np.where(self._gone, np.float32(0), features)

    def takes_away(self, features: Floats, sources: npt.NDArray[np.bool_]) -> bool:
        """Tell whether any of ``features`` (P, F) that go tells pairs apart, or any candidate goes."""
        gone = features[:, self._gone]
        alike = (gone == gone[:1]) | np.isnan(gone)
        return not (alike.all() and self.candidates(sources).all())

    @property
    def _gone(self) -> list[bool]:
        return [feature.signal in self.signals for feature in FEATURES]


ABLATIONS = (
    Ablation("without-bert", frozenset({BERT, PAIR_SCORER})),
    Ablation("without-pair-scorer", frozenset({PAIR_SCORER})),
    Ablation("without-collaborative", frozenset({COLLABORATIVE})),
)
