"""Looking for a word in all files, as whoever has the disk could."""

from pathlib import Path

import pyarrow.parquet as pq


def files_with(folder: Path, word: str) -> set[str]:
    """Return the files that hold ``word``, as bytes or in a column."""
    found = set()
    for path in filter(Path.is_file, folder.rglob("*")):
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content += repr(pq.read_table(path, partitioning=None).to_pydict()).encode()
        if word.encode() in content:
            found.add(str(path.relative_to(folder)))
    return found
