import json
import os
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


def test_an_id_goes_from_messages_and_all_else_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "log"
    journal = Journal(path)
    journal.write({"message": "row of 'caf\u00e9.1'\ncaf\u00e9.1", "stage": "caf\u00e9.1"})
    journal.write({"message": "row of caf\u00e9.10 and xcaf\u00e9.1"})
    journal.write({"message": "turned \\u202e1"})  # as a message shows such an id
    journal.write({"message": None})
    with path.open("a") as file:
        file.write("caf\u00e9.1, not a line of ours\n7\n")
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 12345, 12345)
    owned = path.stat()
    before = path.read_bytes().splitlines()
    assert journal.erase(["caf\u00e9.1", "\u202e1", "nobody"]) == 2
    after = path.read_bytes().splitlines()
    assert [json.loads(after[place])["message"] for place in (0, 2)] == [
        "row of '(erased)'\n(erased)",
        "turned (erased)",
    ]
    assert json.loads(after[0]) | {"message": None} == json.loads(before[0]) | {"message": None}
    assert [after[place] for place in (1, 3, 4, 5)] == [before[place] for place in (1, 3, 4, 5)]
    now = path.stat()
    assert (now.st_mode, now.st_uid, now.st_gid) == (owned.st_mode, owned.st_uid, owned.st_gid)
    assert list(tmp_path.iterdir()) == [path]
    journal.write({"place": "at the end"})
    assert json.loads(path.read_bytes().splitlines()[-1])["place"] == "at the end"


def test_a_log_that_cannot_be_replaced_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    journal = Journal(tmp_path / "log")
    journal.write({"message": "of u1"})
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match="cannot be written anew"):
        journal.erase(["u1"])
    assert lines(tmp_path / "log")[0]["message"] == "of u1"
    assert list(tmp_path.iterdir()) == [tmp_path / "log"]
