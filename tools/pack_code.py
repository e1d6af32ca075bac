"""Packs llmrec for --py-files, and the programs beside it: pack_code.py DIST writes DIST/llmrec.zip and DIST/jobs."""

import shutil
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main(dist: Path) -> None:
    """Write both; the same code gives the same bytes."""
    dist.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(dist / "llmrec.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted((ROOT / "llmrec").rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                entry = zipfile.ZipInfo(path.relative_to(ROOT).as_posix())  # of a fixed date
                packed.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    shutil.rmtree(dist / "jobs", ignore_errors=True)
    shutil.copytree(ROOT / "jobs", dist / "jobs", ignore=shutil.ignore_patterns("__pycache__"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
