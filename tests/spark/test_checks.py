from datetime import date, datetime, timezone
from pathlib import Path

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from llmrec.errors import InputTableError
from llmrec.spark.checks import Limits, good_rows, mark_repeats, parse_rows, refuse_unknown_items, refused_rows
from llmrec.spark.schemas import SCHEMAS

NOW = datetime(2024, 1, 1, tzinfo=timezone.utc)
LIMITS = Limits(earliest_event=date(1990, 1, 1), now=NOW, max_text_chars=20)
EVENTS = "user_id string, item_id string, event string, event_time string, value string, text string"
TIME = "881250949"


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=timezone.utc)


def reasons(parsed: DataFrame, key: str = "user_id") -> dict[str, str | None]:
    """Reasons by the key as it stood in the source."""
    return {row["row"][key]: row["reason"] for row in parsed.select("row", "reason").collect()}


def test_each_wrong_value_of_an_event_has_its_reason(spark: SparkSession) -> None:
    rows_and_reasons = [
        (("good", "i", "buy", TIME, "1.5", "fine\tso\nfar"), None),
        (("no value", "i", "buy", TIME, None, None), None),
        ((None, "i", "buy", TIME, None, None), "user_id: null or empty"),
        ((" \t", " ", "buy", TIME, None, None), "user_id: null or empty; item_id: null or empty"),
        (("no event", "i", "", TIME, None, None), "event: null or empty"),
        (("no time", "i", "buy", None, None, None), "event_time: null or empty"),
        (("bad time", "i", "buy", "yesterday", None, None), "event_time: unparsable time"),
        (("time of day", "i", "buy", "12:30", None, None), "event_time: unparsable time"),
        (("future", "i", "buy", "2024-01-01T00:00:01", None, None), "event_time: future time"),
        (("milliseconds", "i", "buy", "1700000000000", None, None), "event_time: future time"),
        (("early", "i", "buy", "1989-12-31", None, None), "event_time: before prepare.earliest_event"),
        (("bad value", "i", "buy", TIME, "much", None), "value: unparsable value"),
        (("nan", "i", "buy", TIME, "NaN", None), "value: NaN or infinite"),
        (("infinite", "i", "buy", TIME, "-inf", None), "value: NaN or infinite"),
        (("control", "i", "buy", TIME, None, "a\u0007b"), "text: not text"),
        (("torn", "i", "buy", TIME, None, "caf\ufffd"), "text: not text"),
        (("torn \ufffd", "i", "buy", TIME, None, None), "user_id: not text"),
        (("long", "i", "buy", TIME, None, "x" * 21), "text: longer than prepare.max_text_chars"),
        (("long enough", "i", "buy", TIME, None, "x" * 20), None),
        (("a long item", "x" * 21, "buy", TIME, None, None), "item_id: longer than prepare.max_text_chars"),
    ]
    source = spark.createDataFrame([row for row, _ in rows_and_reasons], EVENTS)
    expected = {row[0]: reason for row, reason in rows_and_reasons}
    assert reasons(parse_rows(source, "events", LIMITS)) == expected


def test_good_events_have_the_types_of_the_contract(spark: SparkSession) -> None:
    source = spark.createDataFrame(
        [
            (" u ", 7.0, "881250949", 5),
            ("u", 7.5, "881250949.25", 5),
            ("u", 8.0, "8.81250949E8", 5),
            ("u", 8.0, "1997-12-04 15:55:49", None),
            ("u", 8.0, "1997-12-04T16:55:49+01:00", None),
            ("u", 8.0, "1997-12-04", None),
        ],
        "user_id string, item_id double, event_time string, value int",
    ).selectExpr("*", "'view' as event")
    when = utc(1997, 12, 4, 15, 55, 49)
    expected = spark.createDataFrame(
        [
            ("u", "7", "view", when, 5.0, None, None),
            ("u", "7.5", "view", utc(1997, 12, 4, 15, 55, 49).replace(microsecond=250_000), 5.0, None, None),
            ("u", "8", "view", when, 5.0, None, None),
            ("u", "8", "view", when, None, None, None),
            ("u", "8", "view", when, None, None, None),
            ("u", "8", "view", utc(1997, 12, 4), None, None, None),
        ],
        SCHEMAS["events"],
    )
    parsed = parse_rows(source, "events", LIMITS).filter("reason is null").select(*SCHEMAS["events"].names)
    assert_df_equality(parsed, expected, ignore_row_order=True, ignore_nullable=True)


