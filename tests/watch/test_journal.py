import json
from pathlib import Path

import pytest

from llmrec.errors import OutputError
from llmrec.watch.journal import Journal


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def test_each_line_is_there_at_once_and_several_runs_may_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "log.jsonl"
    first, second = Journal(path), Journal(path)
    for place, (journal, run) in enumerate(((first, "a"), (second, "b"), (first, "a"))):
        journal.write({"run_id": run, "place": place})
        assert len(lines(path)) == place + 1
    assert [(line["run_id"], line["place"]) for line in lines(path)] == [("a", 0), ("b", 1), ("a", 2)]
    assert all(line["time"].endswith("+00:00") for line in lines(path))


def test_what_is_quoted_stays_on_its_line_and_steers_no_terminal(tmp_path: Path) -> None:
    hostile = 'red\n{"status": "done"}\x1b[31m\u202e\u2028café'
    Journal(tmp_path / "log").write({"message": hostile})
    assert (tmp_path / "log").read_bytes().count(b"\n") == 1
    assert (tmp_path / "log").read_text(encoding="ascii").isascii()
    assert "\x1b" not in (tmp_path / "log").read_text(encoding="ascii")
    assert lines(tmp_path / "log")[0]["message"] == hostile


def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"log.file: .*/file/log cannot be written \(.*\); expected a place"):
        Journal(tmp_path / "file" / "log")


def test_a_log_that_can_no_longer_be_written_stops_nothing_and_says_so_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = Journal(tmp_path / "gone" / "log")
    (tmp_path / "gone" / "log").unlink()
    (tmp_path / "gone").rmdir()
    journal.write({"stage": "scores"})
    journal.write({"stage": "publish"})
    assert capsys.readouterr().err.count("gone/log cannot be written (No such file or directory)") == 1
