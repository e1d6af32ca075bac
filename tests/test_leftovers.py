import os
import time
from pathlib import Path

from llmrec.leftovers import remove_leftovers

OLD = time.time() - 8 * 24 * 3600


def test_what_no_run_has_written_to_for_days_goes_and_all_else_stays(tmp_path: Path) -> None:
    of_runs = ["0123456789ab", "score-0123456789ab", "training-0123456789ab", "locks/2026-01-01.lock"]
    others = ["kept", "mine", "score-of-mine", ".at-work", "0123456789ab.tar"]
    for name in (*of_runs, *others):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").touch()
    (tmp_path / "locks/2026-01-02.owner").touch()
    assert remove_leftovers(tmp_path, 7) == 0
    for path in (*tmp_path.rglob("*"), *tmp_path.iterdir()):
        os.utime(path, (OLD, OLD))
    (tmp_path / "score-0123456789ab" / "file").touch()  # a run goes on with it
    assert remove_leftovers(tmp_path, 7) == 4
    assert {path.name for path in tmp_path.iterdir()} == {*others, "locks", "score-0123456789ab"}
    assert not list((tmp_path / "locks").iterdir())
    assert remove_leftovers(tmp_path / "none", 7) == 0
