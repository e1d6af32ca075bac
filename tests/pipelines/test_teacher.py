from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from llmrec.errors import ArtifactError, ConfigError
from llmrec.nn.artifact import finish_model, save_encoder
from llmrec.nn.scorer import Scorer
from llmrec.nn.unread import Unread
from llmrec.pipelines.teacher import open_teacher, prepare_teacher
from llmrec.settings.config import Config
from llmrec.settings.training import Train
from tests import tiny


def config(teacher: Path, model: str = "model") -> Config:
    return Config(model=model, train=Train(teacher=str(teacher), objectives={"distill": 1.0}))


def model(folder: Path, scorer: Scorer | Unread) -> Path:
    save_encoder(folder, scorer, tiny.tokens())
    finish_model(folder, tiny.fusion(), {"metrics": {"importance": {}}})
    return folder


def test_a_teacher_is_the_model_that_stands_in_its_folder(tmp_path: Path) -> None:
    folder = model(tmp_path / "teacher", tiny.scorer())
    info = open_teacher(config(folder))
    assert info is not None
    assert info.folder == folder
    assert open_teacher(Config()) is None


def test_a_missing_or_changed_teacher_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=rf"train\.teacher: {tmp_path} holds no manifest.json; expected a folder"):
        open_teacher(config(tmp_path))
    folder = model(tmp_path / "teacher", tiny.scorer())
    with (folder / "scorer.json").open("a") as file:
        file.write(" ")
    with pytest.raises(ArtifactError, match=r"scorer.json: has sha256"):
        open_teacher(config(folder))


def test_a_teacher_that_reads_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="has scorer none, expected one that reads pairs"):
        open_teacher(config(model(tmp_path / "teacher", Unread())))


def test_a_teacher_is_never_replaced_by_its_student(tmp_path: Path) -> None:
    folder = model(tmp_path / "teacher", tiny.scorer())
    with pytest.raises(ConfigError, match="as model is, so train would replace it"):
        open_teacher(config(folder, model=f"{tmp_path}/other/../teacher"))


def test_item_texts_are_split_in_the_order_of_their_indexes(spark: SparkSession, tmp_path: Path) -> None:
    info = open_teacher(config(model(tmp_path / "model", tiny.scorer())))
    assert info is not None
    items = spark.createDataFrame([(2, "dog"), (0, "red tea"), (1, "blue cup . old")], "item int, text string")
    prepare_teacher(info, items, tmp_path / "teacher")
    pieces = tiny.tokens().item_pieces(["red tea", "blue cup . old", "dog"])
    starts = np.load(tmp_path / "teacher" / "token_starts.npy")
    assert np.load(tmp_path / "teacher" / "tokens.npy").tolist() == np.concatenate(pieces).tolist()
    assert starts.tolist() == [0, 2, 6, 7]
