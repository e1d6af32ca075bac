"""Nights in a row, of which each reads what the others have not; the lists are those of one that reads everything."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from llmrec.domain.features import COLUMN
from llmrec.domain.users import User
from llmrec.nn.kept import Kept
from llmrec.nn.kept_states import KeptStates
from llmrec.nn.recommender import Recommender
from llmrec.nn.reuse import Reuse
from tests import tiny

TEXTS = [f"{colour} {thing}" for colour in ("red", "blue", "green", "jade") for thing in ("tea", "cup", "pot", "book")]
USERS = [tiny.user(f"u{number}", [number % 5, 5 + number % 3], "old cat" if number % 2 else "") for number in range(9)]
CHANGED = tiny.user("u3", [3, 8, 9], "old cat")
ROOM = 1 << 30
DISTINCT = len({(tuple(user.liked), user.text) for user in USERS})
READ, SCORED, REUSED = "users encoded", "pairs scored", "pairs reused"


def recommender(
    folder: Path, texts: Sequence[str] = TEXTS, taken: list[int] | None = None, asked: int = 8
) -> Recommender:
    catalogue = tiny.catalogue(folder, list(texts), taken=taken or list(range(len(texts), 0, -1)))
    sizes = tiny.sizes(0, popularity=len(texts), pair_scored=asked)
    return Recommender(
        catalogue=catalogue, scorer=tiny.scorer(), tokens=tiny.tokens(), sizes=sizes, fusion=None,
    )  # fmt: skip


def after(
    one: Recommender, users: Sequence[User], kept: Kept | None, day: int = 1, states: Path | None = None
) -> tuple[Reuse, Kept]:
    """Let ``one`` read what is not kept; the features must be those of reading everything."""
    before = KeptStates(states, one.kind, ROOM) if states else None
    if before:
        before.load()
    reuse = one.reuse(kept, before)
    found, expected = list(one.score(users, reuse)), list(one.score(users))
    for with_reuse, whole in zip(found, expected, strict=True):
        np.testing.assert_array_equal(with_reuse.proposals.items, whole.proposals.items)
        np.testing.assert_allclose(with_reuse.features, whole.features, rtol=0, atol=1e-6)
    if before:
        before.save(reuse.there, ROOM)
    return reuse, reuse.updated(day, earliest=0, at_most=ROOM)


@pytest.fixture
def first(tmp_path: Path) -> tuple[Recommender, Kept]:
    one = recommender(tmp_path / "first")
    reuse, kept = after(one, USERS, None)
    assert reuse.counts == {READ: 9, SCORED: 9 * 10, REUSED: 0}  # two more than asked for of each
    assert (len(kept.users), len(kept.user)) == (DISTINCT, DISTINCT * 10)
    return one, kept


def test_a_night_on_which_nothing_changed_reads_nothing(first: tuple[Recommender, Kept]) -> None:
    one, kept = first
    assert after(one, USERS, kept)[0].counts == {READ: 0, SCORED: 0, REUSED: 9 * 8}


def test_a_user_whose_text_changed_is_read_and_no_other(first: tuple[Recommender, Kept]) -> None:
    one, kept = first
    users = [*USERS[:3], CHANGED, *USERS[4:]]
    reuse, kept = after(one, users, kept)
    assert reuse.counts == {READ: 1, SCORED: 10, REUSED: 8 * 8}
    assert after(one, users, kept)[0].counts == {READ: 0, SCORED: 0, REUSED: 9 * 8}


def asked(one: Recommender, users: Sequence[User], texts: Sequence[str] = TEXTS) -> list[tuple[str, str]]:
    """Return which pairs of user and item text the pair scorer is asked about."""
    return [
        (f"{user.liked} {user.text}", texts[item])
        for user, scored in zip(users, one.score(users), strict=True)
        for item, logit in zip(scored.proposals.items, scored.features[:, COLUMN["pair_logit"]], strict=True)
        if np.isfinite(logit)
    ]


def test_when_counts_move_only_pairs_never_asked_for_are_scored(
    first: tuple[Recommender, Kept], tmp_path: Path
) -> None:
    _, kept = first
    known = set(asked(recommender(tmp_path / "wide", asked=10), USERS))
    moved = recommender(tmp_path / "moved", taken=list(range(1, len(TEXTS) + 1)))
    missing = [pair for pair in asked(moved, USERS) if pair not in known]
    reuse, kept = after(moved, USERS, kept)
    assert 9 < len(missing) < 9 * 8 / 2
    assert reuse.counts[REUSED] == 9 * 8 - len(missing)
    assert reuse.counts[READ] == len({user for user, _ in missing}) > 1
    assert len(missing) < reuse.counts[SCORED] <= reuse.counts[READ] * 10
    assert after(moved, USERS, kept)[0].counts == {READ: 0, SCORED: 0, REUSED: 9 * 8}


def test_whose_states_are_kept_is_not_read_again_for_new_pairs(tmp_path: Path) -> None:
    states = tmp_path / "bucket.states"
    _, kept = after(recommender(tmp_path / "first"), USERS, None, states=states)
    moved = recommender(tmp_path / "moved", taken=list(range(1, len(TEXTS) + 1)))
    without, _ = after(moved, USERS, kept)
    users = [*USERS[:3], CHANGED, *USERS[4:]]
    reuse, kept = after(moved, users, kept, states=states)
    assert (reuse.counts[READ], without.counts[READ] > 1) == (1, True)
    assert reuse.counts[SCORED] >= without.counts[SCORED] > 9
    # What was kept of the others is still there after a night that did not read them.
    again = recommender(tmp_path / "again", [*reversed(TEXTS)], asked=14)
    users = [tiny.user(user.user_id, [15 - item for item in user.liked], user.text) for user in users]
    reuse, _ = after(again, users, kept, states=states)
    assert reuse.counts[READ] == 0 < reuse.counts[SCORED]


def test_an_item_whose_text_changed_is_scored_again(first: tuple[Recommender, Kept], tmp_path: Path) -> None:
    _, kept = first
    texts = [TEXTS[0], "fresh leafy song", *TEXTS[2:]]
    changed = recommender(tmp_path / "changed", texts)
    reuse, _ = after(changed, USERS, kept)
    missing = [pair for pair in asked(changed, USERS, texts) if pair[1] == "fresh leafy song"]
    assert 0 < len(missing) <= 9 * 8 - reuse.counts[REUSED]
    assert reuse.counts[REUSED] > 9 * 4


def test_items_are_known_by_their_texts_wherever_they_stand(first: tuple[Recommender, Kept], tmp_path: Path) -> None:
    _, kept = first
    taken = [*range(1, len(TEXTS) + 1), 0]
    turned = recommender(tmp_path / "turned", [*reversed(TEXTS), "new dog"], taken=taken)
    users = [tiny.user(user.user_id, [15 - item for item in user.liked], user.text) for user in USERS]
    reuse, _ = after(turned, users, kept)
    assert reuse.counts[REUSED] > 9 * 6


def test_users_with_few_candidates_or_none_are_no_exception(tmp_path: Path) -> None:
    one = recommender(tmp_path / "few", TEXTS[:4])
    users = [tiny.user("all", [0, 1, 2, 3]), tiny.user("one", [0, 1, 2]), tiny.user("nobody")]
    reuse, kept = after(one, users, None)
    assert reuse.counts[READ] == 3
    assert after(one, users, kept)[0].counts == {READ: 0, SCORED: 0, REUSED: 1 + 4}
    assert len(after(one, [], kept)[1].users) == 3


def test_where_no_pair_is_read_vectors_are_reused(tmp_path: Path) -> None:
    one = recommender(tmp_path / "none", asked=0)
    reuse, kept = after(one, USERS, None)
    assert reuse.counts == {READ: 9, SCORED: 0, REUSED: 0}
    assert after(one, USERS, kept)[0].counts == {READ: 0, SCORED: 0, REUSED: 0}


def test_kept_logits_reach_the_features(first: tuple[Recommender, Kept]) -> None:
    one, kept = first
    kept.outputs[:] += 1
    plain, moved = next(one.score(USERS)), next(one.score(USERS, one.reuse(kept)))
    logit = COLUMN["pair_logit"]
    np.testing.assert_allclose(moved.features[:, logit], plain.features[:, logit] + 1, atol=1e-5)


def test_however_many_are_read_at_once_what_is_known_is_the_same(
    first: tuple[Recommender, Kept], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmrec.nn.recommender._USERS_AT_ONCE", {"cpu": 2})
    monkeypatch.setattr("llmrec.nn.recommender._KNOWN", 3)
    one, expected = first
    _, kept = after(one, USERS, None, states=tmp_path / "states")
    for found, known in ((kept.users, expected.users), (kept.item, expected.item)):
        np.testing.assert_array_equal(found, known)
    # Five items have other texts, so everybody is needed for new pairs; and every third user is another.
    other = recommender(tmp_path / "other", [*TEXTS[:-5], *(f"new {text}" for text in TEXTS[-5:])])
    users = [CHANGED if number % 3 == 0 else user for number, user in enumerate(USERS)]
    reuse, _ = after(other, users, kept, states=tmp_path / "states")
    assert reuse.counts[READ] == 3
    assert after(other, users, kept)[0].counts[READ] > 4  # without states, those too who are needed for new pairs
