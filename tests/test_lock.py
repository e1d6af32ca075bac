import subprocess
import sys
from pathlib import Path

import pytest

from llmrec.errors import OutputError
from llmrec.lock import held

HOLD = "import sys, time; from pathlib import Path; from llmrec.lock import held\n"
HOLD += "with held(Path(sys.argv[1]), 'run a'): print('held', flush=True); time.sleep(600)"


def test_a_folder_is_held_by_one_process_and_free_when_that_was_killed(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "night")], stdout=subprocess.PIPE, text=True)
    assert other.stdout
    assert other.stdout.readline() == "held\n"
    refused = pytest.raises(OutputError, match="night: run a is at work on the same; expected one at a time")
    with refused, held(tmp_path / "night", "run b"):
        pass
    other.kill()
    other.wait()
    with held(tmp_path / "night", "run b") as folder:
        assert (folder / "owner").read_text() == "run b"
