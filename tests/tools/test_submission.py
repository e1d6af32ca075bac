"""A night on a standalone cluster whose hosts know nothing of this folder, submitted as `make dist` builds it."""

import importlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pyspark
import pytest
from pyspark.sql import SparkSession

from tests import planted, tiny
from tools import pack_code, pack_environment

LIBRARIES = Path(pyspark.__file__).parents[1]
PROGRAMS = Path(sys.executable).parent
SPARK = Path(pyspark.__file__).parent
ARGUMENTS = ["--run-date", planted.RUN_DATE, "--set", "train.ranker=bert", "train.max_epochs=1", "score.reuse=false"]
SCORE = ["--config", "config.yaml", *ARGUMENTS]
QUICK_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
jobs = {name: importlib.import_module(name) for name in ("prepare", "train", "score")}


@dataclass(frozen=True)
class Cluster:
    """A standalone master with two workers, each a process of its own with a folder of its own."""

    master: str
    folder: Path
    python: Path
    """A Python of the hosts that has all libraries and not llmrec."""

    def submit(self, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Submit and wait; two executors of one core each, one on each worker."""
        settings = {
            "spark.master": self.master, "spark.cores.max": "2", "spark.executor.cores": "1",
            "spark.executor.memory": "640m", "spark.driver.host": "127.0.0.1", "spark.ui.enabled": "false",
            "spark.pyspark.driver.python": str(self.python), "spark.executor.extraJavaOptions": QUICK_JAVA,
            "spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        }  # fmt: skip
        flags = [flag for key, value in settings.items() for flag in ("--conf", f"{key}={value}")]
        command = [str(PROGRAMS / "spark-submit"), *flags, *arguments]
        return subprocess.run(command, cwd=cwd, env=bare_environment(), capture_output=True, text=True, check=False)

    def executors(self) -> list[Path]:
        """Return the folders of the latest application's executors."""
        latest = max(path.name for path in self.folder.glob("worker-*/app-*"))
        return sorted(self.folder.glob(f"worker-*/{latest}/*"))


def bare_environment() -> dict[str, str]:
    """Return what a host knows: where Java and Spark are, and nothing of this folder."""
    known = {name: os.environ[name] for name in ("JAVA_HOME", "HOME", "LANG") if name in os.environ}
    daemons = {"SPARK_DAEMON_MEMORY": "256m", "SPARK_DAEMON_JAVA_OPTS": QUICK_JAVA}
    return {**known, **daemons, "PATH": "/usr/bin:/bin", "SPARK_HOME": str(SPARK)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    python = folder / "python"
    venv.create(python, symlinks=True)
    [packages] = python.glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(f"{LIBRARIES}\n")  # but not what lies in its own .pth files: llmrec
    port, page = free_port(), free_port()
    common = ["--host", "127.0.0.1", "--webui-port"]
    master = f"spark://127.0.0.1:{port}"
    commands = [["master.Master", *common, str(page), "--port", str(port)]]
    for name in ("worker-1", "worker-2"):
        commands.append(["worker.Worker", *common, "0", "--cores", "1", "--memory", "700m"])
        commands[-1] += ["--work-dir", str(folder / name), master]
    with ExitStack() as running:
        for kind, *arguments in commands:
            command = [str(SPARK / "bin" / "spark-class"), f"org.apache.spark.deploy.{kind}", *arguments]
            process = running.enter_context(subprocess.Popen(command, cwd=folder, env=bare_environment()))
            running.callback(process.terminate)
        wait_for_workers(f"http://127.0.0.1:{page}/json/")
        yield Cluster(master, folder, python / "bin" / "python")


def wait_for_workers(page: str) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(page, timeout=5) as answer:
                if json.load(answer)["aliveworkers"] == 2:
                    return
        except OSError:
            pass
        time.sleep(0.2)
    raise AssertionError("two workers did not register within 90 s")


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    dist = tmp_path_factory.mktemp("dist")
    pack_code.main(dist)
    return dist


@pytest.fixture(scope="module")
def folder(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world with a model, and no night yet."""
    folder = tmp_path_factory.mktemp("submitted")
    tiny.encoder_folder(folder / "encoder")
    planted.write_sources(folder)
    for job in ("prepare", "train"):
        assert jobs[job].JOB.run(["--config", f"{folder}/config.yaml", *ARGUMENTS]) == 0
    return folder


@pytest.fixture(scope="module")
def expected(spark: SparkSession, folder: Path) -> list[str]:
    """The lists of the same night in this process."""
    assert jobs["score"].JOB.run(["--config", f"{folder}/config.yaml", *ARGUMENTS]) == 0
    return take_lists(spark, folder)


def take_lists(spark: SparkSession, folder: Path) -> list[str]:
    """Return what is published, and make room for the next night."""
    rows = spark.read.format("delta").load(f"{folder}/lake/recommendations").drop("run_id").collect()
    spark.sql(f"DELETE FROM delta.`{folder}/lake/recommendations`")
    return sorted(map(repr, rows))


def test_a_night_with_py_files_gives_the_lists_of_one_process_on_hosts_without_llmrec(
    spark: SparkSession, cluster: Cluster, dist: Path, folder: Path, expected: list[str]
) -> None:
    on_a_host = [str(cluster.python), "-c", "import torch, llmrec"]
    refused = subprocess.run(on_a_host, env=bare_environment(), cwd=folder, capture_output=True, text=True, check=False)
    assert "No module named 'llmrec'" in refused.stderr
    done = cluster.submit(
        "--py-files", f"{dist}/llmrec.zip", "--conf", f"spark.pyspark.python={cluster.python}",
        f"{dist}/jobs/score.py", *SCORE, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert take_lists(spark, folder) == expected
    assert [(where / "llmrec.zip").is_file() for where in cluster.executors()] == [True, True]


def test_a_night_with_a_packed_environment_needs_no_python_on_the_hosts(
    spark: SparkSession, cluster: Cluster, dist: Path, folder: Path, expected: list[str]
) -> None:
    made = dist / "environment"
    packages = pack_environment.lay_python(made)
    # Torch and its kin, gigabytes, stay where they are; `make dist` packs them too, by the same functions.
    (packages / "libraries.pth").write_text(f"{LIBRARIES}\n")
    pack_environment.pack(made, dist / "environment.tar.gz")
    done = cluster.submit(
        "--py-files", f"{dist}/llmrec.zip", "--archives", f"{dist}/environment.tar.gz#environment",
        "--conf", "spark.pyspark.python=./environment/bin/python", f"{dist}/jobs/score.py", *SCORE, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert take_lists(spark, folder) == expected
    pythons = [where / "environment" / "bin" / "python" for where in cluster.executors()]
    assert len(pythons) == 2
    own = "import sys, os; print(os.path.dirname(os.__file__))"
    for python in pythons:
        said = subprocess.run([str(python), "-c", own], env=bare_environment(), capture_output=True, text=True)
        assert said.stdout.strip().startswith(str(python.parents[1]))
