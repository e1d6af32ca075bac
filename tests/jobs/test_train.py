"""train on the planted world: what it learns from, and what a killed one leaves behind."""

import importlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyspark.sql import SparkSession
from safetensors.torch import load_file
from transformers import T5Config

from llmrec.nn.artifact import finish_model, save_encoder
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.copies import find_copies
from llmrec.nn.examples import Shards
from llmrec.nn.panel import Panel
from llmrec.nn.plan import Judge
from llmrec.nn.pretrained import load_backbone
from llmrec.nn.scorer import Scorer
from llmrec.nn.scorers import make_scorer
from llmrec.pipelines import training as pipeline
from llmrec.pipelines.night import build_catalogue
from tests import planted, tiny
from tests.nn.planted_shop import cuts, likers, open_shop, plan, quality, tune

jobs = {name: importlib.import_module(name) for name in ("prepare", "train", "score", "evaluate", "report")}


def run(job: str, folder: Path, *overrides: str) -> int:
    argv = ["--config", f"{folder}/config.yaml", "--run-date", planted.RUN_DATE, "--set", *overrides]
    return jobs[job].JOB.run(argv)


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return found


@pytest.fixture(scope="module")
def folder(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    tiny.encoder_folder(folder / "encoder")
    planted.write_sources(folder)
    assert run("prepare", folder, "train.seed=1") == 0
    return folder


def test_a_training_that_was_killed_goes_on_when_it_is_run_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("train", folder, f"model={folder}/whole") == 0
    judging, looks = Panel.judge, []

    def killed_at_the_fourth_look(panel: Panel, *parts: Any) -> Judge:
        judge = judging(panel, *parts)

        def look(scorer: Scorer) -> float:
            looks.append(judge(scorer))
            if len(looks) == 4:
                raise MemoryError("killed")
            return looks[-1]

        return look

    with monkeypatch.context() as patch:
        patch.setattr(Panel, "judge", killed_at_the_fourth_look)
        assert run("train", folder, f"model={folder}/killed") == 1
    assert not (folder / "killed").exists()
    [left] = (folder / "work").glob("training-*")
    assert run("train", folder, f"model={folder}/killed") == 0
    assert manifest(folder / "killed")["files"] == manifest(folder / "whole")["files"]
    assert not left.exists()


@pytest.mark.parametrize(("job", "held_out"), [("train", 2), ("evaluate", 1)])
def test_nothing_is_counted_that_those_who_judge_did_later(
    folder: Path, monkeypatch: pytest.MonkeyPatch, job: str, held_out: int
) -> None:
    if job == "evaluate":
        assert run("train", folder, "train.ranker=next") == 0
    catalogues: list[Catalogue] = []

    def kept(*args: Any, **named: Any) -> Catalogue:
        catalogues.append(build_catalogue(*args, **named))
        return catalogues[-1]

    monkeypatch.setattr(jobs[job], "build_catalogue", kept)
    assert run(job, folder, "train.ranker=next") == 0
    by_user: dict[str, list[str]] = {}
    for user, item, *_ in planted.events():
        by_user.setdefault(user, []).append(item)
    earlier = Counter(item for own in by_user.values() for item in own[:-held_out])
    [catalogue] = catalogues
    counted = dict(zip(catalogue.ids(np.arange(len(catalogue))), catalogue.taken.tolist(), strict=True))
    assert Counter(counted) == earlier


@pytest.mark.slow
def test_clicks_alone_teach_the_taste_from_impressions_and_the_model_scores_a_night(
    spark: SparkSession, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = {"red": "blue", "blue": "red"}
    rows = [
        (f"r{number}", user, shown, shown == item, at)
        for number, (user, item, _, at) in enumerate(planted.events())
        for shown in (item, other[item.split("-")[0]] + item[item.index("-") :])
    ]
    schema = "request_id string, user_id string, item_id string, clicked boolean, event_time timestamp"
    spark.createDataFrame(rows, schema).write.format("delta").mode("overwrite").save(f"{folder}/lake/impressions")
    learning = ("train.learn_from=impressions", "train.objectives={bce: 1}", f"model={folder}/clicks")
    assert run("train", folder, *learning, "train.max_epochs=4", "train.patience=20") == 0
    metrics = manifest(folder / "clicks")["metrics"]
    assert metrics["validation_ndcg@10"] > metrics["validation_ndcg@10_before_fine_tuning"] + 0.05
    assert run("score", folder, *learning) == 0
    assert spark.read.format("delta").load(f"{folder}/lake/recommendations").count() == (planted.USERS + 2) * 4
    assert run("train", folder, *learning, "train.position_bias=true") == 2
    assert "impressions: no position is known, expected some for train.position_bias" in capsys.readouterr().err


@pytest.mark.slow
def test_a_student_learns_the_taste_of_a_teacher_alone(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop, joint = open_shop(tmp_path / "shop"), make_scorer("joint", tiny.backbone(layers=2), cached_layers=1, seed=0)
    training = plan(objectives={"listwise": 1.0}, learning_rate=3e-3)
    outcome = tune(joint, shop, cuts(likers(60, seed=1)), training, tmp_path, lambda one: quality(one, shop))
    assert outcome.ndcg > 0.9
    save_encoder(tmp_path / "joint", joint, tiny.tokens())
    finish_model(tmp_path / "joint", tiny.fusion(), {"metrics": {"importance": {}}})
    distil = ("train.objectives={distill: 1}", f"model={folder}/student", "train.max_epochs=4", "train.patience=20")
    assert run("train", folder, *distil, f"train.teacher={folder}/nowhere") == 2
    assert f"train.teacher: {folder}/nowhere holds no manifest.json" in capsys.readouterr().err
    assert run("train", folder, *distil, f"train.teacher={tmp_path}/joint") == 0
    metrics = manifest(folder / "student")["metrics"]
    assert metrics["validation_ndcg@10"] > metrics["validation_ndcg@10_before_fine_tuning"] + 0.05


@pytest.mark.slow
def test_a_night_of_the_content_based_scorer_keeps_the_encoder_as_it_was(
    spark: SparkSession, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = ("train.scorer=content", "train.ranker=bert", f"model={folder}/content")
    for job in ("train", "score", "evaluate"):
        assert run(job, folder, *content) == 0
        if job == "train":
            assert "fine-tuning is left out and the encoder stays as it was" in capsys.readouterr().out
    pretrained = load_backbone(f"{folder}/encoder").state_dict()
    kept = load_file(folder / "content" / "model.safetensors")
    assert set(kept) == {f"backbone.{name}" for name in pretrained}
    assert all(torch.equal(kept[f"backbone.{name}"], weights) for name, weights in pretrained.items())
    assert "validation_ndcg@10" not in manifest(folder / "content")["metrics"]
    assert spark.read.format("delta").load(f"{folder}/lake/recommendations").count() == (planted.USERS + 2) * 4
    judged = spark.read.format("delta").load(f"{folder}/lake/metrics").select("system").distinct().collect()
    assert {"llmrec", "dense", "bert"} <= {row["system"] for row in judged}
    assert run("report", folder, *content) == 0
    assert (folder / "report.html").exists()


def test_copies_are_made_once_and_read_by_fine_tuning_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[Any, set[bool]]] = []
    tuning = pipeline.fine_tune

    def fine_tune(scorer: Any, tokens: Any, catalogue: Any, shards: Path, *rest: Any) -> Any:
        examples = list(Shards(shards, lambda _: lambda example, rng: example.negatives, seed=1))
        read.append((find_copies(shards, len(catalogue)), {one.profile is not None for one in examples}))
        return tuning(scorer, tokens, catalogue, shards, *rest)

    (folder / "synonyms.csv").write_text("word,synonym\nred,crimson\nblue,azure\n")
    augment = "delete: 0.2, mask: 0.2, mix: 0.4, copies: 2"
    monkeypatch.setattr(pipeline, "fine_tune", fine_tune)
    model = f"model={folder}/augmented"
    assert run("train", folder, model, f"train.augment={{{augment}, synonyms: {folder}/synonyms.csv}}") == 0
    [(copies, profiles)] = read
    ids = tiny.tokenizer().get_vocab()
    assert copies.count == 2
    assert {ids["crimson"], ids["azure"], ids["[MASK]"]} < set(copies.tokens.tolist())
    assert profiles == {True, False}  # of one user alone something is known
    assert manifest(folder / "augmented")["config"]["train"]["augment"]["copies"] == 2
    assert {path.name for path in (folder / "work").iterdir()} <= {".at-work", "kept", "locks"}


def test_ratings_that_were_learned_stand_beside_the_lists_and_keep_to_their_scale(
    spark: SparkSession, folder: Path, tmp_path: Path
) -> None:
    planted.write_sources(tmp_path)
    head, *rows = (tmp_path / "events.csv").read_text().splitlines()
    rated = [f"{row},{2 + place % 3}" for place, row in enumerate(rows)]
    (tmp_path / "events.csv").write_text("\n".join([f"{head},stars", *rated]))
    named = (f"encoder.path={folder}/encoder", "sources.events.columns.value=stars")
    assert run("prepare", tmp_path, *named) == 0
    both = (*named, "train.learn_from=events", "train.objectives={mse: 1, listwise: 1}")
    assert run("train", tmp_path, *both) == 0
    scale = manifest(tmp_path / "model")["ratings"]
    assert (scale["lowest"], scale["highest"]) == (2, 4)
    assert run("score", tmp_path, *both) == 0
    lists = spark.read.format("delta").load(f"{tmp_path}/lake/recommendations")
    told = [row["rating"] for row in lists.select("rating").collect()]
    assert all(2 <= rating <= 4 for rating in told)
    assert len(set(told)) > 10


def test_ratings_are_refused_where_there_are_none(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", folder, "train.learn_from=events", "train.objectives={mse: 1}") == 2
    assert "ratings are all None, expected different ones to learn" in capsys.readouterr().err


def test_an_encoder_of_another_family_is_refused_by_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    T5Config().save_pretrained(folder / "t5")
    assert run("train", folder, f"encoder.path={folder}/t5", f"model={folder}/none") == 2
    assert f"encoder.path: {folder}/t5: model_type is 't5', supported are bert, camembert," in capsys.readouterr().err


def test_labels_of_one_class_and_a_lone_user_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", folder, "train.learn_from=events", "train.objectives={bce: 1}") == 2
    assert "all that was shown or taken was liked, expected something that was not" in capsys.readouterr().err
    planted.write_sources(tmp_path)
    head, *rows = (tmp_path / "events.csv").read_text().splitlines()
    alone = [row for row in rows if row.startswith("u00,")]
    (tmp_path / "events.csv").write_text("\n".join([head, *alone]))
    assert run("prepare", tmp_path, "train.seed=1") == 0
    assert run("train", tmp_path, f"encoder.path={folder}/encoder") == 2
    assert "expected some of both" in capsys.readouterr().err
