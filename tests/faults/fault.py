"""What a fault is."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.shop import Outcome, Shops


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong, and what must hold all the same."""

    name: str
    inject: Callable[[Shops], Outcome]
    """Let it happen to a fresh shop."""
