"""Gets a folder (a model, a night's catalogue) from the driver to every worker, once per host."""

import tarfile
from dataclasses import dataclass
from pathlib import Path

from pyspark import SparkFiles
from pyspark.sql import SparkSession

from llmrec.spark.session import runs_in_one_process


@dataclass(frozen=True)
class Shipped:
    """A folder on its way to the workers; `open` there."""

    path: str | None
    """Where workers of the driver's own host read it; None if it travels as an archive."""
    archive: str

    def open(self) -> Path:
        """Return the folder on the host this is called on."""
        return Path(self.path) if self.path else Path(SparkFiles.get(self.archive))


def ship_folder(spark: SparkSession, folder: Path, name: str, work: Path) -> Shipped:
    """Make ``folder`` readable for all workers; ``name`` must be new in this session.

    Every executor fetches the folder before its first task, of whatever query, so the archive stays in ``work`` until
    the last one is done.
    """
    if runs_in_one_process(spark):
        return Shipped(str(folder.absolute()), name)
    packed = work / f"{name}.tar"  # not compressed: weights and vectors hardly shrink
    with tarfile.open(packed, "w") as tar:
        for path in sorted(folder.iterdir()):  # Hadoop refuses an entry "./", which an archive of the folder has
            tar.add(path, path.name)
    spark.sparkContext.addArchive(f"{packed.absolute().as_uri()}#{name}")
    return Shipped(None, name)
