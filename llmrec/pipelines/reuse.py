"""What a night takes from earlier ones, by the settings."""

import hashlib
import json
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

from llmrec import __version__
from llmrec.settings.config import Config
from llmrec.spark.kept_files import UNREADABLE, UNWRITABLE, KeptFiles, tidy_kept

_GIGABYTE = 10**9
_OF_ITEMS = 0.1
"""What the states of items may take of all that is kept, as a share."""


def kept_files(config: Config, encoder_version: str, run_date: date) -> KeptFiles | None:
    """Return where it is kept what the encoder of ``encoder_version`` has read; None where nothing is to be reused."""
    score = config.score
    if not score.reuse:
        return None
    room = score.reuse_gigabytes * _GIGABYTE
    named = hashlib.sha256(json.dumps([__version__, encoder_version]).encode()).hexdigest()[:12]
    return KeptFiles(
        folder=Path(config.work, "kept", f"{named}-{score.partitions}").absolute(),
        night=run_date,
        earliest=run_date - timedelta(days=score.reuse_days),
        bytes_of_bucket=int((1 - _OF_ITEMS) * room / score.partitions),
        bytes_of_items=int(_OF_ITEMS * room),
    )


def tidy(files: KeptFiles, config: Config, counts: Mapping[str, int]) -> None:
    """Keep within the limits what all nights have left, and say what went wrong with it tonight, by ``counts``."""
    for what, done, so in ((UNREADABLE, "read", "they read anew"), (UNWRITABLE, "written", "the next night lacks it")):
        if counts.get(what):
            print(f"score.reuse: what nights keep could not be {done} in {counts[what]:,} tasks, so {so}; see the log")
    try:
        tidy_kept(files, int(config.score.reuse_gigabytes * _GIGABYTE))
    except OSError as error:
        print(f"score.reuse: {files.folder.parent} could not be kept within its limits ({error}); the lists are right")
