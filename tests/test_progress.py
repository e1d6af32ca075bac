from types import SimpleNamespace

import pytest
from pyspark.sql import SparkSession

from llmrec.progress import Bar, spark_progress


def test_a_log_has_a_line_now_and_then_and_one_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = SimpleNamespace(monotonic=lambda: clock.now, now=0.0)
    monkeypatch.setattr("llmrec.progress.time", clock)
    with Bar("users", 4) as bar:
        for clock.now, done in ((1.0, 0), (20.0, 1), (21.0, 2), (40.0, 2), (44.0, 4), (45.0, 4), (99.0, 4)):
            bar.update(done)
    assert capsys.readouterr().err.splitlines() == [
        "  users: 1 of 4, about 60 s left", "  users: 2 of 4, about 40 s left", "  users: 4 of 4, about 0 s left",
    ]  # fmt: skip


def test_what_an_earlier_run_in_the_session_did_is_not_counted(spark: SparkSession) -> None:
    context, groups = spark.sparkContext, list[str | None]()
    for _ in range(2):
        with spark_progress(spark, "users", 2):
            groups.append(context.getLocalProperty("spark.jobGroup.id"))
            context.parallelize(range(2), 2).count()
        assert context.getLocalProperty("spark.jobGroup.id") is None
    assert len(set(groups)) == 2
