"""The model that fine-tuning learns from beside the examples: which one it is, and what it reads."""

from pathlib import Path

from pyspark.sql import DataFrame

from llmrec import columns as C
from llmrec.errors import ArtifactError, ConfigError
from llmrec.nn.artifact import ModelInfo, resolve_model
from llmrec.nn.teacher import write_teacher
from llmrec.nn.unread import Unread
from llmrec.settings.config import Config
from llmrec.spark.items import INDEX


def open_teacher(config: Config) -> ModelInfo | None:
    """Check the model that objective distill learns from; None where there is none.

    Raises ArtifactError if no whole model is there or it reads no texts, and ConfigError if train would replace it.
    """
    folder = config.train.teacher
    if folder is None:
        return None
    if Path(folder).resolve() == Path(config.model).resolve():
        raise ConfigError(
            f"train.teacher: is {folder}, as model is, so train would replace it; expected another folder"
        )
    info = resolve_model(folder, setting="train.teacher")
    if info.manifest["scorer"] == Unread.name:
        raise ArtifactError(f"train.teacher: {folder} has scorer {Unread.name}, expected one that reads pairs")
    return info


def prepare_teacher(info: ModelInfo, items: DataFrame, folder: Path) -> None:
    """Write the teacher to ``folder`` with the texts of ``items`` (as of spark.items) as it reads them."""
    texts = items.select(INDEX, C.TEXT).orderBy(INDEX).toPandas()[C.TEXT]
    write_teacher(folder, info.folder, texts.tolist())
