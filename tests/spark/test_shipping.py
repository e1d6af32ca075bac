"""Folders reach executors that are processes of their own, as on a cluster."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from pathlib import Path

import pytest
from llmrec.spark.session import start_session
from llmrec.spark.shipping import ship_folder

work = Path(sys.argv[1])
spark = start_session("shipping", {"spark.ui.enabled": "false"})
shipped = ship_folder(spark, work / "model", "model-1", work)

def read(batches):
    for batch in batches:
        batch["text"] = (shipped.open() / "weights.txt").read_text()
        yield batch

print(shipped.path, [row["text"] for row in spark.range(2).mapInPandas(read, "id long, text string").collect()])
"""


@pytest.mark.spark
def test_a_folder_is_read_by_executors_of_other_processes(tmp_path: Path) -> None:
    work = tmp_path / "it's 100%20 #1"
    (work / "model").mkdir(parents=True)
    (work / "model" / "weights.txt").write_text("0.25")
    (tmp_path / "program.py").write_text(PROGRAM)
    submit = [str(Path(sys.executable).parent / "spark-submit"), "--master", "local-cluster[1,1,1024]"]
    command = [*submit, str(tmp_path / "program.py"), str(work)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "None ['0.25', '0.25']"
