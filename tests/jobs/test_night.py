"""prepare, train, score and evaluate on the planted world, one after the other as in a night."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from tests import planted, tiny

ROOT = Path(__file__).parents[2]
TOP_N = 4
jobs = {name: importlib.import_module(name) for name in ("prepare", "train", "score", "evaluate")}


def run(job: str, folder: Path, *overrides: str, run_date: str = planted.RUN_DATE) -> int:
    argv = ["--config", f"{folder}/config.yaml", "--run-date", run_date, *(["--set", *overrides] if overrides else [])]
    return jobs[job].JOB.run(argv)


@pytest.fixture(scope="module")
def folder(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A night from raw files to published lists; the scoring by a real spark-submit, as on a user's machine."""
    folder = tmp_path_factory.mktemp("night")
    tiny.encoder_folder(folder / "encoder")
    planted.write_sources(folder)
    assert run("prepare", folder) == 0
    assert run("train", folder) == 0
    programs = Path(sys.executable).parent
    command = [str(programs / "spark-submit"), "--master", "local[2]", "jobs/score.py"]
    arguments = ["--config", f"{folder}/config.yaml", "--run-date", planted.RUN_DATE]
    env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=ROOT, env=env, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def table(spark: SparkSession, folder: Path, name: str) -> DataFrame:
    return spark.read.format("delta").load(f"{folder}/lake/{name}")


def published(spark: SparkSession, folder: Path, run_date: str = planted.RUN_DATE) -> DataFrame:
    return table(spark, folder, "recommendations").filter(F.col("run_date") == run_date)


def test_each_eligible_user_has_exactly_n_distinct_items_at_ranks_one_to_n(spark: SparkSession, folder: Path) -> None:
    lists = published(spark, folder).groupBy("user_id").agg(
        F.collect_set("item_id").alias("items"), F.sort_array(F.collect_list("rank")).alias("ranks")
    ).collect()  # fmt: skip
    assert {row["user_id"] for row in lists} == {f"u{n:02d}" for n in range(planted.USERS)} | {"new-red", "new-quiet"}
    assert all(row["ranks"] == [1, 2, 3, 4] and len(row["items"]) == TOP_N for row in lists)


def test_no_seen_and_no_unavailable_item_is_published(spark: SparkSession, folder: Path) -> None:
    rows = published(spark, folder)
    assert rows.join(table(spark, folder, "events"), ["user_id", "item_id"], "left_semi").count() == 0
    assert rows.filter(F.col("item_id").isin(planted.GONE, planted.LATER)).count() == 0


def test_users_are_given_what_comes_next_in_their_own_colour(spark: SparkSession, folder: Path) -> None:
    taken = pd.DataFrame(planted.events(), columns=["user_id", "item_id", "event", "at"])
    last = taken.sort_values("at").groupby("user_id")["item_id"].last()
    rows = published(spark, folder).filter("user_id like 'u%' and rank = 1").select("user_id", "item_id").collect()
    given = {row["user_id"]: row["item_id"] for row in rows}
    right = [given[user] == planted.after(item) for user, item in last.items()]
    assert np.mean(right) > 0.9


def test_users_without_history_are_marked_as_fallback(spark: SparkSession, folder: Path) -> None:
    mark = F.array_contains("sources", "fallback")
    marked = published(spark, folder).groupBy("user_id").agg(F.min(mark).alias("all"), F.max(mark).alias("any"))
    assert {row["user_id"] for row in marked.filter("all").collect()} == {"new-red", "new-quiet"}
    assert {row["user_id"] for row in marked.filter("any").collect()} == {"new-red", "new-quiet"}


