import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from llmrec.config import load_config
from llmrec.domain.features import NAMES
from llmrec.errors import ArtifactError, OutputError
from llmrec.models import find_model
from llmrec.nn.artifact import (
    FORMAT,
    ModelInfo,
    finish_model,
    load_encoder,
    load_ranker,
    replace_folder,
    resolve_model,
    save_encoder,
)
from llmrec.nn.ragged import Ragged
from llmrec.nn.scorer import Scorer
from llmrec.nn.scorers import make_scorer
from tests import tiny

FACTS = {"trained_until": "2026-01-31", "metrics": {"ndcg": 0.1, "importance": {}}}


def save_model(folder: Path, scorer: Scorer) -> ModelInfo:
    save_encoder(folder, scorer, tiny.tokens())
    return finish_model(folder, tiny.fusion(), FACTS)


def change_manifest(folder: Path, change: Callable[[dict], None]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@torch.inference_mode()
def logits(scorer: Scorer) -> torch.Tensor:
    users = scorer.encode_users(Ragged.of([np.array([2, 4, 7, 3], np.int32), np.array([2], np.int32)]))
    items = scorer.encode_items(Ragged.of([np.array([2, 5, 3], np.int32), np.array([2, 9, 8, 3], np.int32)]))
    return scorer.pair_outputs(users, items, torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]))[:, 0]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact") / "model"
    save_model(folder, tiny.scorer())
    return folder


@pytest.fixture
def model(saved: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return shutil.copytree(saved, tmp_path / "model")


def test_a_model_saved_and_loaded_scores_the_same(tmp_path: Path) -> None:
    scorer, tokens = tiny.scorer(seed=3, cached_layers=2), tiny.tokens()
    info = save_model(tmp_path / "model", scorer)
    assert resolve_model(str(tmp_path / "model")) == info
    loaded, loaded_tokens = load_encoder(tmp_path / "model")
    assert loaded.cached_layers == 2
    torch.testing.assert_close(logits(loaded), logits(scorer), rtol=0, atol=0)
    assert not loaded.training
    assert not any(weights.requires_grad for weights in loaded.parameters())
    assert loaded_tokens.limits == tokens.limits
    sequences = [t.item_sequence(t.item_pieces(["red tea , unknown"])[0]).tolist() for t in (tokens, loaded_tokens)]
    assert sequences[0] == sequences[1]
    features = np.random.default_rng(0).random((9, len(NAMES))).astype(np.float32)
    fusion = load_ranker(tmp_path / "model")
    assert fusion is not None
    np.testing.assert_array_equal(fusion.probabilities(features), tiny.fusion().probabilities(features))


@pytest.mark.parametrize("name", ["joint", "dot", "bilinear", "attention", "content"])
def test_every_scorer_comes_back_as_it_was(tmp_path: Path, name: str) -> None:
    scorer = make_scorer(name, tiny.backbone(seed=3), cached_layers=1).eval()
    save_model(tmp_path / "model", scorer)
    loaded, _ = load_encoder(tmp_path / "model")
    torch.testing.assert_close(logits(loaded), logits(scorer), rtol=0, atol=0)


def test_the_manifest_holds_the_facts_and_a_sha256_of_every_file(saved: Path) -> None:
    manifest = json.loads((saved / "manifest.json").read_text())
    assert manifest["format"] == FORMAT
    assert manifest["trained_until"] == "2026-01-31"
    assert set(manifest["files"]) == {path.name for path in saved.iterdir()} - {"manifest.json"}
    assert all(len(sha) == 64 for sha in manifest["files"].values())


def test_versions_follow_the_weights(tmp_path: Path, saved: Path) -> None:
    again, other = save_model(tmp_path / "again", tiny.scorer()), save_model(tmp_path / "other", tiny.scorer(seed=9))
    first = resolve_model(str(saved))
    assert (again.version, again.encoder_version) == (first.version, first.encoder_version)
    assert other.version != first.version
    assert other.encoder_version != first.encoder_version
    assert len(first.version) == 12


def test_a_pinned_model_stays_as_it_is_when_another_takes_its_place(tmp_path: Path) -> None:
    before = save_model(tmp_path / "model", tiny.scorer())
    pinned = find_model(load_config(None, [f"model={tmp_path}/model"]), tmp_path / "work" / "pinned")
    save_model(tmp_path / "new", tiny.scorer(seed=9))
    replace_folder(tmp_path / "new", tmp_path / "model")
    assert resolve_model(str(tmp_path / "model")).version != before.version
    again = resolve_model(str(pinned.folder))
    assert pinned.version == again.version == before.version
    loaded, _ = load_encoder(pinned.folder)
    torch.testing.assert_close(logits(loaded), logits(tiny.scorer()), rtol=0, atol=0)


def test_new_fusion_trees_change_the_version_but_not_that_of_the_vectors(tmp_path: Path, saved: Path) -> None:
    encoder_version = save_encoder(tmp_path / "model", tiny.scorer(), tiny.tokens())
    info = finish_model(tmp_path / "model", tiny.fusion(seed=2), FACTS)
    before = resolve_model(str(saved))
    assert info.version != before.version
    assert encoder_version == info.encoder_version == before.encoder_version


def test_versions_do_not_depend_on_what_the_tokenizer_read_before(tmp_path: Path) -> None:
    fresh, used = tiny.tokens(), tiny.tokens()
    used.pieces(["red tea"], 5)
    versions = [
        save_encoder(tmp_path / name, tiny.scorer(), tokens) for name, tokens in (("fresh", fresh), ("used", used))
    ]
    assert versions[0] == versions[1]


def test_while_training_there_are_no_fusion_trees_yet(tmp_path: Path) -> None:
    save_encoder(tmp_path, tiny.scorer(), tiny.tokens())
    assert load_ranker(tmp_path) is None


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=rf"model: {tmp_path} holds no manifest.json; expected a folder written by"):
        resolve_model(str(tmp_path))


