import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, GPT2Config, GPT2Model

from llmrec.errors import ArtifactError
from llmrec.nn.families import open_model
from llmrec.nn.masked_language import MaskedLanguage
from llmrec.nn.plan import Tuning
from llmrec.nn.prefix import PrefixScorer
from llmrec.nn.pretrained import load_backbone, load_tokens
from llmrec.nn.ragged import Ragged
from llmrec.nn.translation import Translation
from llmrec.nn.tuning import Tuned
from tests import tiny
from tests.nn.reference import own_forward


@pytest.mark.parametrize("family", tiny.FAMILIES)
@torch.inference_mode()
def test_a_family_saved_and_loaded_gives_the_vectors_of_its_own_forward(family: str, tmp_path: Path) -> None:
    model = tiny.encoder(family)
    model.save_pretrained(tmp_path)
    backbone = load_backbone(str(tmp_path))
    scorer = PrefixScorer(backbone, cached_layers=1).eval()
    ids = np.array([2, 5, 7, 11, 3], np.int32)
    vectors = scorer.item_vectors(scorer.encode_items(Ragged.of([ids])))
    own = own_forward(model, ids, side=[1] * 5).mean(dim=0)
    assert torch.isfinite(vectors).all()
    torch.testing.assert_close(vectors[0], own / own.norm(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["t5", "gpt2", "deberta-v2", "mpnet", "roformer", "of-tomorrow"])
def test_an_unsupported_family_is_refused_by_name(family: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
    supported = "bert, camembert, distilbert, electra, modernbert, roberta, xlm-roberta"
    with pytest.raises(
        ArtifactError, match=f"encoder.path: {tmp_path}: model_type is '{family}', supported are {supported}$"
    ):
        load_backbone(str(tmp_path))


def test_a_model_of_an_unsupported_family_is_refused_by_name() -> None:
    model = GPT2Model(GPT2Config(vocab_size=9, n_positions=8, n_embd=8, n_layer=1, n_head=1))
    with pytest.raises(ArtifactError, match=r"encoder: model_type is 'gpt2', supported are bert, .*xlm-roberta"):
        open_model(model)


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [("bert", {"hidden_act": "silu"}, "activation is 'silu', supported are gelu"),
     ("bert", {"position_embedding_type": "relative_key"},
      "position_embedding_type is 'relative_key', supported are absolute"),
     ("modernbert", {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
      "rope_type is 'linear', supported are default")],
)  # fmt: skip
def test_a_variant_that_would_be_read_wrongly_is_refused_by_name(
    family: str, change: dict[str, object], message: str, tmp_path: Path
) -> None:
    tiny.encoder(family).save_pretrained(tmp_path)
    load_backbone(str(tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ArtifactError, match=f"encoder.path: {tmp_path}: {message}"):
        load_backbone(str(tmp_path))


def test_a_folder_without_an_encoder_is_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=rf"encoder.path: {tmp_path} holds no config.json; expected a folder"):
        load_backbone(str(tmp_path))
    with pytest.raises(ArtifactError, match=r"encoder.path: some/hub-name holds no config.json.*allow_download=true"):
        load_backbone("some/hub-name")


def test_a_folder_with_a_pickle_instead_of_safetensors_is_refused(tmp_path: Path) -> None:
    tiny.encoder_folder(tmp_path)
    torch.save(tiny.encoder().state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match=rf"{tmp_path}: cannot be loaded as an encoder .*safetensors"):
        load_backbone(str(tmp_path))


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_an_encoder_with_code_of_its_own_is_refused_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    tiny.encoder_folder(tmp_path)
    load_backbone(str(tmp_path))
    for kind in ("Model", "ModelForMaskedLM", "ModelForSeq2SeqLM", "Tokenizer"):
        monkeypatch.delattr(f"transformers.Auto{kind}.from_pretrained")
    of_its_own = {"AutoModel": "modeling.Evil", "AutoTokenizer": ["modeling.Evil", None]}
    settings = json.loads((tmp_path / name).read_text()) | {"auto_map": of_its_own}
    (tmp_path / name).write_text(json.dumps(settings))
    (tmp_path / "modeling.py").write_text("raise SystemExit('this code was run')")
    folder = str(tmp_path)
    for load in (
        lambda: load_backbone(folder),
        lambda: load_tokens(folder, tiny.LIMITS),
        lambda: MaskedLanguage.load(folder),
        lambda: Translation.load(folder, folder),
    ):
        with pytest.raises(ArtifactError, match=rf"{name} has an auto_map, code of its own; expected a model without"):
            load()


def test_weights_that_lack_a_layer_of_the_config_are_refused(tmp_path: Path) -> None:
    tiny.encoder("bert", layers=2).save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    config.num_hidden_layers = 3
    config.save_pretrained(tmp_path)
    with pytest.raises(ArtifactError, match=rf"{tmp_path}: its weights lack encoder.layer.2.attention.*, expected all"):
        load_backbone(str(tmp_path))


def test_weights_of_another_size_than_the_config_are_refused(tmp_path: Path) -> None:
    tiny.encoder_folder(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    config.intermediate_size = 48
    config.save_pretrained(tmp_path)
    with pytest.raises(ArtifactError, match=rf"{tmp_path}: cannot be loaded as an encoder"):
        load_backbone(str(tmp_path))


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_folder_without_a_tokenizer_is_refused(family: str, tmp_path: Path) -> None:
    tiny.encoder(family).save_pretrained(tmp_path)
    with pytest.raises(ArtifactError, match=rf"{tmp_path}: holds no tokenizer"):
        load_tokens(str(tmp_path), tiny.LIMITS)


def test_a_tokenizer_without_separators_is_refused(tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.sep_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ArtifactError, match=r"its tokenizer has no CLS or SEP token, expected both"):
        load_tokens(str(tmp_path), tiny.LIMITS)


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_freezing_keeps_exactly_the_embeddings_and_the_lower_blocks(family: str, layers: int) -> None:
    backbone = tiny.backbone(family)
    Tuned(PrefixScorer(backbone, cached_layers=1), Tuning("full", 1, layers, frozen_embeddings=False), steps=9)
    frozen = {id(weights) for weights in backbone.parameters() if not weights.requires_grad}
    lower = [backbone.embeddings, *backbone.blocks[:layers]] if layers else []
    assert frozen == {id(weights) for part in lower for weights in part.parameters()}
