from datetime import date
from pathlib import Path

import numpy as np
import pytest

from llmrec.nn.kept import Kept
from llmrec.pipelines.reuse import kept_files, tidy
from llmrec.settings.config import Config
from llmrec.spark.kept_files import UNREADABLE, UNWRITABLE, KeptFiles
from tests.nn.test_kept import night

DAY = date(2026, 2, 9)


def files(work: Path, version: str = "a", day: date = DAY, **score: object) -> KeptFiles:
    found = kept_files(config(work, **score), version, day)
    assert found is not None
    return found


def config(work: Path, **score: object) -> Config:
    return Config.model_validate({"work": str(work), "score": score})


def leave(work: Path, version: str, day: date, kept: Kept, **score: object) -> Path:
    """Let one night leave a bucket; return its folder."""
    own = files(work, version, day, **score)
    own.folder.mkdir(parents=True, exist_ok=True)
    kept.save(own.folder / "bucket-00000", "the program")
    (own.folder / "night").write_text(day.isoformat())
    tidy(own, config(work, **score), {})
    return own.folder


def test_what_numbers_depend_on_has_a_folder_of_its_own(tmp_path: Path) -> None:
    assert files(tmp_path).folder == files(tmp_path, day=date(2026, 3, 1), top_n=99).folder
    others = [files(tmp_path, "b"), files(tmp_path, partitions=3), files(tmp_path / "elsewhere")]
    assert len({files(tmp_path).folder, *(other.folder for other in others)}) == 4
    assert kept_files(config(tmp_path, reuse=False), "a", DAY) is None


def test_settings_say_how_long_and_how_much_is_kept(tmp_path: Path) -> None:
    own = files(tmp_path, reuse_days=3, reuse_gigabytes=2, partitions=4)
    assert own.earliest == date(2026, 2, 6)
    assert (own.bytes_of_bucket, own.bytes_of_items) == (450_000_000, 200_000_000)


def test_what_another_model_left_goes_when_it_was_not_used_for_too_long_or_there_is_too_much(tmp_path: Path) -> None:
    kept = night(1, {(user, item): 1 for user in range(6) for item in range(6)}, [])
    older = leave(tmp_path, "a", date(2026, 2, 1), kept)
    old = leave(tmp_path, "b", date(2026, 2, 4), kept)
    now = leave(tmp_path, "c", DAY, kept)
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == sorted([old.name, now.name])
    assert not older.exists()
    size = sum(path.stat().st_size for path in now.iterdir())
    leave(tmp_path, "c", DAY, kept, reuse_gigabytes=1.5 * size / 1e9)
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [now.name]
    leave(tmp_path, "c", DAY, kept, reuse_gigabytes=0.1 * size / 1e9)  # buckets keep their own limits
    assert now.exists()


def test_what_a_killed_task_left_goes_and_what_went_wrong_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = leave(tmp_path, "a", DAY, night(1, {(0, 1): 2}, []))
    (folder / ".bucket-00001.half").write_bytes(bytes(9))
    tidy(files(tmp_path), config(tmp_path), {UNREADABLE: 2, UNWRITABLE: 1})
    assert sorted(path.name for path in folder.iterdir()) == ["bucket-00000", "night"]
    again = Kept.load(folder / "bucket-00000", "the program")
    assert again is not None
    np.testing.assert_array_equal(again.outputs, [[2]])
    assert capsys.readouterr().out.splitlines() == [
        "score.reuse: what nights keep could not be read in 2 tasks, so they read anew; see the log",
        "score.reuse: what nights keep could not be written in 1 tasks, so the next night lacks it; see the log",
    ]