def test_times_may_be_numbers_dates_or_timestamps(spark: SparkSession) -> None:
    source = spark.createDataFrame([("i", "t")], "item_id string, title string")
    for value, expected in [
        ("881250949L", utc(1997, 12, 4, 15, 55, 49)),
        ("date'1997-12-04'", utc(1997, 12, 4)),
        ("timestamp_ntz'1997-12-04 01:02:03'", utc(1997, 12, 4, 1, 2, 3)),
        ("timestamp'1997-12-04 01:02:03'", utc(1997, 12, 4, 1, 2, 3)),
    ]:
        items = parse_rows(source.selectExpr("*", f"{value} as available_from"), "items", LIMITS)
        assert items.selectExpr("unix_timestamp(available_from) s").head() == (int(expected.timestamp()),)


def test_each_wrong_value_of_an_item_has_its_reason(spark: SparkSession) -> None:
    nan, row = float("nan"), {"pixels": [0.5]}
    rows_and_reasons = [
        (("good", "Film", None, ["a"], row, None), None),
        (("text alone", None, "a text", ["a"], row, None), None),
        (("no title", " ", "", ["a"], row, None), "title: null or empty"),
        (("long title", "x" * 21, None, ["a"], row, None), "title: longer than prepare.max_text_chars"),
        (("both", "\ufffd", "x" * 21, ["a"], row, None), "title: not text; text: longer than prepare.max_text_chars"),
        (("torn category", "Film", None, ["a", "\u0000"], row, None), "category: not text"),
        (("nan", "Film", None, None, {"pixels": [0.5, nan]}, None), "media: NaN or infinite"),
        (("until when", "Film", None, None, None, "soon"), "available_until: unparsable time"),
        (("beyond", "Film", None, None, None, "1700000000000"), "available_until: unparsable time"),
        (("far future", "Film", None, None, None, "9999-12-31"), None),
    ]
    source = spark.createDataFrame(
        [row for row, _ in rows_and_reasons],
        "item_id string, title string, text string, category array<string>, media map<string,array<double>>, "
        "available_until string",
    )
    parsed = parse_rows(source, "items", LIMITS).cache()
    assert reasons(parsed, "item_id") == {row[0]: reason for row, reason in rows_and_reasons}
    assert [row["title"] for row in parsed.filter("item_id = 'text alone'").collect()] == [""]
    parsed.unpersist()


def test_categories_and_attributes_take_several_shapes(spark: SparkSession) -> None:
    for category, expected in [
        ("' Drama '", ["Drama"]),
        ("''", None),
        ("array('a', ' ', null, 'b ')", ["a", "b"]),
        ("3", ["3"]),
    ]:
        source = spark.sql(f"select 'i' item_id, 't' title, {category} category")
        assert parse_rows(source, "items", LIMITS).select("reason", "category").head() == (None, expected)
    for attributes, expected in [
        ("map('year', 1995, 'none', null)", {"year": "1995"}),
        ("named_struct('year', 1995.0D, 'maker', ' me ', 'none', null)", {"year": "1995", "maker": "me"}),
        ("""' {"year": 1995, "maker": " me ", "none": null} '""", {"year": "1995", "maker": "me"}),
        ("' '", None),
    ]:
        source = spark.sql(f"select 'u' user_id, {attributes} attributes")
        assert parse_rows(source, "users", LIMITS).select("reason", "attributes").head() == (None, expected)


def test_a_row_whose_attributes_are_no_object_goes_alone_to_quarantine(spark: SparkSession, tmp_path: Path) -> None:
    lines = ['{"u": "a", "s": {"age": 7}, "m": {"v": [1, 2.5]}}', '{"u": "b", "s": "seven", "m": [1]}']
    (tmp_path / "users.json").write_text("\n".join(lines))
    source = spark.read.json(str(tmp_path)).selectExpr("u user_id", "s attributes")
    found = {row["user_id"]: row for row in parse_rows(source, "users", LIMITS).collect()}
    assert (found["a"]["reason"], found["a"]["attributes"]) == (None, {"age": "7"})
    assert found["b"]["reason"] == "attributes: unparsable value"
    source = spark.read.json(str(tmp_path)).selectExpr("u item_id", "u title", "m media")
    found = {row["item_id"]: row for row in parse_rows(source, "items", LIMITS).collect()}
    assert (found["a"]["reason"], found["a"]["media"]) == (None, {"v": [1.0, 2.5]})
    assert found["b"]["reason"] == "media: unparsable value"


