"""jobs/report.py from tables to page."""

import importlib
from datetime import date, datetime, timezone
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from llmrec import columns as C
from llmrec.errors import OutputError
from llmrec.spark.schemas import SCHEMAS
from llmrec.spark.tables import append_table

pytestmark = pytest.mark.spark
report = importlib.import_module("report")
NIGHT = date(2026, 1, 31)


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lake")
    bought = datetime(2026, 1, 5, tzinfo=timezone.utc)
    rows = {
        C.RECOMMENDATIONS: [
            (NIGHT, "u1", "default", 1, "i1", 0.25, ["dense"], "model1", "night1", "Similar to “i2”", 1.0, None)
        ],
        C.EVENTS: [("u1", "i2", "buy", bought, None, None, None)],
        C.ITEMS: [
            ("i1", "<script>alert(1)</script>", None, None, None, None, None, None),
            ("i2", "Liked <b>one</b>", None, None, None, None, None, None),
        ],
    }
    for name, table in rows.items():
        append_table(spark.createDataFrame(table, SCHEMAS[name]).coalesce(1), str(path / name))
    return path


def run(lake: Path, page: Path, *args: str) -> int:
    argv = [*args, "--set", f"tables.location={lake}", f"report.path={page}"]
    return report.JOB.run(argv)


def test_report_writes_the_page_without_metrics_and_prints_a_summary(
    lake: Path, tmp_path: Path, spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "new" / "folder" / "report.html"
    assert run(lake, page) == 0
    html = page.read_text(encoding="utf-8")
    assert "Evaluation has not run yet" in html
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "Liked &lt;b&gt;one&lt;/b&gt;" in html
    assert [path.name for path in page.parent.iterdir()] == ["report.html"]
    printed = capsys.readouterr().out
    assert "1 user received 1 item each" in printed
    assert "25%  <script>alert(1)</script>" in printed
    assert f"{page}\n" in printed
    runs = spark.read.format("delta").load(str(lake / C.RUNS)).orderBy("started_at").collect()
    assert [(row["stage"], row["status"], row["run_date"]) for row in runs] == [
        ("gather", "done", NIGHT),
        ("write", "done", NIGHT),
    ]


def test_report_on_a_date_without_recommendations_names_those_there_are(
    lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(lake, tmp_path / "report.html", "--run-date", "2026-02-01") == 2
    assert "no recommendations for 2026-02-01; there are 2026-01-31" in capsys.readouterr().err


def test_report_without_recommendations_says_where_it_looked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, tmp_path / "report.html") == 2
    assert f"{tmp_path}/recommendations: no Delta table recommendations there" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["folder", "file/report.html"])
def test_a_page_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=f"{place}: the report cannot be written"):
        report.write_page("<p>", tmp_path / place)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_noise_needs_a_secret_key_that_is_long_enough(
    lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--set", f"tables.location={lake}", f"report.path={tmp_path}/r.html", "report.sample_users=0"]
    monkeypatch.setenv("LLMREC_SECRET", "too short")
    assert report.JOB.run([*argv, "report.epsilon=1"]) == 2
    said = capsys.readouterr().err
    assert "report.epsilon: needs a secret key, found 9 bytes in the environment's LLMREC_SECRET" in said
    assert "too short" not in said
    monkeypatch.setenv("LLMREC_SECRET", "0123456789abcdef" * 2)
    assert report.JOB.run([*argv, "report.epsilon=1"]) == 0