@pytest.mark.parametrize(
    "content", ["{", "[]", "3", "null", '{"format": "llmrec/2"}', '{"format": "llmrec/1", "files": 3}']
)
def test_foreign_json_is_no_manifest(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ArtifactError, match=r"manifest.json: is not a manifest of llmrec"):
        resolve_model(str(tmp_path))


def test_a_manifest_without_an_encoder_version_is_refused(model: Path) -> None:
    change_manifest(model, lambda manifest: manifest.pop("encoder_version"))
    with pytest.raises(ArtifactError, match=r"manifest.json: is not a manifest of llmrec .*encoder_version"):
        resolve_model(str(model))


def test_another_format_is_refused(model: Path) -> None:
    change_manifest(model, lambda manifest: manifest.update(format="llmrec/1"))
    with pytest.raises(ArtifactError, match=r"manifest.json: format is 'llmrec/1', expected 'llmrec/4'"):
        resolve_model(str(model))


@pytest.mark.parametrize("name", ["model.safetensors", "ranker.json", "scorer.json", "tokenizer.json"])
def test_a_missing_changed_or_unlisted_file_is_named(model: Path, name: str) -> None:
    whole = (model / name).read_bytes()
    (model / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ArtifactError, match=rf"{name}: has sha256 [0-9a-f]{{12}}\.\.\., the manifest says"):
        resolve_model(str(model))
    (model / name).unlink()
    with pytest.raises(ArtifactError, match=rf"{name}: is missing, expected it as listed in manifest.json"):
        resolve_model(str(model))
    change_manifest(model, lambda manifest: manifest["files"].pop(name))
    with pytest.raises(ArtifactError, match=rf"manifest.json: lists no {name}, expected one"):
        resolve_model(str(model))


@pytest.mark.parametrize("name", ["sequential.safetensors", "ablation-bert.json", "pytorch_model.bin", "code"])
def test_a_file_that_the_manifest_does_not_list_is_refused(model: Path, name: str) -> None:
    (model / name).mkdir() if name == "code" else torch.save({}, model / name)
    with pytest.raises(ArtifactError, match=rf"model/{name}: is not listed in manifest.json, expected no such file"):
        resolve_model(str(model))


def test_a_hidden_file_such_as_a_file_system_leaves_is_no_part_of_a_model(model: Path) -> None:
    (model / ".nfs0001").write_text("")
    assert resolve_model(str(model)).folder == model


@pytest.mark.parametrize("name", ["pytorch_model.bin", "ranker.pkl", "modeling.py", "../other.json", "/etc/x.json"])
def test_a_manifest_that_lists_a_pickle_or_code_or_leaves_its_folder_is_refused(model: Path, name: str) -> None:
    change_manifest(model, lambda manifest: manifest["files"].update({name: "0" * 64}))
    with pytest.raises(ArtifactError, match=rf"manifest.json: lists '{name}', expected files beside it that end in"):
        resolve_model(str(model))


def test_weights_that_lack_a_tensor_are_refused(model: Path) -> None:
    weights = load_file(model / "model.safetensors")
    weights.pop("head.weight")
    save_file(weights, model / "model.safetensors")
    with pytest.raises(ArtifactError, match=r"(?s)model.safetensors: does not fit scorer.json .*head.weight"):
        load_encoder(model)


@pytest.mark.parametrize("change", [{"layers": 4}, {"layers": 2}, {"inner_width": 48}, {"width": 16}])
def test_weights_of_another_architecture_are_refused(model: Path, change: dict[str, int]) -> None:
    settings = json.loads((model / "scorer.json").read_text())
    settings["backbone"] |= change
    (model / "scorer.json").write_text(json.dumps(settings))
    with pytest.raises(ArtifactError, match=r"model.safetensors: does not fit scorer.json"):
        load_encoder(model)


def test_a_pickle_in_place_of_safetensors_is_refused(model: Path) -> None:
    (model / "model.safetensors").unlink()
    torch.save(tiny.scorer().state_dict(), model / "pytorch_model.bin")
    with pytest.raises(ArtifactError, match=r"model.safetensors"):
        load_encoder(model)
    torch.save(tiny.scorer().state_dict(), model / "model.safetensors")
    with pytest.raises(ArtifactError, match=r"model.safetensors"):
        load_encoder(model)


def test_replacing_a_folder_leaves_only_the_new_one(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text("{}")
        (tmp_path / name / f"{name}.txt").write_text(name)
        replace_folder(tmp_path / name, tmp_path / "place" / "model")
    assert [path.name for path in (tmp_path / "place").iterdir()] == ["model"]
    assert [path.name for path in (tmp_path / "place" / "model").iterdir() if path.suffix == ".txt"] == ["second.txt"]


def test_nothing_but_a_model_is_replaced(tmp_path: Path, saved: Path) -> None:
    thesis = tmp_path / "mine" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    with pytest.raises(OutputError, match=r"mine holds files but no manifest.json; expected a folder of a model"):
        replace_folder(saved, thesis.parent)
    with pytest.raises(OutputError, match=r"thesis.txt is a file, expected a folder of a model or nothing"):
        replace_folder(saved, thesis)
    assert thesis.read_text() == "years of work"
