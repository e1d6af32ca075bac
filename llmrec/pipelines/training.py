"""From events to a model: what is fine-tuned, from what, and what it came from."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from llmrec import __version__
from llmrec import columns as C
from llmrec.errors import ConfigError, InputTableError
from llmrec.nn.artifact import ModelInfo, library_versions, load_encoder
from llmrec.nn.backbone import Backbone
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.objectives import DISTILL, DRAWS, RANKING, RATING
from llmrec.nn.panel import Panel
from llmrec.nn.plan import Outcome, Progress, TrainingPlan, Tuning
from llmrec.nn.pretrained import load_backbone
from llmrec.nn.ratings import RatingScale
from llmrec.nn.scorer import Scorer
from llmrec.nn.scorers import make_scorer
from llmrec.nn.sequential import Sequential, fit_sequential
from llmrec.nn.tokens import Tokens
from llmrec.nn.training import fine_tune
from llmrec.nn.unread import Unread
from llmrec.pipelines.augment import Augmentation
from llmrec.pipelines.examples import rating_scale
from llmrec.pipelines.night import Night
from llmrec.settings.config import Config
from llmrec.spark.examples import write_examples
from llmrec.spark.items import AVAILABLE, INDEX
from llmrec.spark.splits import LIKES, PART
from llmrec.spark.together import learn_together
from llmrec.spark.users import sample_users, to_users


def require_fitting(backbone: Backbone, config: Config) -> None:
    """Raise ConfigError if the settings ask for more layers or longer texts than the encoder has."""
    layers, longest = len(backbone.stack), backbone.max_tokens
    pair = config.texts.max_user_tokens + config.texts.max_item_tokens - 1
    problems = [
        *(f"train.{name} is {value}, expected at most {most}" for name, value, most in (
            *([("cached_layers", config.train.cached_layers, layers - 1)] if config.train.scorer == "prefix" else []),
            ("frozen_layers", config.train.frozen_layers, layers - (config.train.tuning in ("lora", "adalora"))),
        ) if value > most),
        *(f"texts.{name} is {value}, expected at most {longest}" for name, value in (
            ("max_user_tokens", config.texts.max_user_tokens),
            ("max_item_tokens", config.texts.max_item_tokens),
        ) if value > longest),
        *([f"texts.max_user_tokens and max_item_tokens make pairs of {pair}, expected at most {longest} for the joint "
           "scorer"] if config.train.scorer == "joint" and pair > longest else []),
    ]  # fmt: skip
    if problems:
        raise ConfigError(f"{config.encoder.path}: has {layers} layers and {longest} positions: {'; '.join(problems)}")


def open_scorer(config: Config) -> Scorer | Unread:
    """Open the pretrained encoder under an untrained head, if an encoder is needed.

    Raises ConfigError as `require_fitting`.
    """
    if config.scorer == Unread.name:
        return Unread()
    backbone = load_backbone(config.encoder.path, config.encoder.allow_download)
    require_fitting(backbone, config)
    return make_scorer(
        config.scorer, backbone, config.train.cached_layers, outputs=_outputs(config), seed=config.train.seed
    )


def continue_scorer(model: ModelInfo, config: Config) -> tuple[Scorer, Tokens]:
    """Open the scorer of a trained model, and its tokenizer with its own limits, to go on with.

    Raises ConfigError if the settings ask for another scorer or encoder, or the model's cannot learn on.
    """
    scorer, tokens = load_encoder(model.folder)
    if not isinstance(scorer, Scorer) or scorer.name != config.scorer:
        raise ConfigError(f"train.scorer: is {config.scorer}, but the model to go on from has {scorer.name}")
    encoder = Path(config.encoder.path).name
    if encoder != model.manifest["encoder"]:
        raise ConfigError(
            f"encoder.path: ends in {encoder}, but the model to go on from was made of {model.manifest['encoder']}; "
            "expected the same, or a training from the encoder"
        )
    if scorer.backbone.shape.adapter_width or scorer.backbone.shape.virtual_tokens:
        raise ConfigError(
            "train: the model to go on from was tuned by adapters or prefix, expected another way; train from the "
            "encoder instead"
        )
    require_fitting(scorer.backbone, config)
    outputs = _outputs(config)
    if scorer.outputs != outputs:
        raise ConfigError(
            f"train.objectives: ask for {outputs} output(s), the model to go on from has {scorer.outputs}; expected "
            "objectives of the same kind"
        )
    scorer.is_rounded = False  # what it learns may lie between two codes
    return scorer.requires_grad_(True).train(), tokens


def _outputs(config: Config) -> int:
    """Return how many numbers a pair gets: a logit and a rating where the objectives ask for both."""
    asked = config.train.objectives.keys()
    return 1 + (bool(RATING & asked) and bool(RANKING & asked))


def train_scorer(
    scorer: Scorer,
    tokens: Tokens,
    catalogue: Catalogue,
    examples: DataFrame,
    judges: Panel,
    config: Config,
    report: Callable[[Progress], None],
    work: Path,
    checkpoints: Path,
    augmentation: Augmentation | None = None,
) -> Outcome:
    """Fine-tune ``scorer`` in place.

    Args:
        scorer: the pretrained encoder with an untrained head.
        tokens: its tokenizer.
        catalogue: counts of the training events.
        examples: of the training period; see spark.examples.
        judges: those who decide early stopping.
        config: gives the plan.
        report: told of every step.
        work: folder with ``scorer`` as it is ("base"), the catalogue ("before") and, if one is learned from, the
            "teacher" (pipelines.teacher), where the examples go.
        checkpoints: folder from which a training that was killed goes on; see `training_key`.
        augmentation: adds copies to the examples and of the item texts; None: there are none.

    Raises InputTableError if there is nothing to learn from or nobody to judge by.
    """
    settings = config.train
    count = write_examples(
        examples, work / "examples", at_most=settings.max_examples, seed=settings.seed,
        change=augmentation.examples if augmentation else None,
    )  # fmt: skip
    if not count or not judges.users:
        raise InputTableError(
            f"events: {count} examples before the cut-off (train.learn_from: {settings.learn_from}) and "
            f"{len(judges.users)} users with liked items in the validation period (holdout: "
            f"{config.holdout.model_dump()}); expected some of both"
        )
    if "bce" in settings.objectives and examples.filter(F.size("others") > 0).isEmpty():
        raise InputTableError(
            f"{settings.learn_from}: all that was shown or taken was liked, expected something that was not, for "
            "objective bce"
        )
    if settings.position_bias and examples.filter(F.array_max("positions") >= 0).isEmpty():
        raise InputTableError("impressions: no position is known, expected some for train.position_bias")
    scorer.ratings = _scale(scorer.ratings, examples) if RATING & settings.objectives.keys() else None
    plan, shards = _plan(config, scorer.ratings, work / "teacher"), work / "examples"
    if augmentation is not None:
        augmentation.write_items(shards)
    if settings.processes > 1:
        learn_together(
            work / "base", work / "before", shards, checkpoints, plan, judges, processes=settings.processes,
            on_executors=settings.processes_on == "executors",
        )  # fmt: skip
    return fine_tune(scorer, tokens, catalogue, shards, plan, judges.judge(tokens, catalogue), report, checkpoints)


def _scale(before: RatingScale | None, examples: DataFrame) -> RatingScale:
    """Return the scale of the ratings; a scorer that goes on keeps the one it has, widened where ratings go beyond."""
    found = rating_scale(examples)
    return before.over(found) if before else found


def training_key(
    encoder_version: str,
    teacher: ModelInfo | None,
    examples: DataFrame,
    parts: DataFrame,
    night: Night,
    augmentation: Augmentation | None,
    config: Config,
) -> str:
    """Return what a training depends on, in 12 hexadecimal digits: the same key, the same result.

    Args:
        encoder_version: of the pretrained encoder under its untrained head.
        teacher: which is learned from, if any.
        examples: what is learned from.
        parts: all events, from which catalogue and judges come.
        night: gives the items.
        augmentation: gives the version of what texts are rewritten with; None: of nothing.
        config: all settings.
    """
    frames = (
        examples,
        parts.select(C.USER, INDEX, C.EVENT_TIME, LIKES, PART),
        night.items.select(INDEX, C.ITEM, C.TEXT_SHA, AVAILABLE),
    )
    hashes = [F.sum(F.xxhash64(*frame.columns).cast("decimal(38, 0)")) for frame in frames]
    rows = [str(frame.agg(F.count("*"), of).head()) for frame, of in zip(frames, hashes, strict=True)]
    versions = [
        encoder_version, teacher.encoder_version if teacher else None, augmentation.version if augmentation else None
    ]  # fmt: skip
    named = [__version__, *versions, *rows, config.sha]
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()[:12]


def train_sequential(catalogue: Catalogue, learners: DataFrame, config: Config) -> Sequential | None:
    """Learn from the order of histories; None where that is off, or no user has two items.

    Args:
        catalogue: with the vectors of the fine-tuned encoder.
        learners: user rows of the training events.
        config: gives the seed and how many users are read.
    """
    if not config.candidates.sequential or not catalogue.has_vectors:
        return None
    enough = learners.filter(F.size("seen") > 1)
    users = sample_users(enough, config.train.max_examples, f"examples-{config.train.seed}").toPandas()
    return fit_sequential(catalogue, to_users(users), seed=config.train.seed)


def origin(learning: DataFrame, config: Config, run_date: date) -> dict[str, Any]:
    """Return where a model comes from, for its manifest: versions, settings and the range of its events."""
    first, last = learning.agg(F.min(C.EVENT_TIME), F.max(C.EVENT_TIME)).first() or (None, None)
    return {
        "llmrec": __version__,
        "libraries": library_versions(),
        "encoder": Path(config.encoder.path).name,
        "config": config.model_dump(mode="json", include={"train", "texts", "candidates"}),
        "run_date": run_date,
        "liking": config.liking.model_dump(mode="json"),
        "holdout": config.holdout.model_dump(mode="json"),
        "events": {"first": first, "last": last, "train": learning.count()},
    }


def _plan(config: Config, ratings: RatingScale | None, teacher: Path) -> TrainingPlan:
    settings, as_they_are = config.train, {field.name for field in fields(TrainingPlan)}
    named = settings.model_dump(include=as_they_are - {"tuning", "ratings", "teacher", "negatives"})
    return TrainingPlan(
        **named,
        tuning=Tuning(settings.tuning, settings.tuning_rank, settings.frozen_layers, settings.frozen_embeddings),
        ratings=ratings,
        teacher=teacher if DISTILL in settings.objectives else None,
        negatives=settings.negatives if DRAWS & settings.objectives.keys() else 0,
    )
