"""Imports go one way, and only the upper layers know Spark."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BOTTOM = {"columns", "errors"}
DOMAIN = {"domain", *BOTTOM}
NN = {"nn", *DOMAIN}
SPARK = {"spark", *NN}
MAY_IMPORT = {
    "columns": set(),
    "errors": set(),
    "domain": DOMAIN,
    "nn": NN,
    "spark": SPARK,
    "settings": {"settings", *DOMAIN},
    "config": {"settings", *DOMAIN},
    "report": {"report", *DOMAIN},
    "pipelines": {"pipelines", "report", "settings", *SPARK},
    "progress": NN,
    "registry": BOTTOM,
    "lock": BOTTOM,
    "leftovers": {"lock"},
    "watch": {"watch", *DOMAIN},
    "cli": {"config", "lock", "settings", "watch", *SPARK},
    "models": {"cli", "registry", "settings", "pipelines", *SPARK},
    "export": {"cli", "models", "settings", "pipelines", *SPARK},
    "jobs": {"cli", "export", "leftovers", "lock", "models", "progress", "pipelines", "report", *SPARK},
}
"""What the modules of each layer may import of llmrec. Settings reach a job by way of cli."""
KNOW_SPARK = {"spark", "pipelines", "progress", "cli", "models", "export", "jobs"}
MODEL_LIBRARIES = {"torch", "transformers", "tokenizers", "safetensors", "lightgbm"}


def modules() -> Iterator[tuple[str, Path]]:
    """Every module with its layer."""
    for path in sorted((ROOT / "llmrec").rglob("*.py")):
        layer = path.relative_to(ROOT / "llmrec").parts[0].removesuffix(".py")
        if layer != "__init__":
            yield layer, path
    for path in sorted((ROOT / "jobs").glob("*.py")):
        yield "jobs", path


def imports(path: Path) -> Iterator[str]:
    """Dotted names that a module imports anywhere, inside functions too; ``from a import b`` is a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def loaded_after(*names: str) -> set[str]:
    """Top packages that a fresh interpreter has loaded after importing ``names``."""
    code = f"import sys, {', '.join(names)}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def names_of(layer: str, *without: str) -> list[str]:
    found = [".".join(path.relative_to(ROOT).with_suffix("").parts) for name, path in modules() if name == layer]
    return [name.removesuffix(".__init__") for name in found if name not in without]


@pytest.mark.parametrize(("layer", "path"), [pytest.param(*m, id=str(m[1].relative_to(ROOT))) for m in modules()])
def test_a_module_imports_only_from_its_own_layer_and_below(layer: str, path: Path) -> None:
    assert layer in MAY_IMPORT, f"{path} belongs to no layer"
    used = {name.split(".")[1] for name in imports(path) if name.startswith("llmrec.")} - {"__version__"}
    assert used <= MAY_IMPORT[layer]


@pytest.mark.parametrize(("layer", "path"), [pytest.param(*m, id=str(m[1].relative_to(ROOT))) for m in modules()])
def test_only_upper_layers_import_spark_and_only_nn_and_jobs_import_torch(layer: str, path: Path) -> None:
    used = {name.split(".")[0] for name in imports(path)}
    assert layer in KNOW_SPARK or not used & {"pyspark", "delta", "py4j"}
    assert layer in ("nn", "jobs") or not used & MODEL_LIBRARIES


NEEDS_TRANSFORMERS = tuple(
    f"llmrec.nn.{name}" for name in ("families", "masked_language", "pretrained", "training", "translation", "tuning")
)


def test_nn_and_domain_load_without_spark_and_but_for_training_without_transformers() -> None:
    loaded = loaded_after(*names_of("domain"), *names_of("nn", *NEEDS_TRANSFORMERS))
    assert "torch" in loaded
    assert not loaded & {"pyspark", "delta", "transformers"}  # transformers takes a worker some ten seconds to import
    assert set(NEEDS_TRANSFORMERS) < set(names_of("nn"))  # their own imports are checked above
