"""The families of pretrained encoders: what transformers calls their sizes and weights, and what we call them."""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from llmrec.errors import ArtifactError
from llmrec.nn.backbone import ACTIVATIONS, Backbone, BackboneShape

_AFTER_PADDING = ("camembert", "roberta", "xlm-roberta")
"""Families whose positions count from after the padding token's id."""
_DISTILBERT, _MODERNBERT = "distilbert", "modernbert"
SUPPORTED = tuple(sorted(["bert", "electra", *_AFTER_PADDING, _DISTILBERT, _MODERNBERT]))

_EMBEDDINGS = {
    "words": "embeddings.word_embeddings",
    "positions": "embeddings.position_embeddings",
    "types": "embeddings.token_type_embeddings",
    "norm": "embeddings.LayerNorm",
    "widen": "embeddings_project",
}
_BLOCK = {
    "query": "encoder.layer.{}.attention.self.query",
    "key": "encoder.layer.{}.attention.self.key",
    "value": "encoder.layer.{}.attention.self.value",
    "output": "encoder.layer.{}.attention.output.dense",
    "attention_norm": "encoder.layer.{}.attention.output.LayerNorm",
    "up": "encoder.layer.{}.intermediate.dense",
    "down": "encoder.layer.{}.output.dense",
    "output_norm": "encoder.layer.{}.output.LayerNorm",
}
_BLOCK_OF_DISTILBERT = {
    "query": "transformer.layer.{}.attention.q_lin",
    "key": "transformer.layer.{}.attention.k_lin",
    "value": "transformer.layer.{}.attention.v_lin",
    "output": "transformer.layer.{}.attention.out_lin",
    "attention_norm": "transformer.layer.{}.sa_layer_norm",
    "up": "transformer.layer.{}.ffn.lin1",
    "down": "transformer.layer.{}.ffn.lin2",
    "output_norm": "transformer.layer.{}.output_layer_norm",
}
_EMBEDDINGS_OF_MODERNBERT = {"words": "embeddings.tok_embeddings", "norm": "embeddings.norm"}
_TOGETHER, _PARTS = ".attn.Wqkv.", ("query", "key", "value")
_BLOCK_OF_MODERNBERT = {
    **{part: f"layers.{{}}{_TOGETHER}{part}" for part in _PARTS},
    "output": "layers.{}.attn.Wo",
    "attention_norm": "layers.{}.attn_norm",
    "up": "layers.{}.mlp.Wi",
    "inner_norm": "layers.{}.mlp_norm",
    "down": "layers.{}.mlp.Wo",
}


def require_family(family: str | None, where: str) -> None:
    """Raise ArtifactError, naming what is supported, if ``family`` is not."""
    _require("model_type", family, SUPPORTED, where)


def require_supported(config: PretrainedConfig, where: str) -> None:
    """Raise ArtifactError, naming what is supported, if the encoder's family, activation or positions are not."""
    require_family(config.model_type, where)
    _require("activation", _activation(config), ACTIVATIONS, where)
    _require("position_embedding_type", getattr(config, "position_embedding_type", "absolute"), ("absolute",), where)
    if config.model_type == _MODERNBERT:
        for of_block in config.rope_parameters.values():
            _require("rope_type", of_block["rope_type"], ("default",), where)


def open_model(model: PreTrainedModel) -> Backbone:
    """Copy the weights of a supported model into a backbone of ours; biases that its family lacks start as zeros."""
    config: Any = model.config
    require_supported(config, "encoder")
    backbone, theirs = Backbone(_shape(config)), _apart(model.state_dict())
    ours = {}
    for name in backbone.state_dict():
        part, kind = name.rsplit(".", 1)
        found = theirs.get(f"{_their_name(part, config)}.{kind}")
        if found is None and kind == "bias":
            found = torch.zeros(backbone.get_parameter(name).shape)
        if found is not None:
            ours[name] = found
    backbone.load_state_dict(ours)
    return backbone


def _shape(config: Any) -> BackboneShape:
    modern, distil = config.model_type == _MODERNBERT, config.model_type == _DISTILBERT
    kinds = config.layer_types if modern else []
    return BackboneShape(
        vocabulary=config.vocab_size,
        width=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        inner_width=config.hidden_dim if distil else config.intermediate_size,
        positions=config.max_position_embeddings,
        types=0 if distil or modern else config.type_vocab_size,
        embedding_width=getattr(config, "embedding_size", None) or config.hidden_size,
        first_position=config.pad_token_id + 1 if config.model_type in _AFTER_PADDING else 0,
        activation=_activation(config),
        norm_epsilon=config.norm_eps if modern else getattr(config, "layer_norm_eps", 1e-12),
        rotary_bases=[float(config.rope_parameters[kind]["rope_theta"]) for kind in kinds],
        windows=[config.sliding_window if kind == "sliding_attention" else 0 for kind in kinds],
    )


def _their_name(part: str, config: Any) -> str:
    """Return what transformers calls a layer of ours."""
    embeddings, block = {
        _MODERNBERT: (_EMBEDDINGS_OF_MODERNBERT, _BLOCK_OF_MODERNBERT),
        _DISTILBERT: (_EMBEDDINGS, _BLOCK_OF_DISTILBERT),
    }.get(config.model_type, (_EMBEDDINGS, _BLOCK))
    side, place, *name = part.split(".")
    if side == "embeddings":
        return embeddings[place]
    if config.model_type == _MODERNBERT and name == ["output_norm"]:
        return "final_norm"
    return block[name[0]].format(place)


def _apart(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add queries, keys and values, which ModernBERT has in one layer, each for itself."""
    apart = dict(weights)
    for name, together in weights.items():
        if _TOGETHER in name:
            before, kind = name.rsplit(".", 1)
            apart |= {f"{before}.{part}.{kind}": of for part, of in zip(_PARTS, together.chunk(3), strict=True)}
    return apart


def _activation(config: Any) -> str:
    names = {_DISTILBERT: "activation", _MODERNBERT: "hidden_activation"}
    return str(getattr(config, names.get(config.model_type, "hidden_act")))


def _require(what: str, found: str | None, supported: Collection[str], where: str) -> None:
    if found not in supported:
        raise ArtifactError(f"{where}: {what} is {found!r}, supported are {', '.join(supported)}")
