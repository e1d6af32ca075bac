"""What nights keep for one another (nn.kept, nn.kept_states), two files for each bucket of users and one of items, in a
folder that all hosts share.

A task reads its bucket's files from its first user on and replaces them after its last, and the first bucket's that of
the items, if it had to encode some. A file that is missing, damaged or of another making only means more work, and so
does a task that is killed, repeated, or at work beside another on the same file: whatever file is there, is whole, and
right by what it is called and says.
"""

import logging
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pyspark.sql import DataFrame

from llmrec.nn.kept import Kept
from llmrec.nn.kept_states import KeptStates
from llmrec.nn.recommender import Recommender
from llmrec.nn.reuse import Reuse
from llmrec.spark.users import bucket_of

UNREADABLE, UNWRITABLE = "kept files unreadable", "kept files unwritable"
"""Counts of tasks."""
_LOG = logging.getLogger(__name__)
_FILE, _BUCKETS = "bucket-{:05d}", re.compile(r"-(\d+)$")
_STATES = ".states"
_ITEMS = "items.states"
_LEAVES_ITEMS = 0
"""The bucket whose task leaves states of items; if all did, each would write as much."""
_DAY = "night"
"""Name of the file that holds the day of the last night that used its folder."""


@dataclass(frozen=True)
class KeptFiles:
    """Where it is and how much of it may stay."""

    folder: Path
    """Of one model and number of buckets, which its name ends with."""
    night: date
    earliest: date
    """What was asked for last before this day goes."""
    bytes_of_bucket: int
    bytes_of_items: int

    def open(self, bucket: int, recommender: Recommender, counts: Counter[str]) -> Reuse:
        """Read what is known of the users of ``bucket``; what cannot be read is counted, and nothing is known then."""
        states = KeptStates(self._path(bucket, _STATES), recommender.kind, self.bytes_of_bucket)
        room = self.bytes_of_items if bucket == _LEAVES_ITEMS else 0
        of_items = KeptStates(self.folder / _ITEMS, recommender.kind, room)
        try:
            of_items.load()
        except (OSError, ValueError) as error:
            _LOG.warning("bucket %d: items are encoded anew, as what was kept cannot be used (%s)", bucket, error)
            counts[UNREADABLE] = 1
        try:
            kept = Kept.load(self._path(bucket), recommender.kind)
            states.load()
        except (OSError, ValueError) as error:
            _LOG.warning("bucket %d: all is read anew, as what was kept cannot be used (%s)", bucket, error)
            counts[UNREADABLE] = 1
            kept = None
        return recommender.reuse(kept, states, of_items)

    def close(self, bucket: int, recommender: Recommender, reuse: Reuse, counts: Counter[str]) -> None:
        """Leave to the next night what this one read; if it cannot be written, that is counted."""
        after = reuse.updated(self.night.toordinal(), earliest=self.earliest.toordinal(), at_most=self.bytes_of_bucket)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / _DAY).write_text(self.night.isoformat(), encoding="utf-8")
            after.save(self._path(bucket), recommender.kind)
            if reuse.states:
                reuse.states.save(reuse.there, self.bytes_of_bucket - after.nbytes)
            if reuse.of_items and reuse.of_items.has_new:
                reuse.of_items.save(recommender.item_texts, self.bytes_of_items)
        except OSError as error:
            _LOG.warning("bucket %d: what was read cannot be kept (%s)", bucket, error)
            counts[UNWRITABLE] += 1

    def _path(self, bucket: int, what: str = "") -> Path:
        return self.folder / f"{_FILE.format(bucket)}{what}"


def tidy_kept(files: KeptFiles, at_most: int) -> None:
    """Remove what killed tasks left, and of other models' folders the oldest: those not used for too long, and as many
    as it takes for all to be of ``at_most`` bytes.
    """
    if not files.folder.is_dir():
        return
    for left in files.folder.glob(".*"):
        left.unlink(missing_ok=True)
    others = sorted((_last_night(one), one) for one in files.folder.parent.iterdir() if one.name != files.folder.name)
    sizes = {one: _size(one) for _, one in others}
    room = at_most - _size(files.folder) - sum(sizes.values())
    for night, other in others:
        if night < files.earliest or room < 0:
            shutil.rmtree(other, ignore_errors=True)
            room += sizes[other]


def forget_users(kept: Path, erased: DataFrame) -> int:
    """Delete what nights left in ``kept`` of the buckets of ``erased`` users (user_id); return how many files went.

    Nobody else may be at work there.
    """
    removed = 0
    for folder in sorted(kept.glob("*")):
        buckets = _BUCKETS.search(folder.name)
        theirs = erased.select(bucket_of(int(buckets[1]))).distinct().collect() if buckets else []
        own = [folder / f"{_FILE.format(row[0])}{what}" for row in theirs for what in ("", _STATES)]
        left = [*folder.glob(".*"), *own] if buckets else folder.glob("*")
        for path in left:
            removed += path.is_file()
            path.unlink(missing_ok=True)
    return removed


def _last_night(folder: Path) -> date:
    try:
        return date.fromisoformat((folder / _DAY).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not one of ours, or a disk was full
        return date.min


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*"))
