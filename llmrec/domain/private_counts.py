"""Counts of users with noise, so that no count tells whether one user is in it (differential privacy).

The Laplace mechanism of Dwork, McSherry, Nissim and Smith (2006): one user changes one count by one, so noise of scale
1 / epsilon makes any outcome at most exp(epsilon) times likelier with the user than without. The noise follows from a
secret key and from what is counted: a page that is written again has the same noise, so that many pages do not average
it away; and a count that changed has other noise, so that the difference of two pages does not show the change.
"""

import hashlib
import hmac
import json
import math
from dataclasses import dataclass
from datetime import date

_RANGE = 2**64


@dataclass(frozen=True)
class PrivateCounts:
    """Adds noise to the counts of one run date."""

    epsilon: float
    """The smaller, the more noise; each partition of the users that is counted spends it once."""
    key: bytes
    day: date

    def noise(self, what: str, count: int) -> float:
        """Return the noise of a count: Laplace with mean 0 and scale 1 / epsilon, for whoever lacks the key."""
        named = json.dumps(["noise", self.epsilon, self.day.isoformat(), what, count])
        digest = hmac.new(self.key, named.encode(), hashlib.sha256).digest()
        even = (int.from_bytes(digest[:8], "big") + 0.5) / _RANGE - 0.5
        return -math.copysign(math.log1p(-2 * abs(even)), even) / self.epsilon

    def __call__(self, what: str, count: int) -> int:
        """Return ``count`` of ``what`` with noise, a whole number and not negative.

        Whole numbers also hide what the last bits of a noisy count would tell (Mironov, 2012).
        """
        return max(0, round(count + self.noise(what, count)))
