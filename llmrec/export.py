"""A smaller model made of the one that the settings name: judged beside it by the same users, and published.

Which layers and heads matter least is told by validation users who do not judge. The ranker stays as it was, though it
was fitted on what the larger model said: what that costs is in the figures of the lists.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pyspark.sql import DataFrame
from rich.console import Console
from rich.table import Table

from llmrec import columns as C
from llmrec.cli import Run
from llmrec.errors import ConfigError, InputTableError
from llmrec.models import in_folder, instead_of_training, open_model, publish_model, require_place
from llmrec.nn.artifact import ModelInfo, load_encoder, replace_folder, require_replaceable, rework_model
from llmrec.nn.compression import Compression
from llmrec.nn.device import pick_device, return_memory, set_up_torch
from llmrec.nn.panel import Panel
from llmrec.nn.pruning import Lists
from llmrec.pipelines.gate import Standing, compare, judge_lists, judge_pairs, trained_as
from llmrec.pipelines.holdout import hold_out_validation
from llmrec.pipelines.judges import stopping_panel, stopping_users, teaching_users
from llmrec.pipelines.night import (
    Night,
    build_catalogue,
    counts_needed,
    night_parts,
    open_night,
    precision_of,
    reread_catalogue,
    with_texts_of,
)
from llmrec.settings.config import Config
from llmrec.spark.shipping import ship_folder
from llmrec.spark.users import sample_users
from llmrec.spark.vector_cache import ensure_vectors

_ASKED = 100
"""Users who tell what matters: each layer or head that may go costs a reading of their lists."""
_MEGABYTE = 1e6


@dataclass(frozen=True)
class _Entry:
    """One line of the table."""

    model: ModelInfo
    standing: Standing
    catalogue: Path
    """As the model reads it."""

    @property
    def megabytes(self) -> tuple[float, float]:
        """Of all files that the manifest names, and of the weights alone."""
        sizes = {name: (self.model.folder / name).stat().st_size for name in self.model.manifest["files"]}
        return sum(sizes.values()) / _MEGABYTE, sizes["model.safetensors"] / _MEGABYTE


def before_spark(args: argparse.Namespace, config: Config) -> bool:
    """Refuse what cannot be exported, and roll back where that is asked for; true if all is done then."""
    _require_place(args, config)
    return instead_of_training(args, config)


def _require_place(args: argparse.Namespace, config: Config) -> None:
    """Check what was asked of ``--export``.

    Raises ConfigError if it contradicts other arguments or the settings, and errors as `require_place`.
    """
    place = args.export_to
    if not args.export:
        if place:
            raise ConfigError(f"--export-to: is {place}, expected --export with it")
        return
    Compression.of(args.export)
    if args.start or args.since or args.rollback:
        raise ConfigError("--export: makes a model smaller and trains none, expected no --from, --since or --rollback")
    if not place:
        if in_folder(config):
            raise ConfigError(
                f"--export: model is the folder {config.model}, which stays; expected --export-to with another folder"
            )
        require_place(config)
        return
    if place.resolve() == Path(config.model).resolve():
        raise ConfigError(f"--export-to: is {place}, as model is, which stays; expected another folder")
    require_replaceable(place)


def export_model(run: Run) -> None:
    """Make the model smaller, judge both, print the figures, and publish it."""
    wanted, work, original = Compression.of(run.args.export), run.work_folder(), open_model(run)
    run.config = config = with_texts_of(original.manifest, run.config)
    opened, tokens = load_encoder(original.folder)
    scorer = wanted.require_fitting(opened, f"model {original.version}").to(pick_device())
    night = open_night(**run.read_night(), config=config, run_date=run.day)
    with run.stage("users") as stage:
        held = hold_out_validation(night, config)
        judges, until = held.judges, held.until
        panel = stopping_panel(stopping_users(judges, config))
        asked = stopping_panel(sample_users(teaching_users(judges, config), _ASKED, "export"))
        if not panel.users or not asked.users:
            raise InputTableError(
                f"events: {len(panel.users)} users to judge by and {len(asked.users)} to choose by have liked items in "
                f"the validation period (holdout: {config.holdout.model_dump()}); expected some of both"
            )
        stage.counts = {"judging": len(panel.users), "choosing": len(asked.users)}
    with run.stage("catalogue") as stage:
        shipped = ship_folder(run.spark, original.folder, f"original-{run.run_id}", work)
        vectors, stage.counts = ensure_vectors(
            run.spark, run.table(C.ITEM_VECTORS), night.items, shipped, original.encoder_version
        )
        needed = counts_needed(config)
        catalogue = build_catalogue(
            night, held.learning, held.rows, vectors, config, work / "before", until, wanted=needed
        )
    with run.stage("smaller model"):
        set_up_torch()
        lists = Lists.of(asked.users, asked.targets, tokens, catalogue, config.train.seed)
        small, left = wanted.apply(scorer, lists)
        facts = {"exported": {"from": original.version, "options": run.args.export, "left": left}}
        model = rework_model(original, work / "model", small.cpu(), tokens, facts)
        load_encoder(model.folder)
    with run.stage("comparison") as stage:
        before = _judge(run, night, judges, panel, original, "original")
        after = _judge(run, night, judges, panel, model, "new")
        rates = panel.pairs_per_second(
            [(entry.model.folder, entry.catalogue) for entry in (before, after)], precision_of(config)
        )
        return_memory()
        stage.counts = {"users": len(panel.users)}
    _print([before, after], rates, len(panel.users), config.train.seed)
    for name, kept in left.items():
        print(f"{name} that are left: {kept}")
    with run.stage("publish"):
        run.model_version = model.version
        if run.args.export_to:
            replace_folder(model.folder, run.args.export_to)
            said = f"model {model.version} written to {run.args.export_to}"
        else:
            said = publish_model(run, model, {"champion": before.standing, "new": after.standing}, original)
    run.say(said)


def _judge(run: Run, night: Night, judges: DataFrame, panel: Panel, model: ModelInfo, name: str) -> _Entry:
    """Judge ``model`` by its pair scorer and by its lists, as it encodes the items."""
    work, config, spark = run.work_folder(), run.config, run.spark
    shipped = ship_folder(spark, model.folder, f"judged-{name}-{run.run_id}", work)
    vectors, _ = ensure_vectors(spark, run.table(C.ITEM_VECTORS), night.items, shipped, model.encoder_version)
    shelves = work / f"catalogue-{name}"
    reread_catalogue(night, work / "before", vectors, config, shelves)
    catalogue = ship_folder(spark, shelves, f"{name}-catalogue-{run.run_id}", work)
    parts = night_parts(shipped, catalogue, trained_as(model.manifest, config), run.day)
    lists = judge_lists(stopping_users(judges, config), parts, config.score.partitions)
    return _Entry(model, Standing(f"{name} {model.version}", judge_pairs(panel, model.folder, shelves), lists), shelves)


def _print(entries: Sequence[_Entry], rates: Sequence[float], users: int, seed: int) -> None:
    """Print size, speed and quality of both models, and what the smaller one loses."""
    before, after = entries
    table = Table(title=f"{users:,} validation users, the same for both")
    table.add_column("model", no_wrap=True)
    figures = [name for name in after.standing.means() if "NDCG" in name]
    for name in ("folder, MB", "weights, MB", "pairs/s", *figures):
        table.add_column(name, justify="right")
    for entry, rate in zip(entries, rates, strict=True):
        means = entry.standing.means()
        quality = [f"{means[name]:.4f}" if name in means else "" for name in figures]
        table.add_row(entry.standing.name, *(f"{size:.2f}" for size in entry.megabytes), f"{rate:,.0f}", *quality)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    share = after.megabytes[1] / before.megabytes[1]
    console.print(f"weights: {share:.0%} of the original's; speed: {rates[1] / rates[0]:.2f} times", highlight=False)
    small, large = after.standing, before.standing
    of_pairs = compare(replace(small, lists=None), replace(large, lists=None), seed)
    for found in (of_pairs, compare(small, large, seed)):
        if found is not None:
            console.print(found.said(), highlight=False)
