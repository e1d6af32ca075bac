"""Runs a job on a small disk of its own, or where a folder cannot be written: mounts that only this process sees.

    unshare --user --map-root-user --mount python -m tests.faults.own_mounts full FOLDER LINE COMMAND ...
    unshare --user --map-root-user --mount python -m tests.faults.own_mounts read-only FOLDER "" COMMAND ...

Needs no rights beyond user namespaces. The kernel itself answers with ENOSPC and EROFS, to Python and the JVM alike.
"""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

LAUNCHER = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-m", "tests.faults.own_mounts"]
_SIZE = "64m"


def can_mount() -> bool:
    """Tell whether this user may mount in a namespace of their own."""
    if shutil.which("unshare") is None:
        return False
    trial = [*LAUNCHER[:4], "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    """Let ``folder`` be on a disk of its own, and leave there what it came to."""
    disk, before = folder.with_name("disk"), folder.with_name("before")
    disk.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(disk))
    shutil.copytree(folder, disk, dirs_exist_ok=True)
    _mount("--bind", str(disk), str(folder))
    try:
        yield folder / "filler"
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        (disk / "filler").unlink(missing_ok=True)
        folder.rename(before)
        shutil.copytree(disk, folder)
        shutil.rmtree(before)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def main(kind: str, place: str, line: str, *command: str) -> int:
    """Run ``command``; its exit code is returned."""
    folder = Path(place)
    with contextlib.ExitStack() as mounted:
        if kind == "read-only":
            _mount("--bind", str(folder), str(folder))
            _mount("-o", "remount,ro,bind", str(folder))
            return subprocess.run(command, check=False).returncode
        filler = mounted.enter_context(_small_disk(folder))
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as job:
            assert job.stdout is not None
            for said in job.stdout:
                if line in said and not filler.exists():
                    _fill(filler)
                print(said, end="", flush=True)
        return job.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
