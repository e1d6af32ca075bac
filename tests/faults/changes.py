"""What changes while a job is at work: its tables, its source, the clock."""

import shutil
import struct
import subprocess
import threading
from collections import Counter
from functools import partial
from pathlib import Path

from tests.faults.fault import Fault
from tests.faults.shop import Outcome, Shop, Shops

_CLOCK = Path(__file__).with_name("clock.c")
_HOUR = 3600
_JUMP = "jump"
_READING = "[score] items ..."
"""The line after which a night begins to read its tables."""


def delete_table(shops: Shops) -> Outcome:
    """Delete events while they are read; then put them back."""
    shop, outcome = shops.fresh(), Outcome()
    events = shop.folder / "lake/events"
    shutil.copytree(events, shop.folder / "copy")
    started = shop.start("score")
    outcome.expect(started.said(_READING), "the night read nothing")
    shutil.rmtree(events)
    ended = started.end()
    outcome.expect(ended.code == 2, f"the run ended with {ended.code}, expected 2: {ended.said[-600:]}")
    outcome.expect("is gone, expected it as long as it is read" in ended.said, f"it said {ended.said[-600:]}")
    shops.untouched(shop, outcome)
    (shop.folder / "copy").rename(events)
    shops.after_rerun(shop, outcome)
    return outcome


def replace_table(shops: Shops) -> Outcome:
    """Replace events by a table of other columns while they are read: the night reads on what it began with."""
    shop, outcome = shops.fresh(), Outcome()
    started = shop.start("score")
    outcome.expect(started.said(_READING), "the night read nothing")
    others = shop.spark.createDataFrame([(1, 2.0)], "user_id int, price double").write.format("delta")
    others.mode("overwrite").option("overwriteSchema", "true").save(f"{shop.folder}/lake/events")
    ended = started.end()
    outcome.expect(ended.code == 0, f"the run ended with {ended.code}: {ended.said[-600:]}")
    outcome.compare(shop.rows(), shops.expected)
    again = shop.run("score")
    outcome.expect(again.code == 2 and "item_id is missing" in again.said, f"the next run said {again.said[-600:]}")
    outcome.compare(shop.rows(), shops.expected)
    return outcome


def jump_clock(shops: Shops, seconds: int) -> Outcome:
    """Let the clock of driver, JVM and workers jump while lists are made."""
    shop, outcome = shops.fresh(), Outcome()
    started = shop.start("score", env=with_clock(shop.folder))
    outcome.expect(started.said("[score] scores ..."), "no lists were made")
    set_clock(shop.folder, seconds)
    ended = started.end()
    outcome.expect(ended.code == 0, f"the run ended with {ended.code}: {ended.said[-600:]}")
    stages = shop.table("runs").filter(f"job = 'score' and run_id != '{_earlier_run(shops)}'").collect()
    outcome.expect(bool(stages) and all(0 <= row["seconds"] < 600 for row in stages), "stages took no sensible time")
    began = {row["stage"]: row["started_at"].timestamp() for row in stages}
    moved = began.get("gates", 0) - began.get("scores", 0)
    outcome.expect(seconds <= moved < seconds + 600, f"by runs the clock moved by {moved:.0f} s, expected {seconds}")
    shops.after_rerun(shop, outcome)
    return outcome


def with_clock(folder: Path) -> dict[str, str]:
    """Return the environment of processes whose clock `set_clock` sets; it is right at first."""
    library, jump = folder / "clock.so", folder / _JUMP
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, _CLOCK, "-ldl"], check=True)
    jump.write_bytes(struct.pack("l", 0))
    return {"LD_PRELOAD": str(library), "CLOCK_JUMP": str(jump)}


def set_clock(folder: Path, seconds: int) -> None:
    """Let the clock be so many seconds ahead."""
    with (folder / _JUMP).open("r+b") as file:  # the same file: it is mapped
        file.write(struct.pack("l", seconds))


def _earlier_run(shops: Shops) -> str:
    run: str = shops.filled().table("runs").filter("job = 'score'").head()["run_id"]
    return run


def grow_source(shops: Shops) -> Outcome:
    """Add lines to the source of events all the time that prepare reads it."""
    shop, outcome = shops.fresh(), Outcome()
    before, over = _events(shop), threading.Event()

    def grow() -> None:
        number = 0
        with (shop.folder / "events.csv").open("a") as file:
            while not over.wait(0.005):
                file.write(f"\nv{number},red-00,purchase,2026-01-20T00:00:00+00:00")
                file.flush()
                number += 1

    growing = threading.Thread(target=grow)
    growing.start()
    try:
        ended = shop.run("prepare")
    finally:
        over.set()
        growing.join()
    outcome.expect(ended.code == 0, f"the run ended with {ended.code}: {ended.said[-600:]}")
    after = _events(shop)
    outcome.lost_rows += (before - after).total()
    outcome.doubled_rows += sum(count - 1 for count in after.values())
    return outcome


def _events(shop: Shop) -> Counter[str]:
    return shop.rows("events")


FAULTS = [
    Fault("a table deleted while it is read", delete_table),
    Fault("a table replaced by another schema while it is read", replace_table),
    Fault("the clock jumps an hour ahead", partial(jump_clock, seconds=_HOUR)),
    Fault("the clock jumps an hour back", partial(jump_clock, seconds=-_HOUR)),
    Fault("a source that grows while it is read", grow_source),
]
