"""The model that the settings name: opened by who reads it, published by train, and taken back.

It is a folder, or a name and an alias in the registry. MLflow takes seconds to import, so only the latter imports it.
"""

import argparse
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml

from llmrec.cli import Run
from llmrec.domain.erased import Traces
from llmrec.errors import ArtifactError, ConfigError, OutputError, RegistryError
from llmrec.nn.artifact import ERASED, ModelInfo, pin_model, replace_folder, require_replaceable, resolve_model
from llmrec.pipelines.gate import Standing, may_follow, tracked
from llmrec.settings.config import Config

if TYPE_CHECKING:
    from llmrec.registry import Address, Registered, Registry

_LEARNED_BY = {"liking", "encoder", "texts", "holdout", "train", "candidates", "rules", "evaluate", "score"}
"""The settings that are tracked; the others name places, and may hold passwords."""


def open_model(run: Run) -> ModelInfo:
    """Find the model of the settings, once; from here on it is pinned. Raises errors as `find_model`."""
    model = find_model(run.config, run.work_folder() / "registered")
    run.model_version = model.version
    return model


def find_model(config: Config, copied: Path) -> ModelInfo:
    """Return the model of the settings, checked, and in ``copied`` if it is in a folder or on another host.

    Raises RegistryError if there is none of that name, ArtifactError as `resolve_model`, and OutputError if there is no
    room for a copy.
    """
    if in_folder(config):
        return pin_model(resolve_model(config.model), copied)
    model = _find_registered(config, copied)
    if model is None:
        raise RegistryError(f"model: {config.model} is not in the registry; expected one: run jobs/train.py")
    return model


def open_champion(run: Run) -> ModelInfo | None:
    """Return the model whose place a new one would take; None where none can be compared with, which is said."""
    if in_folder(run.config):
        return None
    try:
        return _find_registered(run.config, run.work_folder() / "registered")
    except ArtifactError as error:
        run.say(f"train: the champion cannot be compared with, so a new model takes its place ({error})")
        return None


def require_place(config: Config) -> None:
    """Make sure that a new model can be published, before it is trained.

    Raises OutputError as `require_replaceable`, RegistryError if the registry cannot be reached, and ConfigError if the
    settings name one version.
    """
    if in_folder(config):
        require_replaceable(Path(config.model))
        return
    registry, address = _registry(config)
    if address.alias is None:
        raise ConfigError(
            f"model: is {config.model}, which is written already; expected models:/NAME@ALIAS, or a folder"
        )
    registry.open(address.name)


def publish_model(run: Run, model: ModelInfo, standings: Mapping[str, Standing], champion: ModelInfo | None) -> str:
    """Put a finished model where the settings say; return what became of it, in a sentence.

    In the registry it becomes champion if it may follow the one there; a folder is replaced.

    Args:
        run: gives settings and date.
        model: in the run's work folder.
        standings: of "new", "champion" and others on the same users.
        champion: what `open_champion` returned.
    """
    config = run.config
    if in_folder(config):
        replace_folder(model.folder, Path(config.model))
        return f"model {model.version} written to {config.model}"
    from llmrec.registry import EVENTS_FROM, Facts

    registry, address = _registry(config)
    learned = config.model_dump(mode="json", include=_LEARNED_BY)
    sections = {section: values for section, values in learned.items() if section in ("train", "texts", "candidates")}
    added = registry.add(
        address.name,
        model.folder,
        model.version,
        Facts(
            title=f"{run.run_date} {run.run_id}",
            params={f"{section}.{key}": value for section, named in sections.items() for key, value in named.items()},
            metrics=tracked(standings),
            tags={
                "run_id": run.run_id,
                "run_date": str(run.run_date),
                EVENTS_FROM: str(events_from(model.manifest)),
                "config_sha": config.sha,
                "encoder_version": model.encoder_version,
                **{f"table.{name}": str(version) for name, version in run.table_versions.items()},
            },
            config=yaml.safe_dump(learned, sort_keys=False, allow_unicode=True),
        ),
    )
    if champion is not None and {"goes_on_from", "exported"} & model.manifest.keys():
        registry.hand_on_mark(address.name, champion.version, added.version)
    named = f"model {model.version} is version {added.version} of {address.name}"
    if champion is not None and not may_follow(standings["new"], standings["champion"], config.registry.margin):
        return (
            f"{named}; the {address.alias} stays {champion.version}: its NDCG@10 is better by more than "
            f"{config.registry.margin:.0%} (registry.margin), or nobody was there to judge by"
        )
    registry.promote(address.name, str(address.alias), added.version)
    return f"{named} and its {address.alias}"


