import subprocess
import sys
import threading
from pathlib import Path

import pytest

from llmrec.errors import OutputError
from llmrec.lock import at_work, held, names_held

HOLD = "import sys, time; from pathlib import Path; from llmrec.lock import held\n"
HOLD += "with held(Path(sys.argv[1]), 'run a'): print('held', flush=True); time.sleep(600)"


def test_a_lock_is_held_by_one_process_and_free_when_that_was_killed(tmp_path: Path) -> None:
    night = tmp_path / "work" / "night.lock"
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(night)], stdout=subprocess.PIPE, text=True)
    assert other.stdout
    assert other.stdout.readline() == "held\n"
    refused = pytest.raises(OutputError, match=(
        rf"night\.lock: run a \(process {other.pid} on \S+, since 20[\d :+-]+\) is at work on the same; "
        "expected one at a time"
    ))  # fmt: skip
    with refused, held(night, "run b"):
        pass
    other.kill()
    other.wait()
    with held(night, "run b"):
        assert night.with_suffix(".owner").read_text().startswith("run b (process ")


def test_who_is_patient_waits_and_says_for_whom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = tmp_path / "prepare.lock"
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True)
    assert other.stdout
    assert other.stdout.readline() == "held\n"
    ending = threading.Timer(1.5, other.kill)
    ending.start()
    with held(lock, "run b", patience=300):
        assert other.wait(timeout=60) < 0  # it was killed, not overtaken
    said = capsys.readouterr().err
    assert "lock: run a (process " in said
    assert "is at work on the same; waits for it, 5 minutes at most" in said


def test_what_is_held_is_told_by_its_names_and_can_be_held_by_others_afterwards(tmp_path: Path) -> None:
    assert names_held(tmp_path / "locks") == set()
    for name in ("2026-01-31", "2026-02-01"):
        with held(tmp_path / "locks" / f"{name}.lock", "run a"):
            pass
    with held(tmp_path / "locks" / "2026-02-01.lock", "run b"):
        assert names_held(tmp_path / "locks") == {"2026-02-01"}
    with held(tmp_path / "locks" / "2026-01-31.lock", "run c", patience=0):
        pass


def test_a_place_where_no_lock_can_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(OutputError, match=r"cannot be made .*expected a writable place"),
        held(tmp_path / "file/a", "b"),
    ):
        pass


BE_AT_WORK = "import sys, time; from pathlib import Path; from llmrec.lock import at_work\n"
BE_AT_WORK += (
    "with at_work(Path(sys.argv[1]), alone=sys.argv[2] == 'alone'): print('there', flush=True); time.sleep(600)"
)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("beside", "alone", "another job is at work, and this one must be alone"),
        ("alone", "beside", "users are being erased"),
        ("alone", "alone", "another job is at work, and this one must be alone"),
    ],
)
def test_a_job_that_must_be_alone_runs_beside_no_other(tmp_path: Path, first: str, second: str, message: str) -> None:
    command = [sys.executable, "-c", BE_AT_WORK, str(tmp_path), first]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert other.stdout
    assert other.stdout.readline() == "there\n"
    with pytest.raises(OutputError, match=message), at_work(tmp_path, alone=second == "alone"):
        pass
    other.kill()
    other.wait()
    with at_work(tmp_path, alone=second == "alone"):
        pass


def test_other_jobs_run_beside_each_other_and_need_no_place_to_write(tmp_path: Path) -> None:
    with at_work(tmp_path, alone=False), at_work(tmp_path, alone=False):
        pass
    (tmp_path / "file").touch()
    with at_work(tmp_path / "file", alone=False):
        pass
    with pytest.raises(OutputError, match="expected a writable place"), at_work(tmp_path / "file", alone=True):
        pass
