"""Rows that are wrong in all the ways that sources have shown, and good ones that look as if they were.

A wrong row carries a tag in a column that is right, so that it is found again in quarantine.
"""

import json
import random
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from pyspark.sql import functions as F

from llmrec.spark.schemas import SCHEMAS
from tests.faults.fault import Fault
from tests.faults.shop import Outcome, Shop, Shops

ROWS, LONG_ROWS = 10_000, 2
"""Wrong rows in all; of each kind whose rows have 10 MB."""
MALFORMED = "line: malformed"
_LONG = "x" * 10_000_000
_AT_ONCE = 20
_EVENT = ("who", "what", "how", "at", "rating", "words")
_AT, _OPENED = 1_700_000_000, "2023-11-14T22:13:20Z"
"""The same moment."""
_GOOD = {"who": "u", "what": "tea", "how": "buy", "at": str(_AT), "rating": "1", "words": ""}

_letters = st.text("abcdefghijklmnopqrstuvwxyz", max_size=12)
_word = _letters.map(lambda letters: f"w{letters}")
_blank = st.text(" \t\u00a0", max_size=4)
_control = st.tuples(_letters, st.sampled_from("\x00\x01\x07\x0b\x1b\x7f\x85\x9f"), _letters).map("".join)


@dataclass(frozen=True)
class Kind:
    """One way to be wrong."""

    name: str
    table: str
    reason: str
    line: Callable[[str, Any], bytes]
    """Makes the line of a source from the row's tag and a value."""
    values: st.SearchStrategy[Any] = field(default_factory=st.none)
    known: tuple[Any, ...] = ()
    """Values that have done harm before; they come first."""
    long: bool = False


def _event(column: str, keep: str = "who") -> Callable[[str, Any], bytes]:
    """Put a value into a column of an event, as text or bytes, and the tag into another."""

    def line(tag: str, value: Any) -> bytes:
        cells = {**_GOOD, keep: tag, column: value}
        return b",".join(one if isinstance(one, bytes) else _quoted(one) for one in (cells[name] for name in _EVENT))

    return line


def _quoted(text: str) -> bytes:
    return ('"' + text.replace('"', '""') + '"').encode() if any(sign in text for sign in ',"') else text.encode()


def _object(column: str, keep: str, **others: Any) -> Callable[[str, Any], bytes]:
    """Put a value, or bytes that are no UTF-8, into a JSON object, and the tag into another field."""

    def line(tag: str, value: Any) -> bytes:
        raw = isinstance(value, bytes)
        text = json.dumps({**others, keep: tag, column: "\u00a7" if raw else value}, ensure_ascii=False).encode()
        return text.replace("\u00a7".encode(), value) if raw else text

    return line


def _at(year: int) -> st.SearchStrategy[str]:
    day = st.dates(min_value=date(year, 1, 1), max_value=date(year, 12, 31))
    return day.map(lambda one: f"{one.isoformat()}T12:30:00Z")


def _in(encoding: str, letters: str) -> st.SearchStrategy[bytes]:
    """Texts in another encoding than UTF-8, in which each of ``letters`` is not valid UTF-8 before an ASCII letter."""
    return st.tuples(_letters, st.sampled_from(letters), _letters).map(
        lambda parts: f"{parts[0]}{parts[1]}z{parts[2]}".encode(encoding)
    )


