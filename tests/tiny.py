"""Tiny things with real shapes: a random BERT that trains in a second, a catalogue of a few items."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import (
    BertConfig,
    BertModel,
    CamembertConfig,
    CamembertModel,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    ModernBertConfig,
    ModernBertModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from llmrec import columns as C
from llmrec.domain.features import COLUMN, NAMES
from llmrec.domain.users import User
from llmrec.nn.backbone import Backbone
from llmrec.nn.candidates import CandidateSizes
from llmrec.nn.catalogue import Catalogue, write_catalogue
from llmrec.nn.families import open_model
from llmrec.nn.fusion import Fusion
from llmrec.nn.prefix import PrefixScorer
from llmrec.nn.tokens import TextLimits, Tokens

torch.set_num_threads(1)  # on matrices this small, a second thread costs twenty times what it gives

WORDS = [
    "red",
    "blue",
    "green",
    "tea",
    "coffee",
    "cup",
    "pot",
    "film",
    "song",
    "book",
    "cat",
    "dog",
    "old",
    "new",
    ".",
    ",",
    "crimson",
    "azure",
    "jade",
    "warm",
    "cold",
    "fresh",
    "leafy",
]
OF_ROBERTA = {
    "roberta": (RobertaConfig, RobertaModel),
    "camembert": (CamembertConfig, CamembertModel),
    "xlm-roberta": (XLMRobertaConfig, XLMRobertaModel),
}
FAMILIES = ["bert", "distilbert", "electra", "modernbert", *OF_ROBERTA]
LIMITS = TextLimits(history_items=4, history_tokens=4, max_user_tokens=32, max_item_tokens=12)


def tokenizer() -> PreTrainedTokenizerFast:
    """One token per word of WORDS."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    model = Tokenizer(WordLevel({word: place for place, word in enumerate(special + WORDS)}, unk_token="[UNK]"))
    model.pre_tokenizer = BertPreTokenizer()
    return PreTrainedTokenizerFast(
        tokenizer_object=model, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]",
    )  # fmt: skip