def test_the_same_date_again_leaves_an_equal_table_and_another_date_adds_its_own(
    spark: SparkSession, folder: Path
) -> None:
    first = published(spark, folder).drop("run_id")
    before = spark.createDataFrame(first.collect(), first.schema)
    assert run("score", folder) == 0
    assert_df_equality(published(spark, folder).drop("run_id"), before, ignore_row_order=True, ignore_nullable=True)
    assert run("score", folder, run_date="2026-02-02") == 0
    assert_df_equality(published(spark, folder).drop("run_id"), before, ignore_row_order=True, ignore_nullable=True)
    assert published(spark, folder, "2026-02-02").count() == before.count()


def test_approximate_search_that_is_asked_for_every_item_gives_the_same_lists(
    spark: SparkSession, folder: Path
) -> None:
    lists = {}
    for search in ("exact", "approximate"):
        assert run("score", folder, "candidates.dense=50", f"candidates.dense_search={search}") == 0
        rows = published(spark, folder).drop("run_id")
        lists[search] = spark.createDataFrame(rows.collect(), rows.schema)
    assert_df_equality(lists["approximate"], lists["exact"], ignore_row_order=True, ignore_nullable=True)


def test_a_night_goes_on_without_what_cannot_be_counted_and_says_so(
    spark: SparkSession, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise MemoryError("no room")

    before = published(spark, folder).count()
    for part in ("followers", "popularity_by_segment", "write_index"):
        monkeypatch.setattr(f"llmrec.pipelines.night.{part}", broken)
    assert run("score", folder, "candidates.dense_search=approximate", "candidates.segment=10") == 0
    said = capsys.readouterr().out
    for name in ("next", "segment", "dense_search"):
        assert f"candidates.{name}: failed, the night goes on without it (no room)" in said
    assert published(spark, folder).count() == before
    counts = (
        table(spark, folder, "runs").filter("job = 'score' and stage = 'catalogue'").orderBy("started_at").collect()
    )
    assert [row["counts"]["next pairs"] > 0 for row in counts[-2:]] == [True, False]
    assert {name for name in counts[-1]["counts"] if name.endswith(" failed")} == {
        "next failed", "segment failed", "dense_search failed",
    }  # fmt: skip
    monkeypatch.undo()
    assert run("score", folder) == 0


def test_a_night_reads_texts_as_the_model_was_trained_to_and_says_so(
    spark: SparkSession, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = ["texts.item_template=['{text}']", "texts.user_template=['{segment}']", "texts.words_tokens=3"]
    assert run("score", folder, *others, run_date="2026-02-03") == 0
    said = capsys.readouterr().out
    assert "texts.item_template: the model was trained with ['{title}', '{category}', '{text}'] and reads that" in said
    rows = published(spark, folder, "2026-02-03").drop("run_id")
    with_others = spark.createDataFrame(rows.collect(), rows.schema)
    assert run("score", folder, run_date="2026-02-03") == 0
    assert "texts." not in capsys.readouterr().out
    again = published(spark, folder, "2026-02-03").drop("run_id")
    assert_df_equality(again, with_others, ignore_row_order=True, ignore_nullable=True)


def test_lists_keep_the_rules_of_the_shop(spark: SparkSession, folder: Path) -> None:
    [first] = published(spark, folder).filter("user_id = 'u01' and rank = 1").collect()
    denied = spark.createDataFrame([(first["item_id"], "u01"), ("blue-03", None)], "item_id string, user_id string")
    denied.write.format("delta").save(f"{folder}/denied")
    overrides = ["rules.at_most={category: 2}", f"tables.names.denied={folder}/denied"]
    assert run("score", folder, *overrides, run_date="2026-02-11") == 0
    rows = published(spark, folder, "2026-02-11")
    assert rows.filter(F.col("item_id") == first["item_id"]).filter("user_id != 'u01'").count()
    assert rows.filter(F.col("item_id") == first["item_id"]).filter("user_id = 'u01'").count() == 0
    assert published(spark, folder).filter("item_id = 'blue-03'").count()
    assert rows.filter("item_id = 'blue-03'").count() == 0
    categories = table(spark, folder, "items").select("item_id", F.explode("category").alias("category"))
    assert rows.join(categories, "item_id").groupBy("user_id", "category").count().agg(F.max("count")).head()[0] == 2


def test_lists_have_no_low_scores_try_out_new_items_and_take_candidates_from_a_table(
    spark: SparkSession, folder: Path
) -> None:
    asked = [("u02", "red-09", "shelf", 1.0), ("u02", "no such item", "shelf", 1.0)]
    frame = spark.createDataFrame(asked, "user_id string, item_id string, source string, source_score double")
    frame.write.format("delta").save(f"{folder}/asked")
    least = published(spark, folder).approxQuantile("score", [0.7], 0.0)[0]
    overrides = [f"rules.min_score={least}", "rules.explore_share=0.5", "rules.explore_below=1000"]
    overrides += ["candidates.popularity=0", "candidates.dense=0", "candidates.similar=0", "rules.diversity=0.2"]
    overrides += ["gates.nights=0"]  # lists are short
    assert run("score", folder, *overrides, f"tables.names.candidates={folder}/asked", run_date="2026-02-12") == 0
    rows = published(spark, folder, "2026-02-12")
    assert rows.agg(F.min("score")).head()[0] >= least
    lengths = {row["count"] for row in rows.groupBy("user_id").count().collect()}
    assert min(lengths) < TOP_N
    tried = rows.filter(F.array_contains("sources", "exploration"))
    assert tried.count()
    assert tried.agg(F.max("propensity")).head()[0] < 1
    assert tried.filter("rank = 1").count() == 0
    supplied = rows.filter(F.array_contains("sources", "supplied")).select("user_id", "item_id").distinct().collect()
    assert {tuple(row) for row in supplied} == {("u02", "red-09")}


def test_counts_in_runs_add_up(spark: SparkSession, folder: Path) -> None:
    rows = table(spark, folder, "runs").filter("job = 'score'").orderBy("started_at").collect()
    first = {row["stage"]: row for row in rows if row["run_id"] == rows[0]["run_id"]}
    assert first["histories"]["rows_in"] == len(planted.events())
    assert first["histories"]["rows_out"] == first["scores"]["counts"]["users"] == planted.USERS + 2
    assert first["scores"]["counts"]["rows"] == first["publish"]["rows_out"] == TOP_N * (planted.USERS + 2)
    assert first["scores"]["counts"]["fallback"] == 2
    assert {row["status"] for row in rows} == {"done"}


def test_a_text_is_encoded_once_per_model(spark: SparkSession, folder: Path) -> None:
    rows = table(spark, folder, "runs").filter("job = 'score' and stage = 'items'").collect()
    assert all(row["counts"]["encoded"] == 0 for row in rows)  # train had encoded them with the same model


def test_training_again_with_the_same_seed_gives_the_same_metrics(folder: Path) -> None:
    first = json.loads((folder / "model" / "manifest.json").read_text())
    other = folder / "again"
    assert run("train", folder, f"model={other}") == 0
    second = json.loads((other / "manifest.json").read_text())
    assert second["metrics"] == first["metrics"]
    assert second["files"] == first["files"]


def test_evaluate_finds_the_planted_taste_and_beats_popularity(
    spark: SparkSession, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("evaluate", folder) == 0
    assert "NDCG@4 against popularity: +" in capsys.readouterr().out
    rows = {
        (r["system"], r["metric"], r["k"]): r for r in table(spark, folder, "metrics").filter("segment='all'").collect()
    }
    assert rows["llmrec", "NDCG", 4]["value"] > rows["popularity", "NDCG", 4]["value"]
    assert rows["popularity", "NDCG p-value", 4]["value"] < 0.05
    assert rows["llmrec", "HR", 4]["users"] == planted.USERS
    assert {"without-bert", "without-pair-scorer", "without-collaborative"} <= {system for system, _, _ in rows}


def broken(folder: Path, tmp_path: Path, change: str) -> list[str]:
    """Return the overrides that point one input at something broken."""
    model = tmp_path / "model"
    shutil.copytree(folder / "model", model)
    if change == "changed byte":
        weights = model / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    elif change == "foreign model":
        (model / "manifest.json").write_text('{"name": "someone else\'s"}')
    elif change == "missing file":
        (model / "ranker.json").unlink()
    elif change == "no model":
        shutil.rmtree(model)
    return [f"model={model}"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("changed byte", "model.safetensors: has sha256"),
        ("foreign model", "is not a manifest of llmrec"),
        ("missing file", "ranker.json: is missing"),
        ("no model", "holds no manifest.json; expected a folder written by jobs/train.py"),
    ],
)
def test_a_broken_model_is_refused_in_one_message(
    folder: Path, tmp_path: Path, change: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("score", folder, *broken(folder, tmp_path, change)) == 2
    refused(capsys, says)


def refused(capsys: pytest.CaptureFixture[str], says: str) -> None:
    said = capsys.readouterr().err
    assert says in said
    assert "Traceback" not in said


def test_a_run_date_before_all_events_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("score", folder, run_date="2025-12-31") == 2
    refused(capsys, "no event is before the run date 2025-12-31; the first is of 2026-01-01")


def test_a_missing_table_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("score", folder, f"tables.names.events={tmp_path}/nowhere") == 2
    refused(capsys, "no Delta table events there")


def test_a_missing_and_a_mistyped_column_are_refused_together(
    spark: SparkSession, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table(spark, folder, "events").drop("event_time").withColumn("item_id", F.lit(3)).write.format("delta").save(
        f"{tmp_path}/events"
    )
    assert run("score", folder, f"tables.names.events={tmp_path}/events") == 2
    refused(capsys, "item_id is int, expected string; event_time is missing, expected timestamp")


def test_an_empty_table_is_refused(
    spark: SparkSession, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table(spark, folder, "items").limit(0).write.format("delta").save(f"{tmp_path}/items")
    assert run("score", folder, f"tables.names.items={tmp_path}/items") == 2
    refused(capsys, "the table is empty, expected at least one row")


def test_where_every_item_is_denied_nothing_is_published_and_the_message_says_so(
    spark: SparkSession, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    every = table(spark, folder, "items").select("item_id", F.lit(None).cast("string").alias("user_id"))
    every.write.format("delta").save(f"{folder}/all-denied")
    assert run("score", folder, f"tables.names.denied={folder}/all-denied", run_date="2026-02-13") == 2
    assert "none of them is left to recommend to any of" in capsys.readouterr().err
    assert published(spark, folder, "2026-02-13").count() == 0


def test_a_place_that_cannot_be_written_is_refused_and_nothing_is_published(
    spark: SparkSession, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    before = table(spark, folder, "recommendations").count()
    assert run("score", folder, f"work={tmp_path}/file/work") == 2
    refused(capsys, "expected a writable place")
    assert run("score", folder, f"tables.names.recommendations={tmp_path}/file/recommendations") == 2
    refused(capsys, "cannot be written")
    assert table(spark, folder, "recommendations").count() == before
    assert run("score", folder, f"tables.names.runs={tmp_path}/file/runs") == 2
    refused(capsys, "score: all is done and written, but not recorded: ")


def test_a_wrong_setting_is_refused_before_spark_starts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("score", folder, "score.top_n=0", "score.colour=red") == 2
    refused(capsys, "2 wrong setting(s)")


def test_a_job_without_its_run_date_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert jobs["score"].JOB.run([]) == 2
    refused(capsys, "--run-date: missing")


def test_a_model_that_learned_from_the_held_out_events_is_not_judged_by_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("evaluate", folder, "holdout.events=2") == 2
    refused(capsys, "trained with holdout")
    assert run("evaluate", folder, run_date="2026-01-31") == 2
    refused(capsys, "trained for run date 2026-02-01, expected 2026-01-31")
