from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from llmrec import columns as C
from llmrec.nn.judging import BINS, LLMREC, SYSTEMS
from llmrec.pipelines.evaluate import measure
from llmrec.settings.config import Config
from tests import tiny


def judged(
    lists: dict[str, list[int]], targets: list[int], new_user: bool = False, recall: float = 1.0
) -> pd.DataFrame:
    """One user, whom every system gives ``lists``, nothing where it has none."""
    systems = [{"system": name, "items": np.array(lists.get(name, []), int), "auc": None} for name in SYSTEMS]
    bins = {name: [np.full(BINS, 1.0)] for name in ("pairs", "predicted", "liked")}
    found = [{"source": "union", "recall": recall}]
    return pd.DataFrame(
        {
            C.USER: ["u"],
            "new_user": [new_user],
            "targets": [np.array(targets)],
            "lists": [systems],
            "found": [found],
            **bins,
        }
    )


def test_a_source_that_is_switched_off_has_no_row_and_no_difference(tmp_path: Path) -> None:
    catalogue = tiny.catalogue(tmp_path / "catalogue", ["red tea", "blue cup", "red pot"])
    rows = measure(judged({LLMREC: [1, 0], C.POPULARITY: [0, 1]}, [1]), catalogue, {}, Config())
    assert {row.system for row in rows if row.metric == "NDCG"} == {LLMREC, C.POPULARITY}
    assert {row.system for row in rows if row.metric == "NDCG difference"} == {C.POPULARITY}
    [ndcg] = [row.value for row in rows if (row.system, row.metric, row.k) == (LLMREC, "NDCG", 5)]
    assert ndcg == 1


def test_users_without_history_and_items_without_events_are_judged_apart(tmp_path: Path) -> None:
    catalogue = tiny.catalogue(tmp_path / "catalogue", ["red tea", "blue cup", "red pot"], taken=[3, 2, 0])

    def figures(new_user: bool, targets: list[int]) -> dict[tuple[str, str], float]:
        rows = measure(judged({LLMREC: [0, 2], C.POPULARITY: [0, 1]}, targets, new_user), catalogue, {}, Config())
        return {(r.system, r.segment): r.value for r in rows if (r.metric, r.k) == ("NDCG", 5) and r.segment != "all"}

    assert figures(new_user=False, targets=[0, 1]) == {}
    of_new = figures(new_user=True, targets=[0])
    assert of_new == {(LLMREC, "new users"): 1, (C.POPULARITY, "new users"): 1}
    # Item 0 is no new one, so its hit does not count; item 2 stands second.
    of_new = figures(new_user=False, targets=[0, 2])
    assert of_new == {(LLMREC, "new items"): pytest.approx(1 / np.log2(3)), (C.POPULARITY, "new items"): 0}


def test_what_llmrec_loses_without_a_signal_is_measured(tmp_path: Path) -> None:
    catalogue = tiny.catalogue(tmp_path / "catalogue", ["red tea", "blue cup"])
    rows = measure(judged({LLMREC: [1, 0], "without-bert": [0, 1]}, [1]), catalogue, {}, Config())
    [gain] = [r.value for r in rows if (r.system, r.metric, r.k) == ("without-bert", "NDCG difference", 5)]
    assert gain == pytest.approx(1 - 1 / np.log2(3))


def test_recall_is_the_mean_over_users(tmp_path: Path) -> None:
    catalogue = tiny.catalogue(tmp_path / "catalogue", ["red tea", "blue cup"])
    users = pd.concat([judged({LLMREC: [0, 1]}, [1], recall=recall) for recall in (0.5, 0, 1)])
    [row] = [row for row in measure(users, catalogue, {}, Config()) if row.metric == "candidate recall"]
    assert (row.segment, row.value, row.users) == ("union", 0.5, 3)
