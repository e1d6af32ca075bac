from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.nn.kept import Kept, fingerprints, gather

WIDTH = 3
TEXTS = fingerprints([np.array([n, n]) for n in range(6)])
PAIRS = st.dictionaries(st.tuples(st.integers(0, 5), st.integers(0, 5)), st.integers(0, 99), max_size=12)


def night(day: int, pairs: dict[tuple[int, int], int], users: list[int]) -> Kept:
    """What a night leaves that asked for ``pairs`` of ``users``: a user's vector says who it is and when."""
    there = [*users, *(user for user, _ in pairs)]
    return gather(
        users=TEXTS[there], vectors=np.array([[user, day, 1] for user in there], np.float32).reshape(-1, WIDTH),
        user_days=np.full(len(there), day, np.int32), items=TEXTS,
        user=np.arange(len(users), len(there)), item=np.array([item for _, item in pairs], np.int64),
        outputs=np.array([*pairs.values()], np.float32)[:, None], pair_days=np.full(len(pairs), day, np.int32),
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(PAIRS, st.lists(st.integers(0, 5), max_size=3)), max_size=6), st.integers(1, 4))
def test_look_ups_find_what_a_dictionary_would_and_nothing_older_than_allowed(
    nights: list[tuple[dict[tuple[int, int], int], list[int]]], days: int
) -> None:
    kept = Kept.nothing(WIDTH, 1)
    pairs: dict[tuple[int, int], tuple[int, int]] = {}
    users: dict[int, int] = {}
    for day, (asked, there) in enumerate(nights):
        kept = kept.updated(night(day, asked, there), earliest=day - days, at_most=1 << 30)
        pairs |= {pair: (value, day) for pair, value in asked.items()}
        users |= dict.fromkeys([*there, *(user for user, _ in asked)], day)
        pairs = {pair: said for pair, said in pairs.items() if said[1] >= day - days}
        users = {user: last for user, last in users.items() if last >= day - days}
        everyone = kept.find_users(TEXTS)
        for user, place in enumerate(everyone):
            assert (place >= 0) == (user in users)
            if place >= 0:
                assert kept.vectors[place].tolist() == [user, users[user], 1]
        grid = np.repeat(np.arange(6), 6), np.tile(np.arange(6), 6)
        found = kept.find_pairs(everyone[grid[0]], kept.find_items(TEXTS)[grid[1]])
        said = {pair: kept.outputs[at, 0] for pair, at in zip(zip(*grid, strict=True), found, strict=True) if at >= 0}
        assert said == {pair: value for pair, (value, _) in pairs.items()}
        assert len(kept.user) == len(pairs)


def test_who_was_not_there_for_longest_goes_first_when_there_is_too_much() -> None:
    kept = Kept.nothing(WIDTH, 1)
    for day, user in enumerate((4, 1, 3)):
        tonight = night(day, {(user, item): item for item in range(6)}, [])
        kept = kept.updated(tonight, earliest=0, at_most=1 << 30)
    size = sum(getattr(kept, name).nbytes for name in ("users", "vectors", "user_days", "items", "user", "item"))
    size += kept.outputs.nbytes + kept.pair_days.nbytes
    less = kept.updated(night(2, {}, []), earliest=0, at_most=size - 1)
    assert (less.find_users(TEXTS) >= 0).tolist() == [False, True, False, True, False, False]
    assert len(less.user) == 12
    assert len(kept.updated(night(2, {}, []), earliest=0, at_most=size).user) == 18
    assert len(kept.updated(night(2, {}, []), earliest=0, at_most=0).users) == 0


def test_what_is_saved_is_read_again_by_who_made_it_alone(tmp_path: Path) -> None:
    kept = night(3, {(1, 2): 7, (0, 5): 9}, [4])
    kept.save(tmp_path / "bucket", "model a")
    again = Kept.load(tmp_path / "bucket", "model a")
    assert again is not None
    for name, array in vars(kept).items():
        np.testing.assert_array_equal(getattr(again, name), array)
    assert Kept.load(tmp_path / "bucket", "model b") is None
    assert Kept.load(tmp_path / "nowhere", "model a") is None
    assert [path.name for path in tmp_path.iterdir()] == ["bucket"]


def test_whatever_byte_is_damaged_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bucket"
    night(3, {(1, 2): 7}, []).save(path, "model")
    whole = path.read_bytes()
    for place in range(0, len(whole), 13):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ValueError, match="checksum is another"):
            Kept.load(path, "model")
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="checksum is another"):
            Kept.load(path, "model")
