"""How a benchmark says what it found: a table for people, one JSON object for the record."""

import argparse
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

_LIBRARIES = (
    "torch", "transformers", "sentence-transformers", "openvino", "faiss-cpu", "implicit", "pyspark", "numpy",
    "rectools", "pm-implicit", "pytorch-lightning", "scikit-learn",
)  # fmt: skip
_INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with what all benchmarks share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, the machine and the versions")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller runs: at most 3 minutes on 2 cores")
    return parser


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
    }
    cpu = Path("/proc/cpuinfo")
    if cpu.is_file():
        lines = dict(line.split(":", 1) for line in cpu.read_text().splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in lines.items()}
        flags = fields.get("flags", "").split()
        facts |= {"cpu": fields.get("model name"), "instructions": [name for name in _INSTRUCTIONS if name in flags]}
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def versions() -> dict[str, str]:
    """Versions of the libraries that are installed."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def show(title: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Print rows of equal keys as a table."""
    table = Table(title=title, title_justify="left")
    for place, name in enumerate(rows[0]):
        table.add_column(name, justify="right" if place else "left")
    for row in rows:
        table.add_row(*(f"{value:,.3g}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=None if os.isatty(1) else 140).print(table)


def save(path: Path | None, figures: Mapping[str, object]) -> None:
    """Write ``figures`` with machine and versions to ``path``, if one is given."""
    if path:
        whole = {**figures, "machine": machine(), "versions": versions()}
        path.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
