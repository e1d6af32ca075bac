"""What nights survive: each fault of tests/faults happens to a night, and what is there after a rerun is counted.

    source .venv/java.env && .venv/bin/python -m bench.faults [--only WORDS] [--json FILE]

Processes are killed, disks fill up, tables, logs and models are damaged, sources and clocks change while a job is at
work, 10,000 wrong rows are mixed into good ones, events pile up on one user and one item, thirty nights pass. "lost"
and "doubled" are rows by which the tables differ from those of a run that nothing disturbed. What each fault is, and
what must hold, stands in tests/faults.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.output import arguments, save, show
from llmrec.spark.session import start_session
from tests.faults import bad_rows, changes, damage, kills, overlaps, places, skew, soak
from tests.faults.own_mounts import can_mount
from tests.faults.shop import SESSION, Outcome, Shop, Shops

sys.path.insert(0, "jobs")


def main() -> int:
    """Let all faults happen, print, save."""
    parser = arguments(__doc__)
    parser.add_argument("--only", default="", metavar="WORDS", help="faults that have these words in their names")
    args = parser.parse_args()
    os.environ.setdefault("PYSPARK_SUBMIT_ARGS", "--driver-memory 3g pyspark-shell")  # it is too late in a session
    found, left_out = _faults(args.quick)
    chosen = [(name, inject) for name, inject in found if args.only in name]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        shops = Shops(Shop(start_session("bench", SESSION), Path(folder, "first")), Path(folder))
        for name, inject in chosen:
            begun = time.monotonic()
            outcome = inject(shops)
            rows.append(_row(name, outcome, time.monotonic() - begun))
            print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
            for problem in outcome.problems:
                print(f"{name}: {problem}", flush=True)
    show(f"{len(rows)} faults", rows)
    survived = sum(row["survived"] == "yes" for row in rows)
    lost, doubled = (sum(int(str(row[name])) for row in rows) for name in ("lost", "doubled"))
    print(f"injected {len(rows)}, survived {survived}, lost rows {lost}, doubled rows {doubled}")
    if left_out:
        print(f"not injected, as this machine cannot: {', '.join(left_out)}")
    figures = {"injected": len(rows), "survived": survived, "lost_rows": lost, "doubled_rows": doubled}
    save(args.json, {**figures, "left_out": left_out, "faults": rows})
    return int(survived < len(rows))


def _faults(quick: bool) -> tuple[list[tuple[str, Callable[[Shops], Outcome]]], list[str]]:
    """All that this machine can do, and the names of the others; ``quick``: those that need no process of their own."""
    if quick:
        return [(fault.name, fault.inject) for fault in (*damage.FAULTS, *bad_rows.FAULTS)], []
    found = [
        *kills.FAULTS,
        *damage.FAULTS,
        *changes.FAULTS,
        *overlaps.FAULTS,
        *bad_rows.FAULTS,
        *places.FAULTS,
        *skew.FAULTS,
        *soak.FAULTS,
    ]
    needs_mounts = [] if can_mount() else places.FAULTS
    needs_compiler = [] if shutil.which("cc") else [*soak.FAULTS, *(one for one in found if "clock" in one.name)]
    left_out = {fault.name for fault in (*needs_mounts, *needs_compiler)}
    return [(one.name, one.inject) for one in found if one.name not in left_out], sorted(left_out)


def _row(name: str, outcome: Outcome, seconds: float) -> dict[str, object]:
    return {
        "fault": name,
        "survived": "yes" if outcome.survived else "NO",
        "lost": outcome.lost_rows,
        "doubled": outcome.doubled_rows,
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
