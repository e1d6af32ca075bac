from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.click_lists import Lists, measure, place_in_scores


def write(folder: Path) -> None:
    """Four users with five lists of three items each; the first position is clicked in all but each user's last."""
    pd.DataFrame({"item_id": list("abcdef"), "title": list("ABCDEF"), "text": None}).to_parquet(
        folder / "items.parquet"
    )
    rows = [
        (
            f"r{user}{number}",
            f"u{user}",
            item,
            place,
            int(place == (0 if number < 4 else 2)),
            "a gone b" if user else "",
        )
        for user in range(4)
        for number in range(5)
        for place, item in enumerate("cde")
    ]
    names = ["impression_id", "user_id", "item_id", "position", "clicked", "history"]
    pd.DataFrame(rows, columns=names).to_parquet(folder / "impressions.parquet")


def test_of_each_users_lists_one_is_for_test_and_one_for_validation(tmp_path: Path) -> None:
    write(tmp_path)
    lists = Lists.read(tmp_path, seed=1)
    dealt = lists.shown.drop_duplicates("request").groupby(["user", "part"]).size().unstack()
    assert dealt.to_dict("list") == {"test": [1] * 4, "train": [3] * 4, "valid": [1] * 4}
    assert [one.tolist() for one in lists.histories] == [[], [0, 1], [0, 1], [0, 1]]
    same, other = (Lists.read(tmp_path, seed).part("test")["request"].tolist() for seed in (1, 2))
    assert same == lists.part("test")["request"].tolist() != other


def test_counts_are_of_what_was_learned_from_alone(tmp_path: Path) -> None:
    write(tmp_path)
    lists = Lists.read(tmp_path, seed=1)
    lists.shown.loc[lists.shown["part"] != "train", "clicked"] = True
    train, rows = lists.part("train"), pd.DataFrame({"item": [2, 3, 5], "position": [0, 1, 7]})
    first = train.loc[train["position"] == 0, "clicked"].mean()
    found = lists.counts(rows)
    assert found["position"] == pytest.approx([first, 0, 1 / 3])
    assert found["clicks of the item"] == pytest.approx([(first * 12 + 5 / 3) / 17, 5 / 3 / 17, 1 / 3])
    # Item c has no more clicks than its position brings.
    assert found["the same, over those due to positions"][0] == pytest.approx(1)


def test_lists_are_measured_one_by_one_and_those_without_a_choice_left_out() -> None:
    rows = pd.DataFrame({
        "request": ["x"] * 3 + ["y"] * 2 + ["z"] * 2, "item": [1, 2, 3, 1, 2, 1, 2],
        "clicked": [False, True, False, True, True, False, False],
    })  # fmt: skip
    found = measure(rows, np.array([3.0, 2, 1, 0, 0, 0, 0]), np.random.default_rng(0))
    assert found.index.tolist() == ["x"]
    gain = 1 / np.log2(3)
    assert found.loc["x"].tolist() == pytest.approx([0.5, 0.5, gain, gain])


def test_equal_scores_are_ordered_by_chance_not_by_position() -> None:
    rows = pd.DataFrame(
        {"request": np.repeat(np.arange(2000), 2), "item": [1, 2] * 2000, "clicked": [True, False] * 2000}
    )
    assert measure(rows, np.zeros(4000), np.random.default_rng(0))["AUC"].mean() == pytest.approx(0.5, abs=0.05)


def test_the_place_in_scores_is_that_of_the_upper_half() -> None:
    rows = pd.DataFrame({"request": ["x"] * 4 + ["y"] * 4, "position": [0, 1, 2, 3] * 2})
    assert place_in_scores(rows, np.array([1.0, 1, 0, 0, 3, 3, 2, 2])) == pytest.approx(
        1 / np.std([0.5, -0.5] * 4, ddof=1)
    )
    assert place_in_scores(rows, np.array([1.0, 0, 1, 0] * 2)) == 0
