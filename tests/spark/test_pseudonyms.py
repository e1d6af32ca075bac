"""Pseudonyms, against Python's own hmac."""

import hashlib
import hmac

import pytest
from pyspark.sql import SparkSession

from llmrec.errors import ConfigError
from llmrec.spark.pseudonyms import pseudonymous, with_identities, with_pseudonyms

KEY = b"a key of thirty-two bytes or so."


def expected(user_id: str, key: bytes = KEY) -> str:
    return hmac.new(key, user_id.encode(), hashlib.sha256).hexdigest()


def test_an_id_becomes_its_keyed_hash_in_every_table_and_null_stays_null(spark: SparkSession) -> None:
    rows = spark.createDataFrame([("ü1", 1), ("u2", 2), (None, 3), ("ü1", 4)], "user_id string, n int")
    found = {row["n"]: row["user_id"] for row in with_pseudonyms(rows, KEY).collect()}
    assert found == {1: expected("ü1"), 2: expected("u2"), 3: None, 4: expected("ü1")}
    assert expected("u2", KEY + b"!") != expected("u2")


def test_a_source_is_read_as_its_checked_rows_would_be(spark: SparkSession) -> None:
    numbers = spark.createDataFrame([(7.0,), (None,)], "user_id double")
    texts = spark.createDataFrame([(" 7 ",), ("",)], "user_id string")
    for source in (numbers, texts):
        assert [row["user_id"] for row in pseudonymous(source, KEY).collect()] == [expected("7"), None]
    no_ids = spark.sql("SELECT array('u') AS user_id")
    assert pseudonymous(no_ids, KEY).collect() == no_ids.collect()
    assert pseudonymous(no_ids.selectExpr("1 AS item_id"), KEY).columns == ["item_id"]


def test_the_key_stands_in_no_plan(spark: SparkSession, capsys: pytest.CaptureFixture[str]) -> None:
    with_pseudonyms(spark.createDataFrame([("u",)], "user_id string"), KEY).explain(mode="extended")
    said = capsys.readouterr().out
    assert "user_id" in said
    assert KEY.decode() not in said
    assert KEY.hex() not in said.lower()


def test_ids_come_back_from_the_sources_and_who_is_in_none_is_left_out(spark: SparkSession) -> None:
    names = [("u1", 1), ("u1", 2), ("gone", 1), ("new", 1)]
    lists = with_pseudonyms(spark.createDataFrame(names, "user_id string, rank int"), KEY)
    events = spark.createDataFrame([("u1", "a"), ("u1 ", "b")], "user_id string, item_id string")
    profiles = spark.createDataFrame([("new",)], "user_id string")
    found = with_identities(lists, [events, profiles], KEY)
    assert found.columns == ["user_id", "rank"]
    assert sorted(map(tuple, found.collect())) == [("new", 1), ("u1", 1), ("u1", 2)]
    with pytest.raises(ConfigError, match="nobody in the lists is in the sources under this key"):
        with_identities(lists, [events, profiles], KEY + b"!")
