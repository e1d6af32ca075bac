import pandas as pd

from bench.next_files import split


def taken(**users: str) -> pd.DataFrame:
    return pd.DataFrame(
        [(user, item) for user, items in users.items() for item in items], columns=["user_id", "item_id"]
    )


def test_a_row_has_what_its_user_took_before_its_target() -> None:
    _, valid, test = split(taken(a="uvwxyz"), targets=2, users=9)
    assert valid.to_dict("list") == {
        "user_id": ["a", "a"], "history": [["u", "v"], ["u", "v", "w"]], "target": ["w", "x"]
    }  # fmt: skip
    assert test.to_dict("list") == {
        "user_id": ["a", "a"], "history": [["u", "v", "w", "x"], ["u", "v", "w", "x", "y"]], "target": ["y", "z"]
    }  # fmt: skip


def test_events_are_all_but_the_targets_of_test() -> None:
    events, valid, test = split(taken(a="uvwxyz", b="uv"), targets=1, users=9)
    assert events[events["user_id"] == "a"]["item_id"].tolist() == list("uvwxy")
    assert events["period"].tolist() == ["train"] * 4 + ["valid"] + ["train"] * 2
    assert events["position"].tolist() == [0, 1, 2, 3, 4, 0, 1]
    assert (valid["target"].tolist(), test["target"].tolist()) == (["y"], ["z"])  # two items are too few for rows


def test_users_without_rows_only_teach() -> None:
    events, valid, test = split(taken(**{f"u{number}": "vwxyz" for number in range(20)}), targets=1, users=5)
    assert len(valid) == len(test) == 5
    assert len(events) == 20 * 5 - 5
    assert set(valid["user_id"]) == set(test["user_id"])
