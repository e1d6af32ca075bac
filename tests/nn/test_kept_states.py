from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.nn import kept_states
from llmrec.nn.kept import FINGERPRINT, fingerprints
from llmrec.nn.kept_states import KeptStates

TEXTS = fingerprints([np.array([n, n]) for n in range(6)])
ROOM = 1 << 20


def states(user: int, night: int = 1) -> bytes:
    return bytes([user, night]) * (50 + user)


def night(
    path: Path, read: dict[int, bytes], there: list[int], made_by: str = "model", at_most: int = ROOM
) -> KeptStates:
    """Let one night keep what it read of users, of those who are there; return what the next one opens."""
    own = opened(path, made_by)
    for user, content in read.items():
        own.keep(bytes(TEXTS[user]), content)
    own.save(TEXTS[there], at_most)
    return opened(path, made_by)


def opened(path: Path, made_by: str = "model") -> KeptStates:
    own = KeptStates(path, made_by, ROOM)
    own.load()
    return own


def found(own: KeptStates) -> dict[int, bytes]:
    kept = {user: own.of(bytes(text)) for user, text in enumerate(TEXTS)}
    return {user: content for user, content in kept.items() if content is not None}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sets(st.integers(0, 5)), st.sets(st.integers(0, 5))), max_size=5))
def test_those_who_are_there_are_known_by_what_was_read_of_them_last(
    tmp_path_factory: pytest.TempPathFactory, nights: list[tuple[set[int], set[int]]]
) -> None:
    path, known = tmp_path_factory.mktemp("kept") / "bucket.states", dict[int, bytes]()
    for number, (read, others) in enumerate(nights):
        tonight = {user: states(user, number) for user in read}
        known = {user: content for user, content in known.items() if user in others | read} | tonight
        assert found(night(path, tonight, [*others, *read])) == known
        assert [one.name for one in path.parent.iterdir()] == (["bucket.states"] if known else [])


def test_where_there_is_too_much_those_read_tonight_stay(tmp_path: Path) -> None:
    path = tmp_path / "bucket.states"
    night(path, {user: states(user) for user in range(4)}, [0, 1, 2, 3])
    tonight = {4: states(4, 2), 5: states(5, 2)}
    room = sum(map(len, tonight.values())) + len(states(0)) + 1
    assert found(night(path, tonight, list(range(6)), at_most=room)) == {**tonight, 0: states(0)}
    assert path.stat().st_size < room + 1000  # and where they begin and end
    assert found(night(path, {}, list(range(6)), at_most=0)) == {}
    assert not path.exists()


def test_what_another_model_made_is_not_known(tmp_path: Path) -> None:
    assert found(night(tmp_path / "a", {1: states(1)}, [1])) == {1: states(1)}
    assert found(opened(tmp_path / "a", "another")) == {}


def test_who_is_damaged_is_not_known_and_the_others_are(tmp_path: Path) -> None:
    path = tmp_path / "bucket.states"
    night(path, {user: states(user) for user in range(3)}, [0, 1, 2])
    whole = path.read_bytes()
    place = len(states(0)) + 7
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    assert found(opened(path)) == {0: states(0), 2: states(2)}
    assert found(night(path, {}, [0, 1, 2])) == {0: states(0), 2: states(2)}  # a copy is no better


def test_a_file_that_lost_its_end_or_whose_index_is_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bucket.states"
    night(path, {0: states(0)}, [0])
    whole = path.read_bytes()
    for size in (0, 10, len(states(0)), len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="checksum is another"):
            opened(path)
    for place in range(len(states(0)), len(whole), 13):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ValueError, match="checksum is another"):
            opened(path)


def test_where_nothing_can_be_written_the_night_goes_on_and_is_told_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("in the way")
    own = KeptStates(tmp_path / "folder" / "bucket.states", "model", ROOM)
    own.keep(bytes(TEXTS[0]), states(0))
    own.keep(bytes(TEXTS[1]), states(1))
    with pytest.raises(OSError, match="folder"):
        own.save(TEXTS, ROOM)


def test_what_a_version_that_wrote_otherwise_has_left_is_not_known_and_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bucket.states"
    with monkeypatch.context() as earlier:
        otherwise = [("text", FINGERPRINT), ("start", np.int32), ("end", np.int64), ("checksum", "V8")]
        earlier.setattr(kept_states, "_PLACE", np.dtype(otherwise))
        night(path, {0: states(0)}, [0])
    assert found(opened(path)) == {}
    assert found(night(path, {1: states(1)}, [0, 1])) == {1: states(1)}