def test_one_long_text_in_an_array_or_map_is_refused_and_many_short_ones_are_not(spark: SparkSession) -> None:
    for column, reason in [
        ("array('a', repeat('x', 21)) category", "category: longer than prepare.max_text_chars"),
        ("array_repeat(repeat('x', 20), 9) category", None),
        ("map('a', repeat('x', 21)) attributes", "attributes: longer than prepare.max_text_chars"),
        ("map(repeat('x', 21), 'a') attributes", "attributes: longer than prepare.max_text_chars"),
        ("map('a', repeat('x', 20), 'b', repeat('x', 20), 'c', null) attributes", None),
        ("cast(null as map<string, string>) attributes", None),
    ]:
        source = spark.sql(f"select 'i' item_id, 't' title, {column}")
        assert parse_rows(source, "items", LIMITS).select("reason").head() == (reason,)


def test_clicked_and_position_are_read_strictly(spark: SparkSession) -> None:
    rows_and_results = [
        (("1", "true", "1"), (True, 1, None)),
        (("2", "FALSE", "2.0"), (False, 2, None)),
        (("3", "1", None), (True, None, None)),
        (("4", "0", " 4 "), (False, 4, None)),
        (("5", "yes", "1.5"), (None, None, "clicked: unparsable value; position: unparsable value")),
        (("6", None, "1"), (None, 1, "clicked: null or empty")),
    ]
    source = spark.createDataFrame(
        [row for row, _ in rows_and_results], "request_id string, clicked string, position string"
    ).selectExpr("*", "'u' user_id", "'i' item_id", "881250949 event_time")
    parsed = parse_rows(source, "impressions", LIMITS).collect()
    found = {row["request_id"]: (row["clicked"], row["position"], row["reason"]) for row in parsed}
    assert found == {row[0]: result for row, result in rows_and_results}


def test_a_malformed_line_has_only_that_reason_and_keeps_only_mapped_columns(spark: SparkSession) -> None:
    source = spark.createDataFrame([("u", None), (None, "zip\t999")], "user_id string, _corrupt_record string")
    found = mark_repeats(parse_rows(source, "users", LIMITS), "users").filter("user_id is null").collect()
    assert [(row["reason"], row["row"]) for row in found] == [("line: malformed", '{"user_id":null}')]


def test_a_column_of_a_hopeless_type_is_an_error_of_the_source(spark: SparkSession) -> None:
    source = spark.sql("select array('u') user_id")
    with pytest.raises(
        InputTableError,
        match=r"sources\.users\.columns\.user_id: gives array<string>, expected something to turn into string",
    ):
        parse_rows(source, "users", LIMITS)
    with pytest.raises(InputTableError, match=r"attributes: gives int, expected something to turn into map<string,"):
        parse_rows(spark.sql("select 'u' user_id, 3 attributes"), "users", LIMITS)
    with pytest.raises(InputTableError, match=r"value: gives date, expected something to turn into double"):
        parse_rows(
            spark.sql("select 'u' user_id, 'i' item_id, 'e' event, 1 event_time, date'2020-01-01' value"),
            "events",
            LIMITS,
        )


def test_events_of_unknown_items_are_refused(spark: SparkSession) -> None:
    source = spark.createDataFrame(
        [
            ("known", "i", "e", TIME),
            ("unknown", "j", "e", TIME),
            ("bad too", "j", "e", "?"),
            ("no item", "", "e", TIME),
        ],
        "user_id string, item_id string, event string, event_time string",
    )
    items = spark.createDataFrame([("i", "Film")], "item_id string, title string")
    assert reasons(refuse_unknown_items(parse_rows(source, "events", LIMITS), items)) == {
        "known": None,
        "unknown": "item_id: unknown item",
        "bad too": "event_time: unparsable time; item_id: unknown item",
        "no item": "item_id: null or empty",
    }