_ITEM, _USER = {"name": "A tea"}, {"segment": "new"}
_SHOWN = {"request": "r", "user": "u", "item": "tea", "clicked": True, "at": _AT}
_TIME = "event_time: unparsable time"
KINDS = [
    Kind("no-user", "events", "user_id: null or empty", _event("who", keep="how"), _blank, ("", "\u00a0")),
    Kind("no-item", "events", "item_id: null or empty", _event("what"), _blank, ("",)),
    Kind("no-event", "events", "event: null or empty", _event("how"), _blank, ("",)),
    Kind("no-time", "events", "event_time: null or empty", _event("at"), _blank, ("",)),
    Kind("word-for-time", "events", _TIME, _event("at"), _word, ("null", "yesterday", "NaT", "now")),
    Kind("time-of-day", "events", _TIME, _event("at"), st.times().map(str), ("12:30", "T12:30:00")),
    Kind("no-such-day", "events", _TIME, _event("at"), st.sampled_from(["2024-02-30", "2023-13-01", "2023-00-10"])),
    Kind("year-1900", "events", "event_time: before prepare.earliest_event", _event("at"), _at(1900),
         ("-2208988800", "1900-01-01")),
    Kind("year-2200", "events", "event_time: future time", _event("at"), _at(2200), ("7258118400",)),
    Kind("milliseconds", "events", "event_time: future time", _event("at"),
         st.integers(1_600_000_000_000, 1_700_000_000_000).map(str)),
    Kind("word-for-value", "events", "value: unparsable value", _event("rating"), _word, ("4/5", "1,5", "\u2713")),
    Kind("nan", "events", "value: NaN or infinite", _event("rating"), st.sampled_from(["NaN", "nan"])),
    Kind("infinite", "events", "value: NaN or infinite", _event("rating"),
         st.sampled_from(["inf", "-Infinity", "1e999", "-1e400"])),
    Kind("latin-1", "events", "text: not text", _event("words"), _in("latin-1", "\u00e9\u00fc\u00f1\u00df")),
    Kind("windows-1252", "events", "text: not text", _event("words"), _in("cp1252", "\u20ac\u2019\u0153")),
    Kind("shift-jis", "events", "text: not text", _event("words"), _in("shift_jis", "\u65e5\u8336")),
    Kind("utf-16", "events", "text: not text", _event("words"), _word.map(lambda word: word.encode("utf-16-le"))),
    Kind("control-in-id", "events", "user_id: not text", _event("who", keep="how"), _control),
    Kind("long-text", "events", "text: longer than prepare.max_text_chars", _event("words"), st.just(_LONG), long=True),
    Kind("long-user", "events", "user_id: longer than prepare.max_text_chars", _event("who", keep="how"),
         st.just(_LONG), long=True),
    Kind("unknown-item", "events", "item_id: unknown item", _event("what"), _word, ("TEA", "t\u00e9a", "tea\u0301")),
    Kind("two-wrongs", "events", f"{_TIME}; value: unparsable value",
         lambda tag, word: f"{tag},tea,buy,{word},{word},".encode(), _word),
    Kind("too-many-values", "events", MALFORMED, lambda tag, word: f"{tag},tea,buy,1700000000,1,,{word}".encode(),
         _word),
    Kind("too-few-values", "events", MALFORMED, lambda tag, _: f"{tag},tea".encode()),
    Kind("item-without-id", "items", "item_id: null or empty", _object("id", "name"), st.none() | _blank),
    Kind("item-without-text", "items", "title: null or empty", _object("name", "id"), st.none() | _blank),
    Kind("nan-in-vector", "items", "media: NaN or infinite", _object("media", "id", **_ITEM),
         st.sampled_from([{"pixels": [0.5, float("nan")]}, {"pixels": [float("-inf")]}])),
    Kind("word-for-opening", "items", "available_from: unparsable time", _object("opens", "id", **_ITEM),
         _word | st.lists(_word, min_size=1, max_size=2), ({"year": 2024}, True)),
    Kind("json-in-latin-1", "items", MALFORMED, _object("name", "id"), _in("latin-1", "\u00e9\u00fc")),
    Kind("control-in-category", "items", "category: not text", _object("kinds", "id", **_ITEM),
         _control.map(lambda text: [None, text])),
    Kind("long-title", "items", "title: longer than prepare.max_text_chars", _object("name", "id"), st.just(_LONG),
         long=True),
    Kind("no-json", "items", MALFORMED, lambda tag, word: f'{{"id": "{tag}", "name": {word}'.encode(), _word),
    Kind("user-without-id", "users", "user_id: null or empty", _object("id", "segment"), st.none() | _blank),
    Kind("long-segment", "users", "segment: longer than prepare.max_text_chars", _object("segment", "id"),
         st.just(_LONG), long=True),
    Kind("no-request", "impressions", "request_id: null or empty", _object("request", "variant", **_SHOWN),
         st.none() | _blank),
    Kind("perhaps-clicked", "impressions", "clicked: unparsable value", _object("clicked", "variant", **_SHOWN), _word,
         ("yes", 2, "t")),
    Kind("half-a-position", "impressions", "position: unparsable value", _object("position", "variant", **_SHOWN),
         st.integers(0, 99).map(lambda place: place + 0.5)),
]  # fmt: skip
"""Beside them, of two items, or users, with one key the second is wrong; see `Corpus`."""
TWIN = "another row has it too"


