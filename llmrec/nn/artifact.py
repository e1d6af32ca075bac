"""The model folder: safetensors, tokenizer, fusion trees and a manifest with a sha256 per file.

Nothing in it is executed: no pickle, no remote code. Every file is checked against the manifest before any is loaded,
and a folder that holds a file which the manifest does not list is refused.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from llmrec.errors import ArtifactError, OutputError
from llmrec.nn.ablations import ABLATIONS
from llmrec.nn.alone import Alone
from llmrec.nn.backbone import Backbone, BackboneShape
from llmrec.nn.fusion import Fusion
from llmrec.nn.int8 import STORED, pack_state, unpack_state
from llmrec.nn.ratings import RatingScale
from llmrec.nn.scorer import Scorer
from llmrec.nn.scorers import make_scorer
from llmrec.nn.sequential import Sequential, load_sequential, save_sequential
from llmrec.nn.tokens import TextLimits, Tokens
from llmrec.nn.unread import Unread

FORMAT = "llmrec/4"
Ranker = Fusion | Alone
_MANIFEST = "manifest.json"
_WEIGHTS = "model.safetensors"
_SETTINGS = "scorer.json"
_TOKENIZER = "tokenizer.json"
RANKER = "ranker.json"
_SEQUENTIAL = "sequential.safetensors"
_ENCODER = (_WEIGHTS, _SETTINGS, _TOKENIZER)
"""The files that decide vectors and tokens."""
_WITHOUT = "ablation-{}.json"
_KINDS = (".json", ".safetensors")
"""What files of a model may end in: numbers and text."""
ERASED = "learned-from-erased-users.txt"
"""A note that an erasure leaves beside a model; nothing reads it."""


@dataclass(frozen=True)
class ModelInfo:
    """What a run pins of a model: where it is, which one it is, and what the manifest says."""

    folder: Path
    version: str
    """First 12 hexadecimal digits over the sha256 of all files."""
    encoder_version: str
    """The same over the files that decide vectors and tokens; keys item_vectors."""
    manifest: dict[str, Any]


def save_encoder(folder: Path, scorer: Scorer | Unread, tokens: Tokens) -> str:
    """Write weights, configuration and tokenizer to ``folder``; return the encoder version."""
    folder.mkdir(parents=True, exist_ok=True)
    state = scorer.state_dict()
    is_rounded = isinstance(scorer, Scorer) and scorer.is_rounded
    weights = pack_state(state) if is_rounded else state
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / _WEIGHTS)
    tokens.tokenizer.no_truncation()  # else the file, and so the version, would follow the last text that was read
    tokens.tokenizer.save(str(folder / _TOKENIZER))
    settings = {
        "scorer": scorer.name,
        "backbone": asdict(scorer.backbone.shape) if isinstance(scorer, Scorer) else None,
        "cached_layers": scorer.cached_layers if isinstance(scorer, Scorer) else 0,
        "outputs": scorer.outputs if isinstance(scorer, Scorer) else 1,
        "ratings": asdict(scorer.ratings) if isinstance(scorer, Scorer) and scorer.ratings else None,
        "weights": STORED if is_rounded else {"float32": "all"},
        "texts": asdict(tokens.limits),
        "tokens": {"first": tokens.first, "between": tokens.between},
    }
    (folder / _SETTINGS).write_text(json.dumps(settings, indent=1), encoding="utf-8")
    return _encoder_version(folder)


def _encoder_version(folder: Path) -> str:
    """Return the version of the encoder in a model folder."""
    return _fingerprint({name: _sha256(folder / name) for name in sorted(_ENCODER)})


def finish_model(
    folder: Path, ranker: Ranker, facts: dict[str, Any], ablations: Mapping[str, Fusion] | None = None
) -> ModelInfo:
    """Add the ranker, those of ``ablations`` by name, and the manifest with ``facts``."""
    ranker.save(folder / RANKER)
    for name, without in (ablations or {}).items():
        without.save(folder / _WITHOUT.format(name))
    return _write_manifest(folder, facts)


def rework_model(original: ModelInfo, folder: Path, scorer: Scorer, tokens: Tokens, facts: dict[str, Any]) -> ModelInfo:
    """Write ``original`` with another encoder to ``folder``: its ranker and all else stay as they were.

    The manifest is that of the original with ``facts``.
    """
    save_encoder(folder, scorer, tokens)
    for name in set(original.manifest["files"]) - set(_ENCODER):
        shutil.copyfile(original.folder / name, folder / name)
    told = set(json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))) | {"format", "encoder_version", "files"}
    kept = {name: value for name, value in original.manifest.items() if name not in told}
    return _write_manifest(folder, kept | facts)


def _write_manifest(folder: Path, facts: dict[str, Any]) -> ModelInfo:
    encoder_version = _encoder_version(folder)
    shas = _shas(folder)
    settings = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
    manifest = {"format": FORMAT, "encoder_version": encoder_version, **settings, **facts, "files": shas}
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=1, default=str), encoding="utf-8")
    return ModelInfo(folder, _fingerprint(shas), encoder_version, manifest)


def replace_folder(new: Path, place: Path) -> None:
    """Move the finished folder ``new`` to ``place``; the model that was there goes once the new one stands beside it.

    Raises OutputError if it cannot be written; see `require_replaceable`.
    """
    require_replaceable(place)
    beside, before = (place.with_name(f".{place.name}.{word}") for word in ("new", "old"))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        for left_behind in (beside, before):
            shutil.rmtree(left_behind, ignore_errors=True)
        shutil.copytree(new, beside)
        if place.exists():
            place.rename(before)
        beside.rename(place)
    except OSError as error:
        raise OutputError(
            f"model: {place} cannot be written ({error}); expected a place this user may write"
        ) from error
    shutil.rmtree(before, ignore_errors=True)


def require_replaceable(place: Path) -> None:
    """Raise OutputError unless ``place`` is free, empty or holds a model: nothing else is ever removed."""
    if place.exists() and not place.is_dir():
        raise OutputError(f"model: {place} is a file, expected a folder of a model or nothing")
    if place.is_dir() and any(place.iterdir()) and not (place / _MANIFEST).is_file():
        raise OutputError(f"model: {place} holds files but no {_MANIFEST}; expected a folder of a model or nothing")


def resolve_model(path: str, *, setting: str = "model") -> ModelInfo:
    """Check the model folder at ``path``: the files of its manifest are there, unchanged, and no others.

    Hidden files, which nothing reads, do not count. ``setting`` is the one that named it. Raises ArtifactError saying
    which file is missing, changed or foreign.
    """
    folder = Path(path)
    manifest_path = folder / _MANIFEST
    if not manifest_path.is_file():
        raise ArtifactError(f"{setting}: {folder} holds no {_MANIFEST}; expected a folder written by jobs/train.py")
    try:
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
        kind, files = manifest["format"], dict(manifest["files"])
        manifest["encoder_version"], manifest["texts"]["history_items"], manifest["metrics"]["importance"]
        encoder_version = manifest["encoder_version"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{manifest_path}: is not a manifest of llmrec ({error!r})") from error
    if kind != FORMAT:
        raise ArtifactError(f"{manifest_path}: format is {kind!r}, expected {FORMAT!r}")
    for needed in (_WEIGHTS, RANKER, _SETTINGS, _TOKENIZER):
        if needed not in files:
            raise ArtifactError(f"{manifest_path}: lists no {needed}, expected one")
    for name in files:
        if Path(name).name != name or Path(name).suffix not in _KINDS:
            raise ArtifactError(f"{manifest_path}: lists {name!r}, expected files beside it that end in {_KINDS}")
    foreign = sorted(found.name for found in folder.iterdir() if found.name not in {*files, _MANIFEST, ERASED})
    if foreign := [name for name in foreign if not name.startswith(".")]:
        raise ArtifactError(f"{folder / foreign[0]}: is not listed in {_MANIFEST}, expected no such file")
    for name, sha in files.items():
        if not (folder / name).is_file():
            raise ArtifactError(f"{folder / name}: is missing, expected it as listed in {_MANIFEST}")
        found = _sha256(folder / name)
        if found != sha:
            raise ArtifactError(f"{folder / name}: has sha256 {found[:12]}..., the manifest says {sha[:12]}...")
    return ModelInfo(folder, _fingerprint(files), encoder_version, manifest)


def pin_model(model: ModelInfo, folder: Path) -> ModelInfo:
    """Give ``model`` the folder ``folder`` of its own: what stays there while train puts another in its place.

    Its files are linked, or copied where that cannot be. Raises ArtifactError as `resolve_model`, and OutputError if
    there is no room.
    """
    try:
        folder.mkdir(parents=True)
        for name in (_MANIFEST, *model.manifest["files"]):
            _link(model.folder / name, folder / name)
    except FileNotFoundError as error:
        raise ArtifactError(f"{error.filename}: was there a moment ago, expected it to stay: run it again") from error
    except OSError as error:
        raise OutputError(f"work: {folder} cannot be written ({error.strerror}); expected a writable place") from error
    return resolve_model(str(folder))


def _link(file: Path, link: Path) -> None:
    try:
        link.hardlink_to(file.resolve(strict=True))
    except OSError:  # on another disk, or of another account
        shutil.copyfile(file, link)


def load_encoder(folder: Path) -> tuple[Scorer | Unread, Tokens]:
    """Load scorer and tokenizer from a folder written by `save_encoder`."""
    settings = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
    scorer: Scorer | Unread = Unread()
    if settings["scorer"] != Unread.name:
        backbone = Backbone(BackboneShape(**settings["backbone"]))
        scorer = make_scorer(settings["scorer"], backbone, settings["cached_layers"], outputs=settings["outputs"])
    try:
        weights, is_rounded = unpack_state(load_file(folder / _WEIGHTS))
        scorer.load_state_dict(weights)
    except (OSError, RuntimeError, SafetensorError) as error:
        said = " ".join(str(error).split())[:300]
        raise ArtifactError(f"{folder / _WEIGHTS}: does not fit {_SETTINGS} ({said})") from error
    if isinstance(scorer, Scorer):
        scorer.is_rounded = is_rounded
        scorer.ratings = RatingScale(**settings["ratings"]) if settings["ratings"] else None
    scorer.requires_grad_(False)
    tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER))
    return scorer.eval(), Tokens(tokenizer, **settings["tokens"], limits=TextLimits(**settings["texts"]))


def load_ranker(folder: Path) -> Ranker | None:
    """Load the ranker of a model folder; None where there is none yet, while train is still at work."""
    path = folder / RANKER
    if not path.exists():
        return None
    return Alone.load(path) if Alone.wrote(path) else Fusion.load(path)


def add_sequential(folder: Path, sequential: Sequential | None) -> None:
    """Add what was learned of the order of histories, if anything was."""
    if sequential is not None:
        save_sequential(folder / _SEQUENTIAL, sequential)


def find_sequential(folder: Path) -> Sequential | None:
    """Load what `add_sequential` added; None where there is nothing."""
    return load_sequential(folder / _SEQUENTIAL) if (folder / _SEQUENTIAL).exists() else None


def load_ablations(folder: Path) -> dict[str, Fusion]:
    """Load the rankers that lack a signal, by name of ABLATIONS, as far as the model folder holds them."""
    paths = {one.name: folder / _WITHOUT.format(one.name) for one in ABLATIONS}
    return {name: Fusion.load(path) for name, path in paths.items() if path.exists()}


def library_versions() -> dict[str, str]:
    """Return the versions that a manifest names."""
    return {name: version(name) for name in ("torch", "transformers", "tokenizers", "lightgbm")}


def _shas(folder: Path) -> dict[str, str]:
    return {path.name: _sha256(path) for path in sorted(folder.iterdir()) if path.name != _MANIFEST}


def _fingerprint(shas: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(shas, sort_keys=True).encode()).hexdigest()[:12]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
