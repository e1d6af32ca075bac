"""Rows of users that go for good from a table with a history."""

import json
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlparse

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from llmrec import columns as C
from llmrec.errors import OutputError
from llmrec.spark import erasure
from llmrec.spark.erasure import Found, clean_messages, erased_ids, find, forget_history, remove_rows
from llmrec.spark.schemas import SCHEMAS
from llmrec.spark.tables import append_table

GONE = "zz-planted-user"
NOW = datetime(2026, 2, 1, tzinfo=timezone.utc)


def holds(folder: Path, word: str) -> set[str]:
    """Return the kinds of files that hold ``word``, as bytes or in a column."""
    found = set()
    for path in filter(Path.is_file, folder.rglob("*")):
        content = path.read_bytes()
        if path.name.endswith(".parquet") and not path.name.startswith("."):
            content += repr(pq.read_table(path, partitioning=None).to_pydict()).encode()
        if word.encode() in content:
            kind = path.suffixes[-2] if "checkpoint" in path.name else path.suffix
            found.add(
                f"{path.relative_to(folder).parts[0]} {kind}" if len(path.relative_to(folder).parts) > 1 else kind
            )
    return found


def told(spark: SparkSession, name: str) -> list[tuple[str, str]]:
    return sorted(map(tuple, spark.read.format("delta").load(name).filter(f"user_id != '{GONE}'").collect()))


