"""Places that are full or cannot be written while a night is at work."""

from functools import partial

from tests.faults.fault import Fault
from tests.faults.own_mounts import LAUNCHER
from tests.faults.processes import Started, command
from tests.faults.shop import Outcome, Shops


def disturb(shops: Shops, kind: str, folder: str, line: str, says: str) -> Outcome:
    """Run a night with ``folder`` full from ``line`` on, or read-only; then one when the folder is as ever."""
    shop, outcome = shops.fresh(), Outcome()
    (shop.folder / folder).mkdir(exist_ok=True)
    ended = Started([*LAUNCHER, kind, f"{shop.folder}/{folder}", line, *command("score", shop.arguments())]).end()
    outcome.expect(ended.code == 2, f"the run ended with {ended.code}, expected 2: {ended.said[-1500:]}")
    last = ended.said.rstrip().rpartition("\n")[2]
    outcome.expect(says in last, f"the last line is {last!r}, expected {says!r} in it")
    shops.untouched(shop, outcome)
    shops.after_rerun(shop, outcome)
    return outcome


FAULTS = [
    Fault(name, partial(disturb, kind=kind, folder=folder, line=line, says=says))
    for name, kind, folder, line, says in (
        ("disk full for the catalogue", "full", "work", "[score] catalogue ...", "a file cannot be written ("),
        ("disk full in staging", "full", "work", "[score] scores ...", "No space left"),
        ("disk full in publish", "full", "lake", "[score] publish ...", "No space left"),
        ("a read-only folder for staging", "read-only", "work", "", "Read-only"),
        ("a read-only folder for tables", "read-only", "lake", "", "recommendations: cannot be written ("),
    )
]
