from pathlib import Path

import pytest
from chispa import assert_df_equality
from pyspark.sql import SparkSession

from llmrec.errors import InputTableError
from llmrec.spark.sources import read_source, source_errors

TSV = {"header": "true", "sep": "\t"}
EVENT_COLUMNS = {"user_id": "u", "item_id": "i", "event": "'view'", "event_time": "t"}
USER_COLUMNS = {"user_id": "u"}


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def read_users(spark: SparkSession, path: str, **changes):
    given = {"path": path, "format": "csv", "options": TSV, "columns": USER_COLUMNS} | changes
    return read_source(spark, "users", **given)


def test_tsv_columns_are_strings_and_are_found_by_their_exact_name(spark: SparkSession, tmp_path: Path) -> None:
    path = write(tmp_path / "a.user", "user_id:token\tage:token\n1\t24\n2\t\n")
    columns = {"user_id": "user_id:token", "text": "concat(`age:token`, ' years')", "segment": "'all'"}
    expected = spark.createDataFrame(
        [("1", "24 years", "all", None), ("2", None, "all", None)],
        "user_id string, text string, segment string, _corrupt_record string",
    )
    users = read_users(spark, path, columns=columns, options={**TSV, "inferSchema": "true"})
    assert_df_equality(users, expected, ignore_nullable=True)


def test_tsv_lines_with_another_number_of_columns_are_marked(spark: SparkSession, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "u\tv\n1\tx\n2\n3\ty\tz\n")
    found = {row["user_id"]: row["_corrupt_record"] for row in read_users(spark, path).collect()}
    assert found == {"1": None, "2": "2", "3": "3\ty\tz"}


def test_json_lines_keep_their_types_and_bad_lines_are_marked(spark: SparkSession, tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", '{"u": 1, "s": {"a": 2}}\n{"u": \n')
    expected = spark.createDataFrame([(1, (2,), None), (None, None, '{"u": ')], "user_id long, attributes struct<a:long>, _corrupt_record string")  # fmt: skip  # noqa: E501
    found = read_users(spark, path, format="json", options={}, columns={"user_id": "u", "attributes": "s"})
    assert_df_equality(found, expected, ignore_nullable=True)


@pytest.mark.parametrize("kind", ["parquet", "delta"])
def test_parquet_and_delta_by_path(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    rows = spark.createDataFrame([("a", 1.5)], "u string, x double")
    path = str(tmp_path / f"users.{kind}")
    rows.write.format(kind).save(path)
    found = read_users(spark, path, format=kind, options={}, columns={"user_id": "u", "text": "x"})
    assert_df_equality(found, rows.toDF("user_id", "text"), ignore_nullable=True)


def test_a_catalog_name_is_read_from_the_catalog(spark: SparkSession) -> None:
    spark.createDataFrame([("a",)], "u string").write.format("delta").mode("overwrite").saveAsTable("default.people")
    found = read_users(spark, "default.people", format="delta", options={})
    assert [row["user_id"] for row in found.collect()] == ["a"]


def test_event_is_interaction_unless_mapped(spark: SparkSession, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "u\ti\tt\n1\t2\t3\n")
    columns = {name: value for name, value in EVENT_COLUMNS.items() if name != "event"}
    found = read_source(spark, "events", path=path, format="csv", options=TSV, columns=columns)
    assert [row["event"] for row in found.collect()] == ["interaction"]


@pytest.mark.parametrize("kind", ["csv", "json", "parquet", "delta"])
def test_a_missing_path_is_named(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    with pytest.raises(InputTableError, match=r"^sources\.users: .*/nowhere: nothing to read there \(.*nowhere"):
        read_users(spark, str(tmp_path / "nowhere"), format=kind)


def test_a_missing_catalog_table_is_named(spark: SparkSession) -> None:
    with pytest.raises(InputTableError, match=r"sources\.users: default\.nobody: nothing to read there"):
        read_users(spark, "default.nobody", format="delta", options={})


def test_a_delta_source_is_read_as_it_was_when_it_was_opened(spark: SparkSession, tmp_path: Path) -> None:
    path = str(tmp_path / "users")
    spark.createDataFrame([("1",)], "u string").write.format("delta").save(path)
    opened = read_users(spark, path, format="delta", options={})
    spark.createDataFrame([("2",)], "u string").write.format("delta").mode("append").save(path)
    assert [row["user_id"] for row in opened.collect()] == ["1"]
    assert read_users(spark, path, format="delta", options={"versionAsOf": "0"}).count() == 1
    assert read_users(spark, path, format="delta", options={}).count() == 2


def test_another_format_than_said_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "no table\n")
    with pytest.raises(InputTableError, match=r"a\.txt: cannot be read: .*is not a Parquet file"):
        read_users(spark, path, format="parquet", options={})
    with pytest.raises(InputTableError, match=r"a\.txt: no line is a JSON object, expected one on each line"):
        read_users(spark, path, format="json", options={})
    with pytest.raises(InputTableError, match=r"option mode is DROPMALFORMED; leave it out, bad lines go to quaranti"):
        read_users(spark, path, options={"mode": "DROPMALFORMED"})


def test_every_wrong_mapping_is_named_with_the_columns_there_are(spark: SparkSession, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "u\tage\n1\t2\n")
    columns = {"user_id": "customer", "text": "concat(age, nickname)", "segment": "max(age)", "attributes": "map(age"}
    with pytest.raises(InputTableError) as caught:
        read_users(spark, path, columns=columns)
    message = str(caught.value)
    assert message.startswith("sources.users.columns.user_id: column customer not found; ")
    assert "; text: column nickname not found (in concat(age, nickname)); " in message
    assert "; segment: max(age) cannot be used: The query does not include a GROUP BY clause" in message
    assert "; attributes: map(age is neither a column nor a Spark SQL expression; " in message
    assert message.endswith("; the source has the columns u, age")
    assert "\n" not in message


def test_a_column_that_is_not_ours_is_refused(spark: SparkSession) -> None:
    with pytest.raises(InputTableError, match=r"^sources\.users\.columns: there is no column age; expected some of us"):
        read_users(spark, "any", columns={"user_id": "u", "age": "age"})


def test_a_required_column_must_be_mapped(spark: SparkSession) -> None:
    columns = {"user_id": "u", "event": "e"}
    with pytest.raises(InputTableError, match=r"sources\.events\.columns: item_id, event_time is not mapped, expected"):
        read_source(spark, "events", path="any", format="csv", options=TSV, columns=columns)


@pytest.mark.parametrize("text", ["", "u\n"])
def test_an_empty_source_is_refused(spark: SparkSession, tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "a.tsv", text)
    with pytest.raises(InputTableError, match=r"a\.tsv: the source is empty, expected at least one row"):
        read_users(spark, path)


def test_files_with_columns_in_another_order_are_refused(spark: SparkSession, tmp_path: Path) -> None:
    write(tmp_path / "1.tsv", "u\tv\n1\tx\n")
    write(tmp_path / "2.tsv", "v\tu\nx\t2\n")
    with (
        pytest.raises(InputTableError, match=r"cannot be read: CSV header does not conform .* found: [uv]"),
        source_errors("here"),
    ):
        read_users(spark, str(tmp_path)).collect()  # on one core the first task reads but one of the files


def test_an_expression_that_fails_on_a_row_is_reported_without_a_stack(spark: SparkSession, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "u\n1\nx\n")
    with (
        pytest.raises(
            InputTableError, match=r"^here: a mapped expression fails on the rows: The value \.\.\. of the type"
        ),
        source_errors("here"),
    ):
        read_users(spark, path, columns={"user_id": "cast(u as int)"}).collect()
