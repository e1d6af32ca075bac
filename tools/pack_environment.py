"""Packs what the executors need besides llmrec, for --archives: pack_environment.py ARCHIVE.tar.gz.

In it are this environment's Python and the libraries of llmrec in their locked versions, torch with its CUDA libraries
among them; not pytest and the like, and not Spark's jars. The hosts need no Python of their own, only the same kind of
processor and a C library that is not older. venv-pack, which Spark's documentation names, leaves the interpreter out.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
NOT_NEEDED = ("site-packages", "dist-packages", "EXTERNALLY-MANAGED", "config-*", "ensurepip", "idlelib")
NOT_NEEDED += ("lib2to3", "pydoc_data", "test", "tests", "tkinter", "turtledemo")
"""What is left out of the standard library."""

LAUNCHER = """\
#!/bin/sh
# Runs the Python beside this file, wherever the archive was unpacked.
here=$(dirname "$(readlink -f "$0")")
export LD_LIBRARY_PATH="${{here%/bin}}/lib${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"
exec "$here/{version}" "$@"
"""


def lay_python(folder: Path) -> Path:
    """Copy this environment's Python into ``folder``; return where its packages go."""
    programs, library = folder / "bin", folder / "lib" / VERSION
    shutil.copytree(sysconfig.get_path("stdlib"), library, ignore=shutil.ignore_patterns(*NOT_NEEDED), symlinks=True)
    packages = library / "site-packages"
    packages.mkdir()
    (library / "dist-packages").symlink_to("site-packages")  # where Debian's Python looks
    programs.mkdir()
    shutil.copy(Path(sys._base_executable).resolve(), programs / VERSION)
    shared = Path(sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("INSTSONAME"))
    if sysconfig.get_config_var("Py_ENABLE_SHARED") and shared.is_file():  # Debian's says so and is not
        shutil.copy(shared, folder / "lib")
    launcher = programs / "python"
    launcher.write_text(LAUNCHER.format(version=VERSION), encoding="utf-8")
    launcher.chmod(0o755)
    return packages


def install_libraries(packages: Path) -> None:
    """Install what pyproject.toml asks for, in the versions of the lock file; uv takes them from its cache."""
    uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--python", sys.executable]
    wanted = ["--requirements", "pyproject.toml", "--extra", "approximate", "--constraints"]
    lock = "requirements/environment.lock"
    subprocess.run([*uv, "--target", str(packages), "--compile-bytecode", *wanted, lock], cwd=ROOT, check=True)
    shutil.rmtree(packages / "pyspark" / "jars")  # an executor is Spark already


def pack(folder: Path, archive: Path) -> None:
    """Pack ``folder`` into ``archive``, which appears when it is whole."""
    partial = archive.with_suffix(".part")
    with tarfile.open(partial, "w:gz", compresslevel=1) as tar:  # libraries hardly shrink by more
        for path in sorted(folder.iterdir()):  # Hadoop refuses an entry "./", which an archive of the folder has
            tar.add(path, path.name)
    partial.replace(archive)


def main(archive: Path) -> None:
    """Lay, install, try out, pack."""
    archive.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent) as made:
        folder = Path(made, "environment")
        print("laying out Python and the libraries ...", flush=True)
        install_libraries(lay_python(folder))
        said = (
            "import sys, lightgbm, pyarrow, tokenizers, torch; print('Python', sys.version, 'torch', torch.__version__)"
        )
        alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        subprocess.run([str(folder / "bin" / "python"), "-c", said], env=alone, check=True)
        print("packing, some minutes ...", flush=True)
        pack(folder, archive)
    print(f"{archive}: {archive.stat().st_size / 1e9:.1f} GB")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
