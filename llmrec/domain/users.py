"""What the model is told about one user."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Items = npt.NDArray[np.int32]
"""Item indexes of the catalogue."""


@dataclass(frozen=True)
class User:
    """One user at one moment; all items are indexes, oldest first."""

    user_id: str
    liked: Items
    """Items of liking events, the latest."""
    recent: Items
    """Items of any events, the latest."""
    seen: Items
    """All items of any events."""
    excluded: Items
    """Those of ``seen`` that are not recommended again."""
    text: str = ""
    """What stands before the history: profile, attributes, scene."""
    supplied: dict[int, float] = field(default_factory=dict)
    """Score by item of the user-supplied candidates."""
    segment: str = ""
    """Which users are like this one, by the users table; empty if that does not say."""
    idle_days: float = math.nan
    """Days since the last event; NaN without one."""
    words: Mapping[int, str] = field(default_factory=dict, repr=False)
    """What the user wrote, by liked item; private, so never shown."""

    def words_on(self, items: Items) -> list[str]:
        """Return what the user wrote on each of ``items``, "" for nothing; an empty list if on none at all."""
        return [self.words.get(int(item), "") for item in items] if self.words else []

    @property
    def without_history(self) -> bool:
        """Tell whether there is nothing to go by but the profile."""
        return not len(self.recent)


def shown_as_new(user_id: str) -> bool:
    """Tell whether a user is in the fixed tenth, chosen by a hash of the id, that the ranker is shown as new users."""
    return hashlib.sha256(user_id.encode()).digest()[0] < 26


def forget_history(user: User) -> User:
    """Return the same user as if new; what the ranker learns new users from.

    What was seen stays out of the candidates: the user did not take it again, which says nothing of new users.
    """
    nothing = np.zeros(0, np.int32)
    return User(user.user_id, nothing, nothing, user.seen, user.seen, user.text, user.supplied, user.segment)