def mark_models(config: Config, traces: Traces, now: datetime) -> list[str]:
    """Mark the models that may have learned from users who are erased ``now``; return which they are, in words.

    A version in the registry gets a tag, a folder a file beside the manifest, which nothing reads.

    Raises RegistryError, and OutputError if the file cannot be written.
    """
    if not in_folder(config):
        registry, address = _registry(config)
        return registry.mark_learned(address.name, traces.may_be_in, now.isoformat())
    folder = Path(config.model)
    if not folder.is_dir() or not any(folder.iterdir()):
        return []
    try:
        model = resolve_model(config.model)
        if not traces.may_be_in(str(model.manifest.get("run_date")), events_from(model.manifest)):
            return []
        named = f"{config.model} ({model.version})"
    except ArtifactError:  # it may have learned from anybody
        named = config.model
    try:
        (folder / ERASED).write_text(f"learned from users who were erased at {now.isoformat()}\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"model: {folder} cannot be marked ({error.strerror}); expected a writable folder") from error
    return [named]


def events_from(manifest: Mapping[str, Any]) -> str | None:
    """Return the day of the oldest event that a model learned from, YYYY-MM-DD; None if its manifest does not say."""
    first = manifest.get("events", {}).get("first")
    return str(first)[:10] if first else None


def roll_back(config: Config) -> None:
    """Let the alias of the settings point to the model before the one it points to.

    Raises ConfigError for a model in a folder, RegistryError if there is none to go back to, and ArtifactError if that
    one is no longer as it was registered.
    """
    if in_folder(config):
        raise ConfigError(
            f"model: is the folder {config.model}, which keeps no earlier one; expected models:/NAME@ALIAS"
        )
    registry, address = _registry(config)
    if address.alias is None:
        raise ConfigError(f"model: is {config.model}, one version; expected models:/NAME@ALIAS")
    now, earlier = registry.before(address.name, address.alias)
    with TemporaryDirectory() as copied:
        _checked(config, earlier, Path(copied))
    registry.go_back(address.name, address.alias, now, earlier)
    print(f"{address.alias} of {address.name} is version {earlier.version} ({earlier.sha}) again, for {now.version}")


def instead_of_training(args: argparse.Namespace, config: Config) -> bool:
    """Roll back, where that is asked for."""
    if args.rollback:
        roll_back(config)
    return bool(args.rollback)


def in_folder(config: Config) -> bool:
    """Tell whether the model of the settings is a folder, not one in the registry."""
    return not config.model.startswith("models:")


def _registry(config: Config) -> "tuple[Registry, Address]":
    from llmrec.registry import Address, Registry

    return Registry(config.registry.uri), Address.of(config.model)


def _find_registered(config: Config, copied: Path) -> ModelInfo | None:
    registry, address = _registry(config)
    found = registry.find(address)
    return _checked(config, found, copied) if found else None


def _checked(config: Config, found: "Registered", copied: Path) -> ModelInfo:
    """Return the model that a version in the registry is; raises ArtifactError if it is not what was registered."""
    model = resolve_model(str(found.fetch(copied)))
    if model.version != found.sha:
        raise ArtifactError(
            f"{config.model}: version {found.version} was registered as {found.sha}, its folder is {model.version}; "
            "expected the same: roll back, or train again"
        )
    return model
