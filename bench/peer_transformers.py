"""RecTools' transformers as peers of bench.peers."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools.models.nn.item_net import IdEmbeddingsItemNet
from rectools.models.nn.transformers.ligr import LiGRLayers

from bench.next_rows import KS, Events, Integers, Rows, Scores
from bench.peer_tuning import Grid, Judge, Scorer, Setting, settings

SASREC: Setting = {"loss": "softmax", "n_blocks": 1, "n_heads": 2}
ESASREC: Setting = {
    "loss": "sampled_softmax", "n_negatives": 256, "n_blocks": 1, "n_heads": 2, "batch_size": 32,
    "transformer_layers_type": LiGRLayers, "use_key_padding_mask": True,
}  # fmt: skip
"""SASRec's training objective, LiGR layers, sampled softmax: eSASRec as RecTools describes it (arXiv 2508.06450).

Its authors' 256 negatives; smaller batches than RecTools' 128 and faster rates in the grid: few users give few steps.
"""
MAX_EPOCHS, EPOCHS_A_STEP, PATIENCE = 60, 5, 3
"""Models are judged every few epochs and stop after so many steps without a gain."""

for _name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
    logging.getLogger(_name).setLevel(logging.ERROR)


@dataclass(frozen=True)
class Transformer:
    """RecTools' SASRec: a row's history is the interactions of a user that the model has not seen.

    The grid has no number of epochs: a model is judged as it learns.
    """

    name: str
    grid: Grid
    fixed: Setting
    seed: int
    epochs: int = MAX_EPOCHS

    def tune(self, events: Events, judge: Judge) -> None:
        """Learn with each setting of the grid until the validation rows gain nothing more."""
        data = _interactions(events.taken)
        for setting in settings(self.grid):
            model, best, waited = self._model(events, setting), 0.0, 0
            for done in range(EPOCHS_A_STEP, self.epochs + 1, EPOCHS_A_STEP):
                model.fit_partial(data, min_epochs=EPOCHS_A_STEP, max_epochs=EPOCHS_A_STEP)
                reached = judge({**setting, "epochs": done}, partial(_ask, model))
                best, waited = max(best, reached), 0 if reached > best else waited + 1
                if waited == PATIENCE:
                    break

    def fit(self, events: Events, setting: Setting) -> Scorer:
        """Learn with one setting, for its number of epochs."""
        model = self._model(events, setting)
        model.fit_partial(_interactions(events.taken), min_epochs=setting["epochs"], max_epochs=setting["epochs"])
        return partial(_ask, model)

    def _model(self, events: Events, setting: Setting) -> SASRecModel:
        torch.manual_seed(self.seed)
        chosen = {name: value for name, value in setting.items() if name != "epochs"}
        longest = min(50, max(len(one) for one in events.taken))
        return SASRecModel(**self.fixed, **chosen, session_max_len=longest, item_net_block_types=(IdEmbeddingsItemNet,))


def _ask(model: SASRecModel, rows: Rows) -> Scores:
    """Score by places in the list that RecTools gives, as long as may be needed when seen items are left out."""
    count = max(KS) + max((len(one) for one in rows.histories), default=0)
    scores = np.full((len(rows), rows.size), -np.inf, np.float32)
    asked = [row for row, history in enumerate(rows.histories) if len(history)]
    lists = model.recommend(
        asked, _interactions(rows.histories), k=count, filter_viewed=False, on_unsupported_targets="ignore"
    )
    scores[lists[Columns.User], lists[Columns.Item]] = -lists[Columns.Rank]
    return scores


def _interactions(lists: Sequence[Integers]) -> Dataset:
    """Make RecTools' data set; an item's time is its place in the list."""
    places = np.concatenate([np.arange(len(one)) for one in lists])
    return Dataset.construct(pd.DataFrame({
        Columns.User: np.repeat(np.arange(len(lists)), [len(one) for one in lists]),
        Columns.Item: np.concatenate(lists), Columns.Weight: 1.0, Columns.Datetime: pd.to_datetime(places, unit="s"),
    }))  # fmt: skip
