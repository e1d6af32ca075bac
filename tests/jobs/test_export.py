"""train --export on the planted world: what it prints, writes and registers, and what it refuses."""

import importlib
import json
import re
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from llmrec.nn.artifact import resolve_model
from llmrec.registry import Address, Registry
from tests import planted, tiny

jobs = {name: importlib.import_module(name) for name in ("prepare", "train", "score")}


def run(job: str, folder: Path, *overrides: str, more: tuple[str, ...] = ()) -> int:
    argv = ["--config", f"{folder}/config.yaml", "--run-date", planted.RUN_DATE, *more]
    return jobs[job].JOB.run([*argv, "--set", "train.seed=1", *overrides])


@pytest.fixture(scope="module")
def folder(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop with a trained model in a folder."""
    folder = tmp_path_factory.mktemp("export")
    tiny.encoder_folder(folder / "encoder")
    planted.write_sources(folder)
    assert run("prepare", folder) == 0
    assert run("train", folder) == 0
    return folder


@pytest.mark.slow
def test_an_export_prints_size_speed_and_quality_and_a_night_is_scored_by_it(
    spark: SparkSession, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = resolve_model(f"{folder}/model")
    capsys.readouterr()
    small = ("--export", "int8", "layers=2", "heads=2", "--export-to", f"{folder}/small")
    assert run("train", folder, more=small) == 0
    said = capsys.readouterr().out
    for expected in (
        "weights, MB",
        "pairs/s",
        f"original {before.version}",
        "pairs: NDCG@10",
        "lists: NDCG@10",
        "weights: ",
    ):
        assert expected in said
    assert f"NDCG@10 of pair scorer, new against original {before.version}" in said
    assert f"NDCG@10 of lists, new against original {before.version}" in said
    after = resolve_model(f"{folder}/small")
    assert f"model {after.version} written to {folder}/small" in said
    assert resolve_model(f"{folder}/model").version == before.version
    exported = after.manifest["exported"]
    assert exported["from"] == before.version
    assert exported["options"] == ["int8", "layers=2", "heads=2"]
    assert len(exported["left"]["layers"]) == 2
    sizes = [(Path(model.folder) / "model.safetensors").stat().st_size for model in (after, before)]
    assert sizes[0] < 0.4 * sizes[1]
    assert run("score", folder, f"model={folder}/small") == 0
    rows = spark.read.format("delta").load(f"{folder}/lake/recommendations").select("model_version").distinct()
    assert [row[0] for row in rows.collect()] == [after.version]
    assert {path.name for path in (folder / "work").iterdir()} == {".at-work", "kept", "locks"}


@pytest.mark.slow
def test_an_export_passes_the_gate_of_any_new_model(
    folder: Path, spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    named = ("model=models:/shop@champion", f"registry.uri=sqlite:///{folder}/mlflow.db")
    assert run("train", folder, *named) == 0
    registry = Registry(f"sqlite:///{folder}/mlflow.db")
    first = registry.find(Address("shop", "champion", None))
    assert first
    registry.mark_learned("shop", lambda *_: True, "noon")
    assert run("train", folder, *named, "registry.margin=0.9", more=("--export", "int8")) == 0
    assert "is version 2 of shop and its champion" in capsys.readouterr().out
    second = registry.find(Address("shop", "champion", None))
    assert second and second.version == "2"
    assert registry._client.get_model_version("shop", "2").tags["learned_from_erased_users"] == "noon"
    assert json.loads((second.fetch(folder) / "manifest.json").read_text())["exported"]["from"] == first.sha
    assert run("train", folder, *named, more=("--export", "int8")) == 2
    assert "is in int8 already" in capsys.readouterr().err
    assert run("train", folder, *named, more=("--rollback",)) == 0
    assert registry.find(Address("shop", "champion", None)) == first


@pytest.mark.parametrize(
    ("more", "message"),
    [(("--export", "int4", "--export-to", "small"), "--export: 'int4', expected int8, layers=N or heads=N"),
     (("--export", "int8"), "model is the folder .*/model, which stays; expected --export-to with another folder"),
     (("--export-to", "small"), "--export-to: is small, expected --export with it"),
     (("--export", "int8", "--export-to", "{folder}/model"), "as model is, which stays; expected another folder"),
     (("--export", "int8", "--export-to", "{folder}"), "holds files but no manifest.json"),
     (("--export", "int8", "--from", "champion", "--export-to", "small"), "expected no --from, --since or --rollback"),
     (("--export", "layers=3", "--export-to", "small"), "--export layers=3: model [0-9a-f]{12} has 3, expected fewer")],
)  # fmt: skip
def test_what_cannot_be_exported_is_refused_with_the_reason(
    folder: Path, more: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = tuple(one.format(folder=folder) for one in more)
    assert run("train", folder, more=filled) == 2
    assert re.search(message, capsys.readouterr().err)
