"""Weights kept in int8: what a model folder of them scores, holds and weighs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from llmrec.errors import ArtifactError
from llmrec.nn.artifact import finish_model, load_encoder, resolve_model, rework_model, save_encoder
from llmrec.nn.backbone import Backbone
from llmrec.nn.engine import Engine
from llmrec.nn.inference import for_inference
from llmrec.nn.int8 import from_int8, round_weights, rounded, to_int8
from llmrec.nn.linear import Precision
from llmrec.nn.prefix import PrefixScorer
from llmrec.nn.ragged import Ragged
from llmrec.nn.scorer import PairScorer
from tests import tiny


@pytest.fixture
def original(tmp_path: Path) -> PrefixScorer:
    """Saved with a ranker in tmp_path/original."""
    scorer = tiny.scorer(seed=3)
    save_encoder(tmp_path / "original", scorer, tiny.tokens())
    finish_model(tmp_path / "original", tiny.fusion(), {"run_date": "2026-01-31", "metrics": {"importance": {}}})
    return scorer


@pytest.fixture
def exported(original: PrefixScorer, tmp_path: Path) -> Path:
    scorer, tokens = load_encoder(tmp_path / "original")
    assert isinstance(scorer, PrefixScorer)
    round_weights(scorer)
    rework_model(resolve_model(f"{tmp_path}/original"), tmp_path / "int8", scorer, tokens, {"exported": {"int8": True}})
    return tmp_path / "int8"


@torch.inference_mode()
def read(scorer: PairScorer) -> dict[str, torch.Tensor]:
    """Logits of all pairs of three users and five items, and the vectors of both."""
    rng = np.random.default_rng(0)
    users, shown = (
        Ragged.of([rng.integers(2, 20, size).astype(np.int32) for size in sizes])
        for sizes in ([30, 4, 17], [5, 9, 2, 9, 1])
    )
    user, item = torch.arange(3).repeat_interleave(5), torch.arange(5).repeat(3)
    people, items = scorer.encode_users(users), scorer.encode_items(shown)
    logits = scorer.pair_outputs(people, items, user, item)[:, 0]
    return {"logits": logits, "users": people.vectors, "items": scorer.item_vectors(items)}


def test_a_folder_of_int8_scores_as_the_original_does_in_int8(original: PrefixScorer, exported: Path) -> None:
    loaded, _ = load_encoder(exported)
    expected, found = read(for_inference(original, Precision.INT8)), read(for_inference(loaded))
    assert all(torch.equal(found[name], values) for name, values in expected.items())
    floats = read(for_inference(original))
    assert not any(torch.equal(floats[name], values) for name, values in expected.items())


def test_other_precisions_multiply_what_the_codes_stand_for(original: PrefixScorer, exported: Path) -> None:
    loaded, _ = load_encoder(exported)
    assert isinstance(loaded, PrefixScorer)
    in_floats, in_codes = read(for_inference(loaded, Precision.FLOAT32)), read(for_inference(loaded))
    spread = in_floats["logits"].std()
    torch.testing.assert_close(in_floats["logits"], read(loaded)["logits"], atol=1e-5, rtol=1e-5)
    assert 0 < (in_floats["logits"] - in_codes["logits"]).abs().max() < 0.1 * spread
    assert 0 < (in_floats["logits"] - read(original)["logits"]).abs().max() < 0.1 * spread


def test_the_manifest_says_what_is_stored_and_the_ranker_stays(tmp_path: Path, exported: Path) -> None:
    info, weights = resolve_model(str(exported)), load_file(exported / "model.safetensors")
    kinds = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in weights.items()}
    assert kinds["backbone.blocks.0.up.weight"] == kinds["backbone.embeddings.words.weight"] == "int8"
    assert {kinds[f"backbone.blocks.2.{name}"] for name in ("up.bias", "up.weight.steps", "output_norm.weight")} == {
        "float32"
    }
    assert kinds["head.weight"] == kinds["backbone.embeddings.positions.weight"] == "float32"
    assert info.manifest["weights"]["int8, a step per output"] == "linear layers of the blocks"
    assert info.manifest["run_date"] == "2026-01-31"
    assert info.manifest["exported"] == {"int8": True}
    before = resolve_model(f"{tmp_path}/original")
    assert info.encoder_version != before.encoder_version
    assert info.manifest["files"]["ranker.json"] == before.manifest["files"]["ranker.json"]


def test_the_file_is_little_more_than_a_quarter(tmp_path: Path) -> None:
    shape = replace(tiny.backbone().shape, width=128, embedding_width=128, inner_width=512)
    scorer = PrefixScorer(Backbone(shape), cached_layers=1)
    save_encoder(tmp_path / "floats", scorer, tiny.tokens())
    round_weights(scorer)
    save_encoder(tmp_path / "codes", scorer, tiny.tokens())
    floats, codes = ((tmp_path / name / "model.safetensors").stat().st_size for name in ("floats", "codes"))
    assert codes < 0.3 * floats


def test_what_was_rounded_is_saved_again_without_a_change(tmp_path: Path, exported: Path) -> None:
    save_encoder(tmp_path / "again", *load_encoder(exported))
    again, once = (load_file(folder / "model.safetensors") for folder in (tmp_path / "again", exported))
    assert all(torch.equal(again[name], tensor) for name, tensor in once.items())


@pytest.mark.parametrize("size", [1e-30, 1e-3, 1.0, 3e4])
def test_rounding_keeps_within_half_a_step_and_rounds_no_second_time(size: float) -> None:
    torch.manual_seed(0)
    weight = size * torch.randn(20_000, 16)
    codes, steps = to_int8(weight)
    assert codes.dtype is torch.int8
    assert ((from_int8(codes, steps) - weight).abs() <= 0.501 * steps[:, None]).all()
    assert torch.equal(rounded(rounded(weight)), rounded(weight))
    if size > 1e-12:
        assert (codes.abs().amax(1) == 127).all()


def test_codes_without_steps_are_refused(exported: Path) -> None:
    weights = load_file(exported / "model.safetensors")
    weights.pop("backbone.blocks.1.down.weight.steps")
    save_file(weights, exported / "model.safetensors")
    with pytest.raises(ArtifactError, match=r"model.safetensors: does not fit .*blocks.1.down.weight is int8 and has"):
        load_encoder(exported)


def test_only_what_was_rounded_is_scored_in_int8_unless_that_is_asked_for(exported: Path) -> None:
    loaded, _ = load_encoder(exported)
    in_codes, plain = for_inference(loaded), for_inference(tiny.scorer())
    assert isinstance(in_codes, Engine) and isinstance(plain, Engine)
    assert in_codes.precision is Precision.INT8
    assert plain.precision is not Precision.INT8
