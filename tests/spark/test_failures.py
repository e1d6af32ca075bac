"""What is said of queries that failed for something that can be mended."""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from llmrec.errors import ArtifactError, InputTableError, LlmrecError, OutputError
from llmrec.spark.failures import explained
from llmrec.spark.tables import last_commit, table_exists, with_output_errors


def error_of(query: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:
        query()
    return caught.value


@pytest.fixture
def name(spark: SparkSession, tmp_path: Path) -> str:
    name = str(tmp_path / "events")
    spark.range(1000).selectExpr("id", "uuid() word").coalesce(1).write.format("delta").save(name)
    return name


def files(spark: SparkSession, name: str) -> list[Path]:
    return [Path(urlsplit(path).path) for path in spark.read.format("delta").load(name).inputFiles()]


@pytest.mark.parametrize("with_checksums", [True, False])
def test_a_damaged_file_of_a_table_is_named(spark: SparkSession, name: str, with_checksums: bool) -> None:
    [path] = files(spark, name)
    path.write_bytes(path.read_bytes()[:9000])
    if not with_checksums:  # as on an object store
        path.with_name(f".{path.name}.crc").unlink()
    known = explained(error_of(lambda: spark.read.format("delta").load(name).agg(F.max("word")).collect()))
    assert isinstance(known, InputTableError)
    assert f"{path}: cannot be read (" in str(known)
    assert "\n" not in str(known)


def test_a_file_that_is_gone_is_named(spark: SparkSession, name: str) -> None:
    [path] = files(spark, name)
    path.unlink()
    known = explained(error_of(lambda: spark.read.format("delta").load(name).agg(F.max("word")).collect()))
    assert isinstance(known, InputTableError)
    assert f"{path}: is gone, expected it as long as it is read" in str(known)


@pytest.mark.parametrize("keep", [0, 300])
def test_a_cut_log_is_named(spark: SparkSession, name: str, keep: int) -> None:
    [log] = Path(name, "_delta_log").glob("*.json")
    other = Path(name).with_name("other")  # Delta remembers what it has read of a path
    Path(name).rename(other)
    log = other / "_delta_log" / log.name
    log.write_bytes(log.read_bytes()[:keep])
    for checksum in log.parent.glob("*.crc"):
        checksum.unlink()
    for ask in (table_exists, last_commit):
        with pytest.raises(InputTableError, match=r"other: its Delta log cannot be read \(.*\); expected it whole"):
            ask(spark, str(other))


def test_what_can_be_mended_in_a_worker_is_said_as_on_the_driver_and_a_bug_stays_one(spark: SparkSession) -> None:
    def failing(error: Exception) -> Exception:
        def fail(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
            list(batches)
            raise error

        return error_of(lambda: spark.range(1).mapInPandas(fail, "id long").collect())

    known: LlmrecError | None = explained(failing(ArtifactError("m.safetensors: does not fit, expected one that does")))
    assert isinstance(known, ArtifactError)
    assert str(known) == "m.safetensors: does not fit, expected one that does"
    assert explained(failing(ValueError("found 3, expected 2"))) is None
    assert explained(ValueError("llmrec.errors.ArtifactError: said by someone else")) is None


def test_a_full_disk_in_a_worker_is_an_error_of_the_place(spark: SparkSession) -> None:
    def write(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        with Path("/dev/full").open("wb") as file:
            file.write(bytes(9))
        yield from batches

    with pytest.raises(OutputError, match=r"^work: here: cannot be written \(No space left\)"):
        with_output_errors("work: here", spark.range(1).mapInPandas(write, "id long").collect)


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device", "work/catalogue/x.npy"), OSError("1000 requested and 24 written")]
)
def test_a_disk_that_is_full_where_the_driver_writes_is_no_bug(error: OSError) -> None:
    known = explained(error)
    assert isinstance(known, OutputError)
    assert f"({error.strerror or error}); expected room" in str(known)
    assert explained(OSError(2, "No such file or directory", "x")) is None
