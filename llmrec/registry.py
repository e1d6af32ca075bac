"""The MLflow registry: every model that train wrote, which of them is champion, and the way back.

The setting ``model`` is a folder, or what MLflow calls a model URI: models:/NAME@ALIAS or models:/NAME/VERSION.
"""

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

# Before mlflow is imported: nothing is sent anywhere, and a server that is down is not waited for.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Metric, Param, RunTag
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from llmrec.errors import ConfigError, RegistryError

_ADDRESS = re.compile(r"models:/(?P<name>[^/@:]+)(?:@(?P<alias>[\w-]+)|/(?P<version>\d+))")
_FOLDER = "model"
"""Of a run's artifacts, those that are the model folder."""
_SHA, _FOLLOWS, _ROLLED_BACK, _RUN_DATE, _LEARNED_FROM_ERASED = (
    "sha", "follows", "rolled_back", "run_date", "learned_from_erased_users"
)  # fmt: skip
"""Tags of a version: the fingerprint of its folder; the champion before it; whether one went back from it; the day
that it was trained for; since when it is known that it learned from users who were erased."""
EVENTS_FROM = "events_from"
"""Tag of a version: the day of the oldest event that it learned from."""
_LONGEST = 6000
"""MLflow's limit for a parameter."""


@dataclass(frozen=True)
class Address:
    """A model URI of MLflow, taken apart; either alias or version is there."""

    name: str
    alias: str | None
    version: str | None

    @staticmethod
    def of(model: str) -> "Address":
        """Read the setting ``model``; raises ConfigError if it is none."""
        found = _ADDRESS.fullmatch(model)
        if found is None:
            raise ConfigError(f"model: {model!r} is no model URI, expected models:/NAME@ALIAS or models:/NAME/VERSION")
        return Address(**found.groupdict())


@dataclass(frozen=True)
class Registered:
    """A version in the registry, pinned."""

    version: str
    sha: str
    """Fingerprint of its folder (`ModelInfo.version`)."""
    source: str
    """Where its folder is: a path, or a URI that MLflow can fetch."""

    def fetch(self, into: Path) -> Path:
        """Return its folder on this host, copied to ``into`` if it is elsewhere. Raises RegistryError."""
        place = urlparse(self.source)
        if place.scheme in ("", "file"):
            return Path(unquote(place.path) if place.scheme else self.source)
        with _explained(self.source):
            into.mkdir(parents=True, exist_ok=True)
            return Path(download_artifacts(artifact_uri=self.source, dst_path=str(into)))


@dataclass(frozen=True)
class Facts:
    """What is tracked of a training, beside the model folder."""

    title: str
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    config: str
    """The settings as YAML."""


