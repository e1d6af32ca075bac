from pathlib import Path

import prepare
import pytest
import yaml
from pyspark.sql import SparkSession

ITEMS = "id\tname\n1\tFilm\n2\tPlay\n2\tPlay\n3\t\n"
EVENTS = "who\twhat\twhen\na\t1\t881250949\na\t1\t881250949\nb\t2\t881250950\nb\t9\t881250950\nb\t2\tnever\n"
USERS = '{"id": "a", "age": 24}\n{"id": "", "age": 3}\n'


EXPECTED = {
    "items": [("1", "Film"), ("2", "Play")],
    "events": [("a", "1", "interaction"), ("b", "2", "interaction")],
    "users": [("a", "24 years old")],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources, and later the lake; the tests below run one after the other on it, since a run takes seconds."""
    folder = tmp_path_factory.mktemp("prepare")
    (folder / "items.tsv").write_text(ITEMS)
    (folder / "events.tsv").write_text(EVENTS)
    (folder / "users.json").write_text(USERS)
    return folder


@pytest.fixture
def config(folder: Path) -> dict:
    tsv = {"format": "csv", "options": {"header": "true", "sep": "\t"}}
    columns = {"user_id": "who", "item_id": "what", "event_time": "when"}
    ages = {"user_id": "id", "text": "concat(age, ' years old')"}
    return {
        "sources": {
            "items": {**tsv, "path": f"{folder}/items.tsv", "columns": {"item_id": "id", "title": "name"}},
            "events": {**tsv, "path": f"{folder}/events.tsv", "columns": columns},
            "users": {"format": "json", "path": f"{folder}/users.json", "columns": ages},
        },
        "tables": {"location": f"{folder}/lake"},
    }


def run(folder: Path, config: dict) -> int:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return prepare.JOB.run(["--config", str(path)])


def rows(spark: SparkSession, folder: Path, table: str, *columns: str) -> list[tuple]:
    return [tuple(row) for row in spark.read.format("delta").load(f"{folder}/lake/{table}").select(*columns).collect()]


def good_tables(spark: SparkSession, folder: Path) -> dict[str, list[tuple]]:
    return {
        "items": sorted(rows(spark, folder, "items", "item_id", "title")),
        "events": sorted(rows(spark, folder, "events", "user_id", "item_id", "event")),
        "users": sorted(rows(spark, folder, "users", "user_id", "text")),
    }


def versions(folder: Path) -> dict[str, int]:
    lake = folder / "lake"
    return {table.name: len(list(table.glob("_delta_log/*.json"))) for table in lake.iterdir() if table.name != "runs"}


def test_the_tables_are_written_and_the_rows_counted(
    spark: SparkSession, folder: Path, config: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, config) == 0
    printed = [line.split() for line in capsys.readouterr().out.replace("│", " ").splitlines()]
    assert ["items", "4", "2", "1", "1"] in printed
    assert ["events", "5", "2", "2", "1"] in printed
    assert ["users", "2", "1", "1", "0"] in printed
    assert ["events", "item_id:", "unknown", "item", "1"] in printed
    assert good_tables(spark, folder) == EXPECTED
    assert sorted(rows(spark, folder, "quarantine", "source", "reason")) == [
        ("events", "event_time: unparsable time"),
        ("events", "item_id: unknown item"),
        ("items", "title: null or empty"),
        ("users", "user_id: null or empty"),
    ]
    runs = {stage: rest for stage, *rest in rows(spark, folder, "runs", "stage", "rows_in", "rows_out", "counts")}
    assert runs["events"] == [5, 2, {"read": 5, "used": 2, "quarantined": 2, "duplicates": 1}]


def test_bad_sources_end_with_code_2_and_change_no_table(
    spark: SparkSession, folder: Path, config: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    before = versions(folder)
    events = config["sources"]["events"]
    bad = folder / "bad.tsv"
    bad.write_text("who\twhat\twhen\na\t9\tnever\nb\t9\tnever\n")
    assert run(folder, {**config, "sources": {**config["sources"], "events": {**events, "path": str(bad)}}}) == 2
    assert (
        "prepare: sources.events: none of the 2 rows can be used; expected at least one; commonest reasons: "
        "event_time: unparsable time (2), item_id: unknown item (2)"
    ) in capsys.readouterr().err

    events["columns"]["user_id"] = "customer"
    assert run(folder, config) == 2
    assert (
        "prepare: sources.events.columns.user_id: column customer not found; the source has the columns who, what, when"
    ) in capsys.readouterr().err

    del config["sources"]["events"]
    assert run(folder, config) == 2
    assert "prepare: sources.events: missing, expected path, format and columns" in capsys.readouterr().err
    assert versions(folder) == before


def test_a_second_run_gives_equal_tables_and_leaves_no_stale_users(
    spark: SparkSession, folder: Path, config: dict
) -> None:
    del config["sources"]["users"]
    assert run(folder, config) == 0
    assert good_tables(spark, folder) == {**EXPECTED, "users": []}
