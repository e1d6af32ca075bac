"""A registered model on the planted world: how it becomes champion, how it stays, and how one goes back."""

import importlib
import json
import shutil
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from llmrec.registry import Address, Registered, Registry
from tests import planted, tiny

jobs = {name: importlib.import_module(name) for name in ("prepare", "train", "score", "evaluate")}


def run(job: str, folder: Path, *overrides: str, more: tuple[str, ...] = ()) -> int:
    named = ("model=models:/shop@champion", f"registry.uri=sqlite:///{folder}/mlflow.db", *overrides)
    argv = ["--config", f"{folder}/config.yaml", "--run-date", planted.RUN_DATE, *more, "--set", *named]
    return jobs[job].JOB.run(argv)


def champion(folder: Path) -> Registered:
    found = Registry(f"sqlite:///{folder}/mlflow.db").find(Address("shop", "champion", None))
    assert found
    return found


def published_by(spark: SparkSession, folder: Path) -> set[str]:
    rows = spark.read.format("delta").load(f"{folder}/lake/recommendations").select("model_version").distinct()
    return {row[0] for row in rows.collect()}


@pytest.fixture(scope="module")
def folder(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop whose first model is champion."""
    folder = tmp_path_factory.mktemp("champion")
    tiny.encoder_folder(folder / "encoder")
    planted.write_sources(folder)
    assert run("prepare", folder) == 0
    # So long, and in such steps, that it gets better in bfloat16 and in float32.
    assert run("train", folder, "train.max_epochs=8", "train.learning_rate=0.01") == 0
    return folder


def test_the_first_model_becomes_champion_and_a_night_is_scored_by_it(spark: SparkSession, folder: Path) -> None:
    assert champion(folder).version == "1"
    assert run("score", folder) == 0
    assert published_by(spark, folder) == {champion(folder).sha}
    assert run("evaluate", folder) == 0
    assert {path.name for path in (folder / "work").iterdir()} == {".at-work", "kept", "locks"}


def test_a_model_that_is_worse_is_registered_and_the_champion_stays(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # By popularity no colour is told from another, which is all there is to know of this shop.
    assert run("train", folder, "train.ranker=popularity") == 0
    said = capsys.readouterr().out
    assert f"the champion stays {champion(folder).sha}" in said
    assert "NDCG@10 of lists, new against champion" in said
    assert champion(folder).version == "1"
    registry = Registry(f"sqlite:///{folder}/mlflow.db")
    assert registry.find(Address("shop", None, "2"))


def test_a_model_that_is_no_worse_takes_the_place_and_rollback_gives_it_back(
    spark: SparkSession, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = champion(folder)
    assert run("train", folder, "train.seed=2", "registry.margin=0.9") == 0
    after = champion(folder)
    assert after.sha != before.sha
    assert run("score", folder) == 0
    assert published_by(spark, folder) == {after.sha}
    assert run("train", folder, more=("--rollback",)) == 0
    assert f"champion of shop is version {before.version} ({before.sha}) again" in capsys.readouterr().out
    assert run("score", folder) == 0
    assert published_by(spark, folder) == {before.sha}


def test_a_champion_that_was_changed_is_not_scored_with_and_nothing_is_published(
    spark: SparkSession, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, before = tmp_path / "kept", published_by(spark, folder)
    source = champion(folder).fetch(tmp_path)
    shutil.copytree(source, kept)
    manifest = json.loads((source / "manifest.json").read_text())
    other = (source / "ranker.json").read_text() + " "
    (source / "ranker.json").write_text(other)
    assert run("score", folder) == 2
    assert "ranker.json: has sha256" in capsys.readouterr().err
    digest = importlib.import_module("hashlib").sha256(other.encode()).hexdigest()
    (source / "manifest.json").write_text(json.dumps(manifest | {"files": manifest["files"] | {"ranker.json": digest}}))
    assert run("score", folder) == 2
    assert "was registered as" in capsys.readouterr().err
    assert published_by(spark, folder) == before
    shutil.rmtree(source)
    shutil.copytree(kept, source)


def test_a_registry_that_cannot_be_reached_stops_train_before_anything_is_done(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = champion(folder)
    assert run("train", folder, "registry.uri=http://127.0.0.1:9") == 2
    assert "registry: http://127.0.0.1:9 failed" in capsys.readouterr().err
    assert run("train", folder, f"model={folder}/plain", more=("--rollback",)) == 2
    assert "keeps no earlier one" in capsys.readouterr().err
    assert run("train", folder, "model=models:/shop/1") == 2
    assert "expected models:/NAME@ALIAS, or a folder" in capsys.readouterr().err
    assert champion(folder) == before


def test_training_goes_on_from_the_champion_with_what_is_new(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = champion(folder)
    since = ("--from", "champion", "--since", "2026-01-05")
    assert run("train", folder, "registry.margin=0.9", more=since) == 0
    after = champion(folder)
    manifest = json.loads((after.fetch(folder) / "manifest.json").read_text())
    assert manifest["goes_on_from"] == {"version": before.sha, "since": "2026-01-05"}
    old = json.loads((before.fetch(folder) / "manifest.json").read_text())
    # It starts from where the champion ended, not from the encoder.
    name = "validation_ndcg@10_before_fine_tuning"
    assert manifest["metrics"][name] == pytest.approx(old["metrics"]["validation_ndcg@10"])
    assert manifest["metrics"][name] > old["metrics"][name]


def test_what_cannot_be_gone_on_from_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", folder, "train.scorer=joint", more=("--from", "champion")) == 2
    assert "train.scorer: is joint, but the model to go on from has prefix" in capsys.readouterr().err
    assert run("train", folder, f"encoder.path={folder}/large", more=("--from", "champion")) == 2
    assert "encoder.path: ends in large, but the model to go on from was made of encoder" in capsys.readouterr().err
    assert run("train", folder, f"model={folder}/plain", more=("--from", "champion")) == 2
    assert "expected one in the registry" in capsys.readouterr().err
    assert run("train", folder, more=("--since", "2026-01-05")) == 2
    assert "expected both or neither" in capsys.readouterr().err


def test_a_training_that_comes_to_no_number_leaves_the_champion(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = champion(folder)
    assert run("train", folder, "train.learning_rate=1e30", "train.warm_up=0") == 2
    assert "fine-tuning: the loss is nan" in capsys.readouterr().err
    assert champion(folder) == before
    assert (before.fetch(folder) / "manifest.json").is_file()