def test_equal_events_are_duplicates_and_bad_ones_are_not(spark: SparkSession) -> None:
    rows = [("u", "i", TIME), ("u ", "i", TIME), ("u", "i", "1997-12-04 15:55:49"), ("u", "j", TIME)]
    bad = [("u", "", TIME), ("u", "", TIME)]
    source = spark.createDataFrame(rows + bad, "user_id string, item_id string, event_time string")
    source = source.selectExpr("*", "'e' event")
    checked = mark_repeats(parse_rows(source, "events", LIMITS), "events").cache()
    assert sorted(row["item_id"] for row in good_rows(checked, "events").collect()) == ["i", "j"]
    assert checked.filter("duplicate").count() == 2
    assert refused_rows(checked, "events", "run", NOW).count() == 2
    checked.unpersist()


def test_of_conflicting_items_the_first_by_content_is_kept(spark: SparkSession) -> None:
    source = spark.createDataFrame(
        [("i", "B film"), ("i", "A film"), ("i", "A film"), ("j", "Other"), ("j", ""), (None, "x"), (None, "x")],
        "item_id string, title string",
    )
    checked = mark_repeats(parse_rows(source, "items", LIMITS), "items").cache()
    good = sorted((row["item_id"], row["title"]) for row in good_rows(checked, "items").collect())
    assert good == [("i", "A film"), ("j", "Other")]
    expected = spark.createDataFrame(
        [
            ("items", "item_id: another row has it too", '{"item_id":"i","title":"B film"}', "run", NOW),
            ("items", "title: null or empty", '{"item_id":"j","title":""}', "run", NOW),
            ("items", "item_id: null or empty", '{"item_id":null,"title":"x"}', "run", NOW),
            ("items", "item_id: null or empty", '{"item_id":null,"title":"x"}', "run", NOW),
        ],
        SCHEMAS["quarantine"],
    )
    assert_df_equality(
        refused_rows(checked, "items", "run", NOW), expected, ignore_row_order=True, ignore_nullable=True
    )
    assert checked.filter("duplicate").count() == 1
    checked.unpersist()


def test_of_conflicting_users_one_is_kept(spark: SparkSession) -> None:
    source = spark.createDataFrame([("u", "b"), ("u", "a"), ("v", "a")], "user_id string, segment string")
    checked = mark_repeats(parse_rows(source, "users", LIMITS), "users")
    found = sorted((row["user_id"], row["segment"], row["reason"]) for row in checked.collect() if not row["reason"])
    assert found == [("u", "a", None), ("v", "a", None)]


def test_quarantine_says_how_long_a_text_was_and_not_what_a_user_wrote(spark: SparkSession) -> None:
    schema = "user_id string, item_id string, event string, event_time string, text string, _corrupt_record string"
    written = "my secret diary"
    rows = [
        ("u", "i", None, TIME, written, None),
        (written, "i", "buy", TIME, None, "a torn line"),
        ("buy", written, "i", TIME, None, "a line whose item is none either"),
        ("v", "i", None, TIME, None, None),
    ]
    items = spark.createDataFrame([("i", "Film")], "item_id string, title string")
    parsed = refuse_unknown_items(parse_rows(spark.createDataFrame(rows, schema), "events", LIMITS), items).persist()

    def told(**keep: bool) -> list[str]:
        return sorted(
            row["row"] for row in refused_rows(mark_repeats(parsed, "events", **keep), "events", "r", NOW).collect()
        )

    short = f"({len(TIME)} characters)"
    assert told() == sorted([
        f'{{"user_id":"u","item_id":"i","event":null,"event_time":"{TIME}","text":"(15 characters)"}}',
        f'{{"user_id":"(15 characters)","item_id":"(1 characters)","event":"(3 characters)","event_time":"{short}",'
        '"text":null}',
        f'{{"user_id":"(3 characters)","item_id":"(15 characters)","event":"(1 characters)","event_time":"{short}",'
        '"text":null}',
        f'{{"user_id":"v","item_id":"i","event":null,"event_time":"{TIME}","text":null}}',
    ])  # fmt: skip
    assert sum(written in row for row in told(keep_text=True)) == 3
    items = parse_rows(
        spark.createDataFrame([(None, "x", "a text")], "item_id string, title string, text string"), "items", LIMITS
    )
    [refused] = refused_rows(mark_repeats(items, "items"), "items", "r", NOW).collect()
    assert "a text" in refused["row"]
    parsed.unpersist()
