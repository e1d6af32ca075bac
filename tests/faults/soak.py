"""Nights in a row, a day apart by the clock of all processes: events arrive, users and items come and go.

python -m tests.faults.soak FOLDER NIGHTS
"""

import importlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psutil

from llmrec.spark.session import start_session
from tests import planted
from tests.faults.changes import set_clock, with_clock
from tests.faults.fault import Fault
from tests.faults.lists import check_lists
from tests.faults.processes import Started
from tests.faults.shop import SESSION, Outcome, Shop, Shops

NIGHTS = 30
_WINDOW, _KEPT, _STAYS, _MAINTAINED = 20, 7, 5, 3
"""Days: what the source of events holds, what the tables keep, how long an item is there, how often maintain runs."""
_LEVEL = 1.25
"""A size of the last week may be so many times the largest of the week before."""
_MARK = "night: "


def many_nights(shops: Shops, nights: int = NIGHTS) -> Outcome:
    """Run them in one process, so that memory that is not given back adds up."""
    shop, outcome = shops.fresh(), Outcome()
    command = [sys.executable, "-m", "tests.faults.soak", str(shop.folder), str(nights)]
    ended = Started(command, with_clock(shop.folder), patience=120 * nights).end()
    found = [json.loads(line.removeprefix(_MARK)) for line in ended.said.splitlines() if line.startswith(_MARK)]
    said = "\n".join(line for line in ended.said.splitlines() if not line.startswith("\tat "))
    outcome.expect(len(found) == nights, f"{len(found)} nights of {nights}: {said[-2000:]}")
    for night in found:
        outcome.problems += [f"{night['night']}: {problem}" for problem in night["problems"]]
        outcome.lost_rows += night["lost_rows"]
        outcome.doubled_rows += night["doubled_rows"]
    if len(found) == nights >= 3 * _KEPT:
        for what in found[0]["sizes"]:
            before, last = (
                max(night["sizes"][what] for night in some) for some in (found[-2 * _KEPT : -_KEPT], found[-_KEPT:])
            )
            outcome.expect(last <= _LEVEL * before, f"{what}: {last:,} in the last week, {before:,} in the one before")
    return outcome


def main(place: str, nights: str) -> None:
    """Run the nights; print of each what did not hold, and sizes."""
    folder = Path(place)
    # Else Spark logs at length that its executor was silent for the day by which the clock jumps.
    shop = Shop(start_session("soak", {**SESSION, "spark.network.timeout": "10d"}), folder)
    for number in range(int(nights)):
        day = date.fromisoformat(planted.RUN_DATE) + timedelta(days=number)
        set_clock(folder, number * 24 * 3600)
        _write_sources(folder, day)
        outcome = Outcome()
        for job in ("prepare", "score", *(["maintain"] if number % _MAINTAINED == 0 else [])):
            ended = shop.run(job, f"maintain.keep_days={_KEPT}", day=day.isoformat())
            outcome.expect(ended.code == 0, f"{job} ended with {ended.code}: {ended.said[-400:]}")
        _check(shop, day, outcome)
        print(_MARK + json.dumps({"night": str(day), "sizes": _sizes(folder), **asdict(outcome)}), flush=True)


def _write_sources(folder: Path, day: date) -> None:
    """Write the events of the last days, and the items of ``day``."""
    lines = ["who,what,how,at"]
    for back in range(_WINDOW, 0, -1):
        when = day - timedelta(days=back)
        lines += [f"{user},{item},purchase,{when}T12:00:00+00:00" for user, item in _taken(when)]
    (folder / "events.csv").write_text("\n".join(lines))
    items = [{**item, "opens": "2025-01-01", "closes": None} for item in planted.items()]
    for back in range(_STAYS):
        opens = day - timedelta(days=back)
        closes = opens + timedelta(days=_STAYS)
        name = {"id": _guest(opens), "name": "red song", "colour": "red"}
        items.append({**name, "opens": str(opens), "closes": str(closes)})
    (folder / "items.json").write_text("\n".join(json.dumps(item) for item in items))


def _guest(opens: date) -> str:
    return f"guest-{opens}"


def _taken(when: date) -> Iterator[tuple[str, str]]:
    """Every third day a user takes the next item of their colour; one user a day is new, and takes the latest item."""
    for user in range(planted.USERS):
        if (when.toordinal() + user) % 3 == 0:
            place = (user // 2 + when.toordinal() // 3) % (planted.PER_COLOUR - 1)
            yield f"u{user:02d}", f"{planted.COLOURS[user % 2]}-{place:02d}"
    yield f"new-{when}", _guest(when)


def _check(shop: Shop, day: date, outcome: Outcome) -> None:
    """Check what the tables promise of ``day``."""
    check_lists(shop, day, outcome)
    days = {row[0] for row in shop.table("recommendations").select("run_date").distinct().collect()}
    kept = max(days) == day and min(days) >= day - timedelta(days=_KEPT + _MAINTAINED - 1)
    outcome.expect(kept, f"there are lists of {min(days)} to {max(days)}")


def _sizes(folder: Path) -> dict[str, Any]:
    """Return files and bytes of each table, without its log, and the bytes of memory of all processes."""
    sizes: dict[str, Any] = {}
    for table in (folder / "lake").iterdir():
        files = [path for path in table.rglob("*.parquet") if "_delta_log" not in path.parts]
        sizes[f"{table.name} files"] = len(files)
        sizes[f"{table.name} bytes"] = sum(path.stat().st_size for path in files)
    me = psutil.Process()
    sizes["memory"] = sum(one.memory_info().rss for one in (me, *me.children(recursive=True)))
    return sizes


FAULTS = [Fault(f"{NIGHTS} nights in a row", many_nights)]

if __name__ == "__main__":
    sys.path.insert(0, "jobs")
    importlib.import_module("score")
    main(*sys.argv[1:])