@pytest.fixture(params=[False, True], ids=["rewritten files", "deletion vectors"])
def name(spark: SparkSession, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A table of a few versions with a change data feed; the last one no longer has some of the user's rows."""
    name = f"{tmp_path}/table"
    spark.sql(
        f"CREATE TABLE delta.`{name}` (user_id STRING, item_id STRING) USING delta TBLPROPERTIES ("
        f"'delta.enableChangeDataFeed' = 'true', 'delta.enableDeletionVectors' = '{request.param}', "
        "'delta.checkpointInterval' = '3')"
    )
    for number in range(4):
        some = [("another", f"{number}"), (GONE, f"{number}"), (GONE, "x"), ("zoe", "0")]
        append_table(spark.createDataFrame(some, "user_id string, item_id string").coalesce(1), name)
    spark.sql(f"DELETE FROM delta.`{name}` WHERE user_id = '{GONE}' AND item_id = '2'")
    return name


def test_no_file_of_data_changes_or_log_holds_an_erased_user_and_all_else_stays(spark: SparkSession, name: str) -> None:
    before, there = told(spark, name), holds(Path(name), GONE)
    assert {"_delta_log .json", "_delta_log .checkpoint", ".parquet"} <= there
    erased = erased_ids(spark, [GONE])
    assert remove_rows(spark, name, C.EVENTS, erased).rows == 7
    forget_history(spark, name, NOW)
    assert holds(Path(name), GONE) == set()
    assert told(spark, name) == before
    append_table(spark.createDataFrame([("new", "1")], "user_id string, item_id string"), name)
    assert remove_rows(spark, name, C.EVENTS, erased).rows == 0
    forget_history(spark, name, NOW)
    assert told(spark, name) == sorted([*before, ("new", "1")])


def test_a_user_whose_rows_were_deleted_by_hand_goes_from_the_history_too(spark: SparkSession, name: str) -> None:
    before, logging = told(spark, name), "spark.databricks.delta.vacuum.logging.enabled"
    spark.conf.set(logging, "false")  # else vacuum adds a commit of its own after the one that names the user
    spark.sql(f"DELETE FROM delta.`{name}` WHERE user_id = '{GONE}'")
    assert remove_rows(spark, name, C.EVENTS, erased_ids(spark, [GONE])).rows == 0
    assert "_delta_log .json" in holds(Path(name), GONE)  # the condition of the last commit
    forget_history(spark, name, NOW)
    spark.conf.unset(logging)
    assert holds(Path(name), GONE) == set()
    assert told(spark, name) == before


@pytest.mark.parametrize("killed_in", ["vacuum", "_Log.cut"])
def test_an_erasure_that_was_killed_leaves_a_table_that_reads_and_ends_when_it_is_run_again(
    spark: SparkSession, name: str, killed_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    before, erased = told(spark, name), erased_ids(spark, [GONE])
    remove_rows(spark, name, C.EVENTS, erased)
    monkeypatch.setattr(f"llmrec.spark.erasure.{killed_in}", killed)
    with pytest.raises(KeyboardInterrupt):
        forget_history(spark, name, NOW)
    assert told(spark, name) == before
    assert holds(Path(name), GONE)
    monkeypatch.undo()
    assert remove_rows(spark, name, C.EVENTS, erased).rows == 0
    forget_history(spark, name, NOW)
    assert holds(Path(name), GONE) == set()
    assert told(spark, name) == before


def test_a_table_of_a_catalog_is_cleaned_as_one_of_a_path(spark: SparkSession) -> None:
    name = "default.with_a_planted_user"
    for user in ("another", GONE):
        append_table(spark.createDataFrame([(user,)], "user_id string").coalesce(1), name)
    place = Path(urlparse(spark.sql(f"DESCRIBE DETAIL {name}").collect()[0]["location"]).path)
    assert holds(place, GONE)
    assert remove_rows(spark, name, C.USERS, erased_ids(spark, [GONE])).rows == 1
    forget_history(spark, name, NOW)
    assert holds(place, GONE) == set()
    assert [row["user_id"] for row in spark.table(name).collect()] == ["another"]
    spark.sql(f"DROP TABLE {name}")


def test_a_log_is_not_cut_before_its_checkpoint_is_there(
    spark: SparkSession, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: Callable[..., list[str]] = erasure._Log.list
    monkeypatch.setattr(
        erasure._Log, "list", lambda log, inside="": [one for one in listed(log, inside) if "checkpoint" not in one]
    )
    before = told(spark, name)
    with pytest.raises(RuntimeError, match="has no checkpoint of version"):
        forget_history(spark, name, NOW)
    assert told(spark, name) == before


def test_a_table_whose_log_a_catalog_keeps_is_refused(spark: SparkSession, name: str) -> None:
    (Path(name) / "_delta_log" / "_staged_commits" / "1.json").parent.mkdir(exist_ok=True)
    (Path(name) / "_delta_log" / "_staged_commits" / "1.json").write_text("{}")
    with pytest.raises(OutputError, match="a catalog keeps its log"):
        forget_history(spark, name, NOW)


def test_a_refused_row_is_found_by_the_id_that_the_source_gave(spark: SparkSession) -> None:
    given = [
        ("event: null or empty", {"user_id": " 7 ", "item_id": "a"}, True),
        ("event: null or empty", {"user_id": 7, "item_id": "a"}, True),
        ("event: null or empty", {"user_id": 7.0, "item_id": "a"}, True),
        ("event: null or empty", {"user_id": "70", "item_id": "7"}, False),
        ("event: null or empty", {"user_id": None, "item_id": "7"}, False),
        ("line: malformed", {"user_id": "buy", "item_id": " 7"}, True),
        ("line: malformed", {"user_id": "buy", "item_id": "77"}, False),
        ("line: malformed", {"user_id": "buy", "item_id": None}, False),
        ("line: malformed", {"user_id": '"a-1,7,buy', "item_id": None}, True),
        ("line: malformed", {"user_id": '"a-17,70,buy', "item_id": None}, False),
        ("event: null or empty", {"user_id": "a-1,7,buy", "item_id": "a"}, False),
        ("line: malformed; item_id: unknown item", {"user_id": None, "item_id": 7.0}, True),
    ]
    for reason, row, is_theirs in given:
        refused = spark.createDataFrame([(C.EVENTS, reason, json.dumps(row), "r", NOW)], SCHEMAS[C.QUARANTINE])
        theirs = frozenset(["7"] if is_theirs else [])
        assert find(refused, C.QUARANTINE, erased_ids(spark, ["7", "8"])) == Found(is_theirs, theirs), row


def test_an_id_is_found_in_a_torn_row_whatever_letters_it_has(spark: SparkSession) -> None:
    for user in ("a.b*c", "x\\Ey", "user (1)", "\\"):
        row = (C.EVENTS, "line: malformed", json.dumps({"user_id": f'"it,{user},buy'}), "r", NOW)
        refused = spark.createDataFrame([row], SCHEMAS[C.QUARANTINE])
        assert find(refused, C.QUARANTINE, erased_ids(spark, [user, "other"])) == Found(1, frozenset([user])), user


def test_an_id_that_a_source_holds_as_a_long_double_is_found(spark: SparkSession) -> None:
    doubles = spark.createDataFrame([(12345678.0,), (12345679.0,), (1234567.0,), (None,)], "user_id double")
    rows = doubles.selectExpr(
        f"'{C.EVENTS}' AS source", "'event: null or empty' AS reason", "to_json(struct(user_id)) AS row"
    )
    assert '{"user_id":1.2345678E7}' in [row["row"] for row in rows.collect()]
    for user in ("12345678", "1234567"):
        assert find(rows, C.QUARANTINE, erased_ids(spark, [user, "12345"])) == Found(1, frozenset([user]))


def test_a_torn_row_of_two_erased_users_is_one_row_of_both(spark: SparkSession) -> None:
    row = (C.EVENTS, "line: malformed", '{"user_id":"7","item_id":"8"}', "r", NOW)
    refused = spark.createDataFrame([row, row], SCHEMAS[C.QUARANTINE])
    assert find(refused, C.QUARANTINE, erased_ids(spark, ["7", "8", "9"])) == Found(2, frozenset("78"))


def test_ids_are_taken_as_they_are_stored(spark: SparkSession) -> None:
    rows = spark.createDataFrame([("U1",), ("u1",), ("u10",)], "user_id string")
    assert find(rows, C.USERS, erased_ids(spark, ["u1", "U2"])) == Found(1, frozenset(["u1"]))


def test_an_id_goes_from_a_message_and_the_rest_of_it_stays(spark: SparkSession, tmp_path: Path) -> None:
    name, columns = f"{tmp_path}/runs", "message string, stage string"
    rows = [("of 'u.1' and u.12", "a"), (None, "b"), ("nothing", "c"), ("of 'u.1' and u.12", "d"), ("ux1", "e")]
    append_table(spark.createDataFrame(rows, columns), name)
    assert clean_messages(spark, name, ["u.1"]) == 2
    after = {row["stage"]: row["message"] for row in spark.read.format("delta").load(name).collect()}
    assert after == dict.fromkeys("ad", "of '(erased)' and u.12") | {"b": None, "c": "nothing", "e": "ux1"}
