"""Where users may be found beside the tables, and taking them out of there: the work folder and the report."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from markupsafe import escape
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from llmrec import columns as C
from llmrec.domain.erased import Traces
from llmrec.domain.printable import printable
from llmrec.errors import ConfigError
from llmrec.pipelines.prepare import ORDER
from llmrec.settings.config import Config
from llmrec.spark.convert import BLANKS
from llmrec.spark.kept_files import forget_users

OF_USERS = (C.EVENTS, C.USERS, C.IMPRESSIONS, C.QUARANTINE, C.RECOMMENDATIONS)
"""Tables of llmrec with rows of users."""
SUPPLIED = (C.CANDIDATES, C.DENIED)
"""The same of tables that others write."""
_LEFT_BY_RUNS = re.compile(r"[0-9a-f]{12}|(score|training)-[0-9a-f]{12}")
_UNFINISHED_PAGE = re.compile(r"\.report-[a-z0-9_]{8}")
"""As jobs/report.py leaves it when it is killed."""
_KEPT = "kept"


def read_ids(path: Path) -> list[str]:
    """Read user ids, one a line, as the tables hold them: without blanks around them.

    A byte order mark is none of the first. Raises ConfigError if the file cannot be read or names nobody.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--users: {path} cannot be read ({error}); expected a text file with one id a line"
        ) from error
    ids = dict.fromkeys(filter(None, (line.strip(BLANKS) for line in lines)))
    if not ids:
        raise ConfigError(f"--users: {path} holds no id, expected one a line")
    return list(ids)


def ours_and_theirs(config: Config, also: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the tables that are to be cleaned, and those with rows of users that others write.

    Others write what prepare would, where prepare does not: all without a source where prepare has nothing to run on,
    else those of them that have a name of their own (the others it empties). A table named in ``also`` is cleaned.
    """
    may_prepare = config.sources.events and config.sources.items
    without_source = [table for table in ORDER if not getattr(config.sources, table)]
    of_others = [table for table in without_source if not may_prepare or table in config.tables.names]
    theirs = [table for table in (*OF_USERS, *SUPPLIED) if table in (*of_others, *SUPPLIED) and table not in also]
    return [table for table in (*OF_USERS, *SUPPLIED) if table not in theirs], theirs


def traces_of(events: DataFrame, impressions: DataFrame, erased: DataFrame) -> Traces:
    """Return since when ``erased`` users are in ``events`` and ``impressions`` (user_id, event_time)."""
    firsts = [
        rows.join(erased, on=C.USER, how="left_semi").agg(F.min(F.to_date(C.EVENT_TIME))).head()
        for rows in (events, impressions)
    ]
    oldest = events.agg(F.min(C.EVENT_TIME)).head()
    return Traces(
        first=min((row[0] for row in firsts if row and row[0]), default=None),
        oldest=oldest[0].date() if oldest and oldest[0] else None,  # as train reads it for the manifest
    )


def clear_work(work: Path, erased: DataFrame, own: str) -> dict[str, int]:
    """Delete what runs left in ``work``, but for the folder ``own``, and what nights keep of ``erased`` users.

    What runs leave are lists on their way, checkpoints of trainings and the folders of killed runs: all can be made
    again. Returns how many folders and files went.
    """
    left = [path for path in sorted(work.iterdir()) if _LEFT_BY_RUNS.fullmatch(path.name) and path.name != own]
    for path in left:
        shutil.rmtree(path)
    return {"folders of runs": len(left), "files kept for later nights": forget_users(work / _KEPT, erased)}


def drop_report(path: Path, ids: Sequence[str]) -> int:
    """Delete the page at ``path`` if it shows one of ``ids``, and unfinished ones beside it; return how many went."""
    page, written = path.read_text(encoding="utf-8") if path.is_file() else "", (str(escape(printable(i))) for i in ids)
    shown = any(one in page and re.search(rf"(?<!\w){re.escape(one)}(?!\w)", page) for one in written)
    gone = [path] if shown else []
    gone += [left for left in sorted(path.parent.glob(".report-*")) if _UNFINISHED_PAGE.fullmatch(left.name)]
    for left in gone:
        left.unlink()
    return len(gone)