def encoder(family: str = "bert", seed: int = 0, layers: int = 3) -> PreTrainedModel:
    """A random encoder of width 32, its biases too."""
    torch.manual_seed(seed)
    common = {"vocab_size": 30, "pad_token_id": 0, "max_position_embeddings": 64}
    common["initializer_range"] = 0.2  # large enough that what is read changes a score by more than rounding does
    wide = {"hidden_size": 32, "num_hidden_layers": layers, "num_attention_heads": 4, "intermediate_size": 64}
    if family == "bert":
        model = BertModel(BertConfig(**common, **wide), add_pooling_layer=False)
    elif family == "modernbert":  # its second layer sees three tokens to either side
        special = {"bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3}
        every_second = {"local_attention": 6, "global_attn_every_n_layers": 2}
        model = ModernBertModel(ModernBertConfig(**common, **wide, **special, **every_second))
    elif family in OF_ROBERTA:  # as published: positions after the padding token's, one token type
        config, kind = OF_ROBERTA[family]
        model = kind(config(**common | {"pad_token_id": 1, "type_vocab_size": 1}, **wide), add_pooling_layer=False)
    elif family == "electra":
        model = ElectraModel(ElectraConfig(**common, **wide, embedding_size=16))
    else:
        model = DistilBertModel(DistilBertConfig(**common, dim=32, n_layers=layers, n_heads=4, hidden_dim=64))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("bias"):
                weight.normal_(std=0.2)
            elif family == "modernbert" and weight.ndim == 1:  # norms; it has no biases
                weight.normal_(1, std=0.2)
    return model.eval()


def encoder_folder(folder: Path) -> Path:
    """Save the tiny BERT and its tokenizer as a pretrained folder."""
    encoder().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def backbone(family: str = "bert", seed: int = 0, layers: int = 3) -> Backbone:
    """The random encoder, opened."""
    return open_model(encoder(family, seed, layers))


def tokens(limits: TextLimits = LIMITS) -> Tokens:
    """The tiny tokenizer with its templates."""
    fast = tokenizer()
    return Tokens(fast.backend_tokenizer, first=fast.cls_token_id, between=fast.sep_token_id, limits=limits)


def catalogue(
    folder: Path,
    texts: list[str],
    *,
    together: dict[tuple[int, int], float] | None = None,
    after: dict[tuple[int, int], float] | None = None,
    taken: list[int] | None = None,
    available: list[bool] | None = None,
    vectors: npt.NDArray[np.float32] | None = None,
    brands: list[list[str]] | None = None,
    factors: npt.NDArray[np.float32] | None = None,
    ages: list[float | None] | None = None,
    segments: dict[str, dict[int, float]] | None = None,
    read_by: Tokens | None = None,
) -> Catalogue:
    """Items "0", "1", ... with these texts; ``together`` holds co-visitation weights, both directions; ``after``
    weights of what comes next, as they are. The tiny tokenizer reads them, unless another is given."""
    size = len(texts)
    counts = taken or [1] * size
    if vectors is None:
        vectors = np.eye(size, 32, dtype=np.float32)
    pairs = [(a, b, w) for (x, y), w in (together or {}).items() for a, b in ((x, y), (y, x))]
    items = pa.table(
        {
            "item_id": [f"{place}" for place in range(size)],
            "title": texts,
            "tokens": pa.array([p.tolist() for p in (read_by or tokens()).item_pieces(texts)], pa.list_(pa.int32())),
            "vector": pa.array(list(vectors), pa.list_(pa.float32())),
            "available": available or [True] * size,
            "taken": counts,
            "taken_lately": counts,
            "liked": counts,
            "age": pa.array(ages or [None] * size, pa.float32()),
            "idle": [1.0 if count else None for count in counts],
            "group-category": pa.array([[]] * size, pa.list_(pa.string())),
            "group-attributes": pa.array(brands or [[]] * size, pa.list_(pa.string())),
            **({"group-brand": brands} if brands else {}),
        }
    )
    related = {
        C.COVISITATION: _weights(pairs),
        C.NEXT: _weights([(a, b, w) for (a, b), w in (after or {}).items()]),
        C.USER_BASED: _weights([]),
        C.EASE: _weights([]),
    }
    by_segment = [(name, item, weight) for name, own in (segments or {}).items() for item, weight in own.items()]
    taken_by_segment = pa.table(
        {
            "segment": pa.array([name for name, _, _ in by_segment], pa.string()),
            "item": pa.array([item for _, item, _ in by_segment], pa.int32()),
            "weight": pa.array([weight for _, _, weight in by_segment], pa.float32()),
        }
    )
    return write_catalogue(folder, items, related, taken_by_segment, factors)


def _weights(pairs: list[tuple[int, int, float]]) -> pa.Table:
    item, neighbour, weight = zip(*pairs, strict=True) if pairs else ((), (), ())
    return pa.table(
        {
            "item": pa.array(item, pa.int32()),
            "neighbour": pa.array(neighbour, pa.int32()),
            "weight": pa.array(weight, pa.float32()),
        }
    )


def user(
    name: str = "u", items: list[int] | None = None, text: str = "", supplied: dict[int, float] | None = None
) -> User:
    """A user who liked ``items``, oldest first."""
    array = np.array(items or [], np.int32)
    return User(name, array, array, array, array, text, supplied or {})


def sizes(most: int = 0, **counts: int) -> CandidateSizes:
    """``most`` candidates of each source; of those named, as many as said."""
    sources = [field.name for field in fields(CandidateSizes)]
    return CandidateSizes(**{**dict.fromkeys(sources, most), "at_least": 0, "pair_scored": 1000, **counts})


def scorer(seed: int = 0, layers: int = 3, cached_layers: int = 1) -> PrefixScorer:
    """An untrained scorer on the tiny BERT."""
    return PrefixScorer(backbone(seed=seed, layers=layers), cached_layers=cached_layers).eval()


def fusion(feature: str = "covisitation", seed: int = 1) -> Fusion:
    """Trees that know one thing: the higher ``feature`` (0 to 3), the likelier a like; no other feature counts."""
    rng = np.random.default_rng(0)
    features = np.zeros((2000, len(NAMES)), np.float32)
    features[:, COLUMN[feature]] = rng.uniform(0, 3, len(features))
    liked = rng.random(len(features)) < features[:, COLUMN[feature]] / 3
    return Fusion.train(features, liked, np.full(100, 20), np.arange(100), seed=seed)
