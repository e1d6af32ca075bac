"""Settings read from YAML, merged with ``--set`` and checked before Spark starts; and written, with their meanings.

A file says only what differs from the defaults in `llmrec.settings`; ``conf/default.yaml`` is written from them
(``python -m llmrec.config``) and holds each setting with its meaning.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from llmrec import columns as C
from llmrec.domain.secrets import is_literal, without_secrets
from llmrec.errors import ConfigError
from llmrec.settings.base import Settings
from llmrec.settings.config import Config

TABLES = {
    C.EVENTS,
    C.ITEMS,
    C.USERS,
    C.IMPRESSIONS,
    C.CANDIDATES,
    C.ALLOWED,
    C.DENIED,
    C.ITEM_VECTORS,
    C.RECOMMENDATIONS,
    C.QUARANTINE,
    C.RUNS,
    C.NIGHTS,
    C.METRICS,
}


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """Read ``path`` (None: defaults alone), apply ``key.path=value`` overrides and check.

    Raises ConfigError naming every wrong key at once.
    """
    where = str(path) if path else "settings"
    try:
        merged = OmegaConf.merge(
            OmegaConf.create(_read_yaml(path) if path else {}), OmegaConf.from_dotlist(list(overrides))
        )
        _require_no_secret(where, OmegaConf.to_container(merged))
        values = OmegaConf.to_container(merged, resolve=True)
    except yaml.MarkedYAMLError as error:  # without the line itself, which may hold a password
        place = (
            f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}" if error.problem_mark else ""
        )
        raise ConfigError(f"{where}: {error.problem}, {place}") from None
    except (OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{where}: {' '.join(str(error).split())}") from error
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        problems = "\n".join(f"  {problem}" for problem in _problems(error))
        raise ConfigError(f"{where}: {error.error_count()} wrong setting(s)\n{problems}") from error
    ranker = config.train.ranker
    size = {"bert": "pair_scored"}.get(ranker, ranker.replace("-", ""))
    if ranker != "hybrid" and not getattr(config.candidates, size):
        raise ConfigError(f"{where}: candidates.{size} is 0, but train.ranker {ranker} goes by it; expected more")
    unknown = sorted(set(config.tables.names) - TABLES)
    if unknown:
        raise ConfigError(f"{where}: tables.names: no table is called {', '.join(unknown)}; there are {sorted(TABLES)}")
    return config


def _require_no_secret(where: str, written: Any, key: str = "") -> None:
    """Refuse a password that is written where the name of a variable should stand."""
    if isinstance(written, dict):
        for name, value in written.items():
            _require_no_secret(where, value, f"{key}.{name}" if key else str(name))
    elif isinstance(written, list):
        for value in written:
            _require_no_secret(where, value, key)
    elif isinstance(written, str) and is_literal(key, written):
        raise ConfigError(f"{where}: {key}: holds a secret, expected the variable that does: ${{oc.env:VARIABLE}}")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a configuration file ({error}); expected a YAML file") from error
    if values is not None and not isinstance(values, dict):
        raise ConfigError(f"{path}: holds a {type(values).__name__}, expected a mapping of settings")
    return json.loads(json.dumps(values or {}, default=str))  # type: ignore[no-any-return]  # YAML's dates as text


def _problems(error: ValidationError) -> Iterator[str]:
    for detail in error.errors():
        key = ".".join(map(str, detail["loc"]))
        if detail["type"] == "extra_forbidden":
            yield f"{key}: no such setting"
        else:
            found = without_secrets(detail["input"], key)
            yield f"{key}: {detail['msg']}" + ("" if isinstance(found, dict) else f", found {found!r}")


def documented_yaml(settings: Settings, indent: int = 0) -> str:
    """Render ``settings`` as YAML with each setting's meaning as a comment above it."""
    pad = "  " * indent
    lines = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, Settings):
            lines += ["", f"{pad}# {' '.join((type(value).__doc__ or '').split())}", f"{pad}{name}:"]
            lines.append(documented_yaml(value, indent + 1))
            continue
        if field.description:
            lines.append(f"{pad}# {' '.join(field.description.split())}")
        plain = json.loads(json.dumps(value, default=_plain))
        lines.append(f"{pad}{name}: {json.dumps(plain)}")
    return "\n".join(lines)


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, Settings) else str(value)


_HEADER = """\
# Every setting with its default, its meaning and its unit. Written by `python -m llmrec.config`; a file of yours says
# only what differs. The folder, file and table paths are relative to where the job is started.
"""

_SOURCE_EXAMPLE = """
# A source of prepare (sources.events, items, users, impressions) looks like this:
#   sources:
#     events:
#       path: /data/clicks.tsv         # any path Spark reads, or catalog.schema.table
#       format: csv                    # csv, json (JSON lines), parquet or delta
#       options: {header: "true", sep: "\\t"}
#       columns:                       # our column: your column, or a Spark SQL expression over yours
#         user_id: customer
#         item_id: sku
#         event: "'purchase'"
#         event_time: ts               # timestamp, ISO text, or Unix seconds
"""


def main() -> None:
    """Print the documented defaults, the content of conf/default.yaml."""
    print(_HEADER + _SOURCE_EXAMPLE + documented_yaml(Config()))


if __name__ == "__main__":
    main()