class Registry:
    """One MLflow server, or a database in a local file with the artifacts in a folder beside it.

    Every method raises RegistryError if it cannot be reached or refuses.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        for talkative in ("mlflow", "alembic"):
            logging.getLogger(talkative).setLevel(logging.WARNING)
        with _explained(uri):
            if place := self._beside():
                place.parent.mkdir(parents=True, exist_ok=True)
            self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)

    def find(self, address: Address) -> Registered | None:
        """Return the version that ``address`` stands for now; None if there is none."""
        with _explained(self._uri):
            try:
                if address.version:
                    return _pinned(self._client.get_model_version(address.name, address.version))
                return _pinned(self._client.get_model_version_by_alias(address.name, str(address.alias)))
            except MlflowException as error:
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    return None
                raise

    def open(self, name: str) -> str:
        """Make experiment and model ``name`` where they are missing; return the experiment's id."""
        with _explained(self._uri):
            found = self._client.get_experiment_by_name(name)
            beside = self._beside()
            place = beside.absolute().as_uri() if beside else None
            experiment = found.experiment_id if found else self._client.create_experiment(name, place)
            if not self._client.search_registered_models(f"name = '{name}'"):
                self._client.create_registered_model(name)
            return experiment

    def add(self, name: str, folder: Path, sha: str, facts: Facts) -> Registered:
        """Track a training and register its model ``folder``; no alias moves."""
        experiment = self.open(name)
        with _explained(self._uri):
            run = self._client.create_run(experiment, run_name=facts.title).info
            try:
                params = [Param(key, str(value)[:_LONGEST]) for key, value in facts.params.items()]
                metrics = [Metric(key, value, run.start_time, 0) for key, value in facts.metrics.items()]
                tags = [RunTag(key, value) for key, value in facts.tags.items()]
                self._client.log_batch(run.run_id, metrics, params, tags)
                self._client.log_text(run.run_id, facts.config, "config.yaml")
                self._client.log_artifacts(run.run_id, str(folder), _FOLDER)
                source = f"{run.artifact_uri}/{_FOLDER}"
                made = self._client.create_model_version(name, source, run.run_id, tags={**facts.tags, _SHA: sha})
            except BaseException:
                self._client.set_terminated(run.run_id, "FAILED")
                raise
            self._client.set_terminated(run.run_id)
            return _pinned(made)

    def promote(self, name: str, alias: str, version: str) -> None:
        """Let ``alias`` point to ``version``, which remembers what it follows."""
        before = self.find(Address(name, alias, None))
        with _explained(self._uri):
            if before and before.version != version:
                self._client.set_model_version_tag(name, version, _FOLLOWS, before.version)
            self._client.set_registered_model_alias(name, alias, version)

    def before(self, name: str, alias: str) -> tuple[Registered, Registered]:
        """Return the version that ``alias`` points to, and the one that it followed; RegistryError if there is none."""
        now = self.find(Address(name, alias, None))
        if now is None:
            raise RegistryError(f"registry: model {name} has no {alias}, expected one to go back from")
        with _explained(self._uri):
            follows = self._client.get_model_version(name, now.version).tags.get(_FOLLOWS)
        earlier = self.find(Address(name, None, follows)) if follows else None
        if earlier is None:
            raise RegistryError(
                f"registry: {alias} of {name} is version {now.version}, which followed "
                f"{f'version {follows}, now gone' if follows else 'none'}; expected one to go back to"
            )
        return now, earlier

    def go_back(self, name: str, alias: str, now: Registered, earlier: Registered) -> None:
        """Let ``alias`` point to ``earlier`` again."""
        with _explained(self._uri):
            self._client.set_registered_model_alias(name, alias, earlier.version)
            self._client.set_model_version_tag(name, now.version, _ROLLED_BACK, "true")

    def mark_learned(self, name: str, may_know: Callable[[str | None, str | None], bool], now: str) -> list[str]:
        """Tag the versions of ``name`` that ``may_know`` an erased user; return them.

        It is asked with a version's run date and the day of its oldest event, None where the version does not say. What
        was tagged before keeps its tag.
        """
        with _explained(self._uri):
            versions = self._client.search_model_versions(f"name = '{name}'")
            found = [one for one in versions if may_know(one.tags.get(_RUN_DATE), one.tags.get(EVENTS_FROM))]
            for one in found:
                if _LEARNED_FROM_ERASED not in one.tags:
                    self._client.set_model_version_tag(name, one.version, _LEARNED_FROM_ERASED, now)
            return [f"version {one.version} of {name} ({one.tags.get(_SHA)})" for one in found]

    def hand_on_mark(self, name: str, before: str, after: str) -> None:
        """Let version ``after`` have the tag of erased users of the one that it went on from, by fingerprint."""
        with _explained(self._uri):
            versions = self._client.search_model_versions(f"name = '{name}'")
            marks = [one.tags.get(_LEARNED_FROM_ERASED) for one in versions if one.tags.get(_SHA) == before]
            for mark in filter(None, marks):
                self._client.set_model_version_tag(name, after, _LEARNED_FROM_ERASED, mark)

    def _beside(self) -> Path | None:
        """Return the folder for artifacts beside a database in a local file; None where a server has its own."""
        if not self._uri.startswith("sqlite:///"):
            return None
        return Path(self._uri.removeprefix("sqlite:///")).parent / "mlflow-artifacts"


def _pinned(found: ModelVersion) -> Registered:
    return Registered(str(found.version), found.tags.get(_SHA, ""), str(found.source))


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Say which registry it was that failed, without a password."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        shown = re.sub(r"//[^/@]*@", "//", uri)
        reason = " ".join(re.sub(r"//[^/@\s]*@", "//", str(error)).split())[:300]
        raise RegistryError(f"registry: {shown} failed ({reason}); expected MLflow's database or server") from error
