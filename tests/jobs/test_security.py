"""Jobs on hostile data, in a hostile folder, without a network: nothing is fetched, run, steered or left open."""

import json
import os
import re
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests import planted, tiny
from tests.scan import files_with

ROOT = Path(__file__).parents[2]
FOLDER = 'it\'s `my` $HOME "100%20" #1'
DAY = planted.RUN_DATE
TELLING = "warfarin"
"""A word of what users wrote."""
KNOWN = ("PATH", "HOME", "JAVA_HOME", "LANG", "TMPDIR", "OMP_NUM_THREADS", "PYSPARK_SUBMIT_ARGS")
"""What a night is told of this environment, and no more: MLflow is quiet where it finds signs of a test."""
pytestmark = pytest.mark.spark
STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

DRIVER = """
import importlib, os, sys
from pathlib import Path
from pyspark.sql import SparkSession, functions as F
from llmrec.nn.artifact import replace_folder
os.umask(0)
sys.path.insert(0, "jobs")
folder, day, suffix = sys.argv[1:]
for job in ("prepare", "train", "score", "evaluate", "report", "maintain"):
    config = {"evaluate": "in-folder.yaml", "maintain": "few.yaml"}.get(job, "config.yaml")
    code = importlib.import_module(job).JOB.run(["--config", f"{folder}/{config}", "--run-date", day])
    if code:
        sys.exit(code)
    if job == "train":
        [champion] = Path(folder).parent.glob("mlflow-artifacts/*/artifacts/model")
        replace_folder(champion, Path(folder, "model"))  # as train does where model is a folder
    if job == "prepare":  # which refuses control letters; tables that others write may hold them
        for table, column in (("items", "title"), ("users", "segment")):
            rows = SparkSession.active().read.format("delta").load(f"{folder}/lake/{table}")
            hostile = rows.withColumn(column, F.concat(column, F.lit(" " + suffix)))
            hostile.write.format("delta").mode("overwrite").save(f"{folder}/lake/{table}")
"""


class Listener:
    """A server that counts who calls, and hangs up."""

    def __init__(self) -> None:
        self.calls = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                caller, _ = self._socket.accept()
            except OSError:
                return
            self.calls += 1
            caller.close()

    def close(self) -> None:
        self._socket.close()


@dataclass(frozen=True)
class Guard:
    """Blocks the network for Python by an audit hook, for the JVM by a proxy and a list of hosts; both tell of it."""

    log: Path
    proxy: Listener
    environment: dict[str, str]

    @staticmethod
    def make(folder: Path) -> "Guard":
        log, hosts, proxy = folder / "guard.log", folder / "hosts", Listener()
        log.touch()
        hosts.write_text(f"127.0.0.1 localhost {socket.gethostname()}\n")
        through = f"-DsocksProxyHost=127.0.0.1 -DsocksProxyPort={proxy.port} -Djdk.net.hosts.file={hosts}"
        environment = {
            **{name: os.environ[name] for name in KNOWN if name in os.environ},
            "PYTHONPATH": f"{ROOT}/tests/network_guard:{ROOT}",
            "NETWORK_GUARD_LOG": str(log),
            "JAVA_TOOL_OPTIONS": through,
            "SPARK_LOCAL_IP": "127.0.0.1",
        }
        return Guard(log, proxy, environment)

    def run(self, code: str, *args: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *args],
            env=self.environment | settings,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    def told(self, what: str) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if line.startswith(what)]


@dataclass(frozen=True)
class Night:
    """What came of it."""

    folder: Path
    guard: Guard
    jndi: Listener
    said: str


def hostile(port: int) -> str:
    return f"<script>alert(1)</script> ${{jndi:ldap://127.0.0.1:{port}/x}} \x1b[31m\u202e\r\n[score] publish: done"


