import numpy as np
import pytest

from llmrec.domain.users import User, forget_history, shown_as_new


def some_user() -> User:
    items = np.array([4, 2], np.int32)
    return User("u", items[:1], items, seen=items, excluded=items[:0], text="likes tea", supplied={7: 0.5})


def test_a_user_without_events_has_no_history_even_with_a_profile() -> None:
    assert not some_user().without_history
    assert forget_history(some_user()).without_history


def test_a_user_who_only_saw_items_has_a_history() -> None:
    nothing, items = np.zeros(0, np.int32), np.array([4], np.int32)
    assert not User("u", liked=nothing, recent=items, seen=items, excluded=items).without_history


def test_forgetting_keeps_all_but_likes_and_recent_events_and_leaves_the_user_alone() -> None:
    before = some_user()
    after = forget_history(before)
    assert (after.user_id, after.text, after.supplied) == ("u", "likes tea", {7: 0.5})
    assert [items.tolist() for items in (after.liked, after.recent)] == [[], []]
    assert [items.tolist() for items in (after.seen, after.excluded)] == [[4, 2], [4, 2]]
    assert before.recent.tolist() == [4, 2]


def test_about_a_tenth_is_shown_as_new_always_the_same_tenth() -> None:
    chosen = {user for user in range(4000) if shown_as_new(f"user-{user}")}
    assert len(chosen) / 4000 == pytest.approx(0.1, abs=0.02)
    assert sorted(chosen)[:3] == [user for user in range(60) if shown_as_new(f"user-{user}")][:3]
    assert shown_as_new("Zoë") == shown_as_new("Zoë")
