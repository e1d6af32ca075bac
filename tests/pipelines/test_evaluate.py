from pathlib import Path

import numpy as np
import pandas as pd

from llmrec import columns as C
from llmrec.config import Config
from llmrec.nn.judging import BINS, LLMREC, SYSTEMS
from llmrec.pipelines.evaluate import measure
from tests import tiny


def judged(lists: dict[str, list[int]], targets: list[int]) -> pd.DataFrame:
    """One user, whom every system gives ``lists``, nothing where it has none."""
    systems = [{"system": name, "items": np.array(lists.get(name, []), int), "auc": None} for name in SYSTEMS]
    bins = {name: [np.full(BINS, 1.0)] for name in ("pairs", "predicted", "liked")}
    found = [{"source": "union", "recall": 1.0}]
    return pd.DataFrame({C.USER: ["u"], "targets": [np.array(targets)], "lists": [systems], "found": [found], **bins})


def test_a_source_that_is_switched_off_has_no_row_and_no_difference(tmp_path: Path) -> None:
    catalogue = tiny.catalogue(tmp_path / "catalogue", ["red tea", "blue cup", "red pot"])
    rows = measure(judged({LLMREC: [1, 0], C.POPULARITY: [0, 1]}, [1]), catalogue, {}, Config())
    assert {row.system for row in rows if row.metric == "NDCG"} == {LLMREC, C.POPULARITY}
    assert {row.system for row in rows if row.metric == "NDCG difference"} == {C.POPULARITY}
    [ndcg] = [row.value for row in rows if (row.system, row.metric, row.k) == (LLMREC, "NDCG", 5)]
    assert ndcg == 1