def users_write(folder: Path) -> None:
    """Let every event and one user have a text with the telling word; of two rows that are refused, too."""
    events, users = folder / "events.csv", folder / "users.json"
    head, *rows = events.read_text().splitlines()
    rows.append(f"u00,no-such-item,purchase,{planted.FIRST.isoformat()}")
    events.write_text("\n".join([f"{head},said", *(f"{row},for my {TELLING}" for row in rows)]))
    profiles = users.read_text().replace('"profile": "red"', f'"profile": "red {TELLING}"')
    users.write_text(f"{profiles}\n{json.dumps({'id': None, 'profile': TELLING})}")


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    """From raw files to the report and maintain, with a umask that would let all write.

    The model is the registry's champion, as by default, but for evaluate a folder with a hostile name.
    """
    outside = tmp_path_factory.mktemp("security")
    guard, jndi = Guard.make(outside), Listener()
    folder = outside / FOLDER
    folder.mkdir()
    tiny.encoder_folder(folder / "encoder")
    planted.write_sources(folder)
    users_write(folder)
    settings = planted.settings(folder)
    settings["sources"]["events"]["columns"]["text"] = "said"
    settings["train"]["max_epochs"] = 1
    settings["log"] = {"file": f"{folder}/log/jobs.jsonl", "metrics_folder": f"{folder}/log"}
    settings["spark"] |= {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
    (folder / "in-folder.yaml").write_text(yaml.safe_dump(settings))
    del settings["model"]  # the registry's champion, by default
    settings["registry"] = {"uri": f"sqlite:///{outside}/mlflow.db"}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    few = {name: f"{folder}/lake/{name}" for name in ("item_vectors", "recommendations", "runs")}
    settings["tables"] = {"location": f"{outside}/no-others", "names": few}
    (folder / "few.yaml").write_text(yaml.safe_dump(settings))
    with (folder / "items.json").open("a") as file:
        file.write("\n" + json.dumps({**planted.items()[0], "id": "hostile", "name": hostile(jndi.port)}))
    done = guard.run(DRIVER, str(folder), DAY, hostile(jndi.port))
    assert done.returncode == 0, done.stdout + done.stderr
    yield Night(folder, guard, jndi, done.stdout + done.stderr)
    guard.proxy.close()
    jndi.close()


def test_driver_workers_and_jvm_ask_no_other_host_for_anything(night: Night) -> None:
    assert night.guard.told("asked for") == []
    assert night.guard.proxy.calls == 0
    assert "version 1 of llmrec" in night.said
    guarded = night.guard.told("guarded")
    assert any("importlib" in line for line in guarded)
    assert any("pyspark.daemon" in line for line in guarded)


def test_the_guard_would_have_told_of_a_download_and_of_a_call_by_the_jvm(tmp_path: Path) -> None:
    guard = Guard.make(tmp_path)
    load = """
import contextlib, sys
from llmrec.errors import ArtifactError
from llmrec.nn.pretrained import load_backbone
with contextlib.suppress(ArtifactError):
    load_backbone("some/encoder", allow_download=sys.argv[1] == "allowed")
"""
    assert guard.run(load, "not allowed").returncode == 0
    assert guard.told("asked for") == []
    assert guard.run(load, "allowed").returncode == 1
    assert guard.told("asked for huggingface.co")
    call = """
from pyspark.java_gateway import launch_gateway
jvm = launch_gateway().jvm
try:
    jvm.java.net.InetAddress.getByName("example.org")
except Exception as error:
    print("no host:", error)
jvm.java.net.Socket("192.0.2.1", 80)
"""
    assert "UnknownHostException" in guard.run(call).stdout
    assert guard.proxy.calls == 1


def test_the_guard_would_have_told_of_the_telemetry_of_the_registry(night: Night, tmp_path: Path) -> None:
    guard, address = Guard.make(tmp_path), f"sqlite:///{night.folder.parent}/mlflow.db"
    load = "import sys; from llmrec.registry import Registry; Registry(sys.argv[1]).open('other')"
    assert guard.run(load, address, MLFLOW_DISABLE_TELEMETRY="false").returncode == 0
    assert guard.told("asked for config.mlflow-telemetry.io")


def test_what_users_wrote_is_in_the_tables_where_the_model_reads_it_and_nowhere_else(night: Night) -> None:
    found = [name.removeprefix(f"{FOLDER}/").split("/") for name in files_with(night.folder.parent, TELLING)]
    assert {"/".join(parts[:2]) for parts in found} == {"events.csv", "users.json", "lake/events", "lake/users"}
    assert TELLING not in night.said


def test_hostile_titles_and_segments_reach_page_and_console_escaped(night: Night) -> None:
    page = (night.folder / "report.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page
    assert "jndi:ldap" in night.said
    for text in (page, night.said, *(path.read_text(encoding="utf-8") for path in (night.folder / "log").iterdir())):
        assert not STEERING.search(text)
    assert "\n[score] publish: done" not in night.said.replace("\n[score] publish: done, ", "")


def test_nothing_that_a_title_names_is_looked_up(night: Night) -> None:
    assert night.jndi.calls == 0


def test_no_file_or_folder_of_a_night_is_writable_for_all(night: Night) -> None:
    made = [path for name in ("lake", "model", "work", "log", "report.html") for path in found_in(night.folder / name)]
    made += [path for name in ("mlflow.db", "mlflow-artifacts") for path in found_in(night.folder.parent / name)]
    assert len(made) > 50
    assert [str(path) for path in made if path.stat().st_mode & stat.S_IWOTH] == []


def found_in(path: Path) -> list[Path]:
    return [path, *path.rglob("*")]