def drawn(values: st.SearchStrategy[Any], count: int) -> list[Any]:
    """Draw ``count`` values, the same on every machine."""
    found: list[Any] = []

    @seed(1)
    @settings(
        max_examples=count // _AT_ONCE + 1, phases=[Phase.generate], database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.lists(values, min_size=_AT_ONCE, max_size=_AT_ONCE))
    def draw(some: list[Any]) -> None:
        if len(found) < count:
            found.extend(some)

    draw()
    while len(found) < count:  # where there is one value, or few, Hypothesis makes no list twice
        found.extend(found)
    return found[:count]


@dataclass
class Corpus:
    """Sources with good rows, and wrong ones among them."""

    lines: dict[str, list[bytes]]
    expected: Counter[tuple[str, str, str]]
    """Quarantined rows by table, reason and tag; a malformed line has none."""
    good: dict[str, Counter[str]]
    """The rows of each table, as `_row` makes them."""
    duplicates: dict[str, int]

    def write(self, folder: Path) -> dict[str, Any]:
        """Write the sources; return the settings of prepare."""
        header = [",".join(_EVENT).encode()]
        for table, lines in self.lines.items():
            named = header if table == "events" else []
            (folder / f"{table}.source").write_bytes(b"\n".join([*named, *lines]) + b"\n")
        columns = {
            "events": {"user_id": "who", "item_id": "what", "event": "how", "event_time": "at", "value": "rating",
                       "text": "words"},
            "items": {"item_id": "id", "title": "name", "category": "kinds", "media": "media",
                      "available_from": "opens"},
            "users": {"user_id": "id", "text": "profile", "segment": "segment"},
            "impressions": {"request_id": "request", "user_id": "user", "item_id": "item", "clicked": "clicked",
                            "position": "position", "variant": "variant", "event_time": "at"},
        }  # fmt: skip
        sources = {
            table: {
                "path": f"{folder}/{table}.source",
                "format": "csv" if table == "events" else "json",
                "options": {"header": "true", "escape": '"'} if table == "events" else {},
                "columns": columns[table],
            }
            for table in self.lines
        }
        return {"sources": sources, "tables": {"location": f"{folder}/lake"}}


def make_corpus() -> Corpus:
    """Mix wrong rows of every kind into good ones."""
    lines: dict[str, list[bytes]] = {"events": [], "items": [], "users": [], "impressions": []}
    expected: Counter[tuple[str, str, str]] = Counter()
    twins = 200
    many = [kind for kind in KINDS if not kind.long]
    left = ROWS - 2 * twins - LONG_ROWS * (len(KINDS) - len(many))
    for place, kind in enumerate(KINDS):
        share = left // len(many) + (kind is many[0]) * (left % len(many))
        count = LONG_ROWS if kind.long else share
        values = [*kind.known, *drawn(kind.values, count)][:count]
        for number, value in enumerate(values):
            tag = f"bad-{place:02d}-{number}"
            lines[kind.table].append(kind.line(tag, value))
            expected[kind.table, kind.reason, "" if kind.reason == MALFORMED else tag] += 1
    good = _good_rows(lines)
    for number in range(twins):
        tag = f"bad-99-{number}"
        twin_items = {"name": "A"}, {"name": f"B {tag}"}
        twin_users = {"profile": "A"}, {"profile": "B", "segment": tag}
        for table, key, two in (("items", "item_id", twin_items), ("users", "user_id", twin_users)):
            lines[table] += [json.dumps({"id": f"twin-{number}", **one}).encode() for one in two]
            expected[table, f"{key}: {TWIN}", tag] += 1
        good["items"][_row("items", item_id=f"twin-{number}", title="A")] += 1
        good["users"][_row("users", user_id=f"twin-{number}", text="A")] += 1
    duplicates = {"events": 50, "items": 0, "users": 0, "impressions": 0}
    lines["events"] += [_event("who")("", "u-0")] * duplicates["events"]
    shuffled = random.Random(1)
    for some in lines.values():
        shuffled.shuffle(some)
    return Corpus(lines, expected, good, duplicates)


def _good_rows(lines: dict[str, list[bytes]]) -> dict[str, Counter[str]]:
    """Add good rows: plain ones, keys that differ in case or Unicode form alone, and texts of all scripts."""
    good: dict[str, Counter[str]] = {table: Counter() for table in lines}
    composed = "Caf\u00e9"
    names = [
        "tea",
        composed,
        unicodedata.normalize("NFD", composed),
        composed.upper(),
        composed.lower(),
        "\u212a1",
        "K1",
    ]
    for name in names:
        row = {
            "id": name,
            "name": f"A {name}",
            "kinds": ["a", None, " "],
            "media": {"pixels": [0.5, 1.5]},
            "opens": None if name == "tea" else _OPENED,
        }
        lines["items"].append(json.dumps(row, ensure_ascii=False).encode())
        opens = None if name == "tea" else _moment(_AT)
        kept = {"category": ["a"], "media": row["media"], "available_from": opens}
        good["items"][_row("items", item_id=name, title=f"A {name}", **kept)] += 1
    texts = [
        "",
        '\U0001f375, with "sugar"',
        "\u05e9\u05dc\u05d5\u05dd",
        "\u8336",
        "a\u200db",
        "NULL",
        "\\n",
        "caf\u00e9\ttea",
    ]
    for number in range(2_000):
        own = {"how": ("buy", "view")[number % 2], "at": str(_AT + number), "rating": str(1 + number % 4)}
        cells = {"who": f"u-{number}", "what": names[number % len(names)], "words": texts[number % len(texts)], **own}
        lines["events"].append(b",".join(_quoted(cells[name]) for name in _EVENT))
        row = _row(
            "events", user_id=cells["who"], item_id=cells["what"], event=own["how"], event_time=_moment(_AT + number),
            value=float(own["rating"]), text=cells["words"] or None,
        )  # fmt: skip
        good["events"][row] += 1
    for name in ("u", "U", composed, unicodedata.normalize("NFD", composed)):
        segment = None if name == "u" else "new"
        lines["users"].append(json.dumps({"id": name, "profile": "\U0001f375", "segment": segment}).encode())
        good["users"][_row("users", user_id=name, text="\U0001f375", segment=segment)] += 1
    for number in range(100):
        own = {"position": number, "variant": (None, "a")[number % 2], "clicked": number % 3 == 0}
        lines["impressions"].append(
            json.dumps({**_SHOWN, **own, "request": f"r-{number}", "at": _AT + number}).encode()
        )
        keys = {"request_id": f"r-{number}", "user_id": _SHOWN["user"], "item_id": _SHOWN["item"]}
        good["impressions"][_row("impressions", **keys, **own, event_time=_moment(_AT + number))] += 1
    return good


def _row(table: str, **values: Any) -> str:
    """Write a row with all columns of the contract of ``table``; those that are not named are null."""
    return repr(tuple(values.get(name) for name in SCHEMAS[table].names))


def _moment(seconds: int) -> datetime:
    """Return a time as Spark hands it to Python, by the clock of this place and without its zone."""
    return datetime.fromtimestamp(seconds)


def prepare(shop: Shop, corpus: Corpus) -> Outcome:
    """Run prepare on the corpus, in the folder of ``shop``, and compare what becomes of each row."""
    (shop.folder / "config.yaml").write_text(yaml.safe_dump(corpus.write(shop.folder)))
    ended, outcome = shop.run("prepare"), Outcome()
    outcome.expect(ended.code == 0, f"prepare ended with {ended.code}: {ended.said[-600:]}")
    if not outcome.survived:
        return outcome
    for table in corpus.lines:
        there = Counter(_row(table, **row.asDict()) for row in shop.table(table).collect())
        outcome.expect(there == corpus.good[table], f"good rows of {table}: {_differ(there, corpus.good[table])}")
        outcome.compare(there, corpus.good[table])
    tag = F.when(F.col("reason") == MALFORMED, "").otherwise(F.regexp_extract("row", r"bad-\d+-\d+", 0))
    refused = Counter(map(tuple, shop.table("quarantine").select("source", "reason", tag).collect()))
    outcome.expect(refused == corpus.expected, f"quarantine: {_differ(refused, corpus.expected)}")
    outcome.compare(refused, corpus.expected)
    counts = {row["stage"]: row["counts"] for row in shop.table("runs").orderBy("started_at").collect()}
    for table, lines in corpus.lines.items():
        expected = {
            "read": len(lines), "used": corpus.good[table].total(), "duplicates": corpus.duplicates[table],
            "quarantined": sum(count for (source, _, _), count in corpus.expected.items() if source == table),
        }  # fmt: skip
        outcome.expect(counts[table] == expected, f"counts of {table} are {counts[table]}, expected {expected}")
    return outcome


def _differ(found: Counter[Any], expected: Counter[Any]) -> str:
    beside, missing = list(found - expected), list(expected - found)
    return f"{len(beside)} too many, such as {beside[:3]}, {len(missing)} missing, such as {missing[:3]}"


def mix_in(shops: Shops) -> Outcome:
    """Mix wrong rows into good ones."""
    return prepare(shops.bare(), make_corpus())


FAULTS = [Fault(f"{ROWS:,} wrong rows of {len(KINDS) + 2} kinds among good ones", mix_in)]
