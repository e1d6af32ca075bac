import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.next_rows import Benchmark, Rows, differences, figures, ranks, read_events, read_gains, without_seen

POPULARITY = np.array([2, 0, 1, 3])


def test_a_rank_counts_the_items_that_score_higher() -> None:
    scores = np.array([[0.1, 0.4, 0.3, 0.2], [0.9, 0.4, 0.3, 0.2]], np.float32)
    assert ranks(scores, np.array([2, 0]), POPULARITY).tolist() == [1, 0]


def test_equal_scores_are_ordered_by_popularity() -> None:
    scores = np.array([[0, 0, 0, 1], [-np.inf, 1, -np.inf, -np.inf]], np.float32)
    assert ranks(scores, np.array([0, 3]), POPULARITY).tolist() == [3, 3]


def test_items_of_the_history_go_to_the_end() -> None:
    rows = Rows(["r"], ["a"], [np.array([1, 2])], np.array([0]), 4)
    scores = np.array([[0.1, 0.4, 0.3, 0.2]], np.float32)
    assert without_seen(scores, rows).tolist() == [[np.float32(0.1), -np.inf, -np.inf, np.float32(0.2)]]
    assert scores[0, 1] == np.float32(0.4)


def test_figures_are_hit_rates_and_discounted_gains_of_one_target() -> None:
    found = figures(np.array([0, 2, 20]))
    assert found["HR@1"] == found["NDCG@1"] == pytest.approx(1 / 3)
    assert found["HR@3"] == found["HR@20"] == pytest.approx(2 / 3)
    assert found["NDCG@3"] == found["NDCG@20"] == pytest.approx((1 + 1 / math.log2(4)) / 3)


def test_systems_are_compared_row_by_row_with_the_mean_of_all_seeds(tmp_path: Path) -> None:
    ids = [f"row-{number}" for number in range(200)]
    for seed in (0, 1):  # each finds the targets of every other row first, none of the rest
        gained = {row: float(place % 2 == seed) for place, row in enumerate(ids)}
        (tmp_path / f"{seed}.json").write_text(json.dumps({"ndcg@10_by_row": dict(sorted(gained.items()))}))
    files = [tmp_path / "0.json", tmp_path / "1.json"]
    places = {"same": np.full(200, 2), "worse": np.full(200, 10), "as good": np.array([0, 10] * 100)}
    same, worse, as_good = differences(read_gains(files, ids), places)
    assert (same["difference"], worse["difference"], as_good["difference"]) == pytest.approx((0, 0.5, 0))
    assert worse["low"] == worse["high"] == pytest.approx(0.5)
    assert worse["p"] < 0.01 < 0.5 < as_good["p"]
    with pytest.raises(ValueError, match=r"0.json: has no NDCG@10 of 1 of 201 test rows"):
        read_gains(files, [*ids, "another"])


def test_older_items_of_a_history_count_less() -> None:
    rows = Rows(["r", "s"], ["a", "b"], [np.array([2, 0, 2]), np.array([], np.int64)], np.array([0, 0]), 3)
    assert rows.weights(0.5).toarray().tolist() == [[0.5, 0, 1.25], [0, 0, 0]]


def test_files_are_read_as_places_in_the_catalogue(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pd.DataFrame({"item_id": ["x", "y", "z"]}).to_parquet(tmp_path / "items.parquet")
    pd.DataFrame({
        "user_id": ["b", "a", "a", "a"], "item_id": ["z", "y", "x", "gone"], "position": [0, 1, 0, 2],
        "period": ["valid", "train", "train", "train"],
    }).to_parquet(tmp_path / "events.parquet")  # fmt: skip
    rows = pd.DataFrame({"row_id": ["1", "2"], "user_id": ["a", "b"]})
    late = rows.assign(history=[["x", "y"], ["z"]])
    late.assign(target=["y", "gone"]).to_parquet(tmp_path / "valid.parquet")
    late.assign(target=["z", "x"]).to_parquet(tmp_path / "test.parquet")

    bench = Benchmark.read(tmp_path)

    assert {user: taken.tolist() for user, taken in zip(bench.known.users, bench.known.taken, strict=True)} == {
        "a": [0, 1], "b": [2],
    }  # fmt: skip
    assert bench.learned.counts.tolist() == [1, 1, 0] and bench.known.by_popularity.tolist() == [0, 1, 2]
    assert (bench.valid.users, bench.valid.targets.tolist(), len(bench.test)) == (["a"], [1], 2)
    assert "valid: 1 of 2 rows" in capsys.readouterr().out


def test_no_event_holds_the_answer_of_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last four of b's five events follow b's first row of valid, whatever the file says of the second and last."""
    pd.DataFrame({
        "user_id": ["b", "b", "b", "b", "b", "a"], "item_id": ["x", "y", "y", "x", "z", "x"],
        "position": [0, 1, 2, 3, 4, 0], "period": ["train", "train", "valid", "valid", "train", "train"],
    }).to_parquet(tmp_path / "events.parquet")  # fmt: skip
    rows = {"row_id": ["1", "2"], "user_id": ["b", "b"], "target": ["y", "y"]}
    pd.DataFrame(rows | {"history": [["x", "y"], ["x"]]}).to_parquet(tmp_path / "valid.parquet")
    pd.DataFrame(rows | {"history": [["y", "y", "x"], ["x", "z"]]}).to_parquet(tmp_path / "test.parquet")

    events = read_events(tmp_path)

    assert list(zip(events["user_id"], events["item_id"], events["period"], strict=True)) == [
        ("a", "x", "train"), ("b", "x", "train"), ("b", "y", "valid"), ("b", "y", "valid"), ("b", "x", "valid"),
    ]  # fmt: skip
    said = capsys.readouterr().out
    assert "2 of an earlier period" in said and "1 of an earlier period" in said
