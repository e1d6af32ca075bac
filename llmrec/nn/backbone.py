"""A BERT-like encoder, opened: embeddings and blocks, so that a scorer decides what attends to what.

Its weights come from a pretrained model (nn.pretrained) or from an artifact of ours. It needs torch alone: importing
transformers takes a worker longer than scoring some thousand pairs.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from llmrec.nn.row_counts import rounded_up

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_new": partial(functional.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(functional.gelu, approximate="tanh"),
    "relu": functional.relu,
}

# Shape letters: S texts, N tokens, T tokens of the longest text, H heads, E head width, D width, A = H * E, which is D
# but where heads were taken out.


@dataclass(frozen=True)
class BackboneShape:
    """What decides the sizes of an encoder, and what kind it is."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    inner_width: int
    positions: int
    types: int
    """Token types; 0 where the family has none."""
    embedding_width: int
    """Differs from the width where embeddings are widened (ELECTRA)."""
    first_position: int
    """Where positions start to count (RoBERTa: after the padding index)."""
    activation: str
    norm_epsilon: float
    adapter_width: int = 0
    """Of the bottleneck after each sublayer; 0 where there is none."""
    virtual_tokens: int = 0
    """Learned keys and values that every text attends to, in every block."""
    rotary_bases: Sequence[float] = ()
    """Of each block's positions where these are rotary (ModernBERT); empty where they are learned (BERT)."""
    windows: Sequence[int] = ()
    """With rotary positions: how many tokens to either side each block lets a token see; 0 where it sees all."""
    head_width: int = 0
    """Of queries, keys and values where heads were taken out; 0 where heads share the width (nn.pruning)."""

    @property
    def width_of_head(self) -> int:
        """E."""
        return self.head_width or self.width // self.heads

    @property
    def is_plain(self) -> bool:
        """Tell whether it is a BERT with nothing added."""
        return not self.adapter_width and not self.virtual_tokens and not self.rotary_bases


class Adapter(nn.Module):
    """A bottleneck beside the identity; at first it adds nothing (Houlsby et al., 2019)."""

    def __init__(self, width: int, narrow: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, narrow), nn.Linear(narrow, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, states: Tensor) -> Tensor:
        """(N, D) -> (N, D)."""
        adapted: Tensor = states + self.up(functional.gelu(self.down(states)))
        return adapted


class Block(nn.Module, ABC):
    """One transformer block: attention, whose pattern the scorer decides, and a feed-forward part."""

    attention_norm: nn.Module
    output_norm: nn.Module

    def __init__(self, shape: BackboneShape, place: int, up_width: int) -> None:
        super().__init__()
        attending = shape.heads * shape.width_of_head
        self.query = nn.Linear(shape.width, attending)
        self.key = nn.Linear(shape.width, attending)
        self.value = nn.Linear(shape.width, attending)
        self.output = nn.Linear(attending, shape.width)
        self.up = nn.Linear(shape.width, up_width)
        self.down = nn.Linear(shape.inner_width, shape.width)
        self.window = shape.windows[place] if shape.windows else 0
        """How many tokens to either side a token sees; 0 where it sees all."""
        self._rotary_base = shape.rotary_bases[place] if shape.rotary_bases else None
        self._heads, self._activation = shape.heads, ACTIVATIONS[shape.activation]
        self.dropout, self.recompute = 0.0, False
        """In training: the share of each sublayer's outputs that is left out; whether what follows attention
        is computed again for the gradients instead of being kept."""
        self.adapters: nn.ModuleList | None = None
        """After attention, and after the feed-forward part."""
        self.virtual: nn.Parameter | None = None
        """Keys and values of virtual tokens, (2, H, tokens, E) (Li and Liang, 2021)."""

    def queries(self, states: Tensor, position: Tensor) -> Tensor:
        """What tokens at ``position`` (N,) ask, (N, D) -> (N, H, E); learned positions are in the states already.

        Here and below, states may have more rows than there are tokens, see `whole`.
        """
        return self._turn(self._split(self.query(self._before_attention(states)), len(position)), position)

    def keys_values(self, states: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """What tokens at ``position`` (N,) answer to and with, (N, D) -> two of (N, H, E)."""
        states, count = self._before_attention(states), len(position)
        return self._turn(self._split(self.key(states), count), position), self._split(self.value(states), count)

    def after_attention(self, states: Tensor, attended: Tensor) -> Tensor:
        """Finish the block: states (N, D) and attended values (N, A) give the next states (N, D)."""
        if len(states) > len(attended):
            attended = functional.pad(attended, (0, 0, 0, len(states) - len(attended)))
        if self.recompute and self.training:
            again: Tensor = checkpoint(self._finish, states, attended, use_reentrant=False)
            return again
        return self._finish(states, attended)

    def with_virtual(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Put keys and values of the virtual tokens, if any, before those of S texts, (S, H, T, E)."""
        if self.virtual is None:
            return key, value
        learned = [one.to(key.dtype).expand(len(key), -1, -1, -1) for one in self.virtual]
        return torch.cat([learned[0], key], 2), torch.cat([learned[1], value], 2)

    def with_virtual_seen(self, seen: Tensor) -> Tensor:
        """Let all see the virtual tokens, if any, too: (..., T) -> (..., virtual + T)."""
        return seen if self.virtual is None else functional.pad(seen, (self.virtual.shape[2], 0), value=True)

    def sees(self, asking: Tensor, asked: Tensor, valid: Tensor) -> Tensor:
        """Tell which of their keys the tokens of S texts attend to, (S, 1 or n, T).

        Args:
            asking: (S, n) positions of those that ask.
            asked: (S, T) positions of the keys.
            valid: (S, T) False where no key stands.
        """
        seen = valid[:, None]
        if self.window:
            seen = seen & ((asking[:, :, None] - asked[:, None]).abs() <= self.window)
        return seen

    def _before_attention(self, states: Tensor) -> Tensor:
        return states

    @abstractmethod
    def _finish(self, states: Tensor, attended: Tensor) -> Tensor:
        """See `after_attention`."""

    def _split(self, flat: Tensor, count: int) -> Tensor:
        return flat[:count].view(count, self._heads, -1)  # (N or more, A) -> (N, H, E)

    def _turn(self, vectors: Tensor, position: Tensor) -> Tensor:
        return vectors if self._rotary_base is None else turn(vectors, position, self._rotary_base)

    def _adapt(self, place: int, states: Tensor) -> Tensor:
        if self.dropout and self.training:
            states = functional.dropout(states, self.dropout)
        if self.adapters is None:
            return states
        adapted: Tensor = self.adapters[place](states)
        return adapted


class PostNormBlock(Block):
    """A block with layer norm after attention and after the feed-forward part (BERT)."""

    def __init__(self, shape: BackboneShape, place: int) -> None:
        super().__init__(shape, place, shape.inner_width)
        self.attention_norm = nn.LayerNorm(shape.width, eps=shape.norm_epsilon)
        self.output_norm = nn.LayerNorm(shape.width, eps=shape.norm_epsilon)

    def _finish(self, states: Tensor, attended: Tensor) -> Tensor:
        states = self.attention_norm(states + self._adapt(0, self.output(attended)))
        finished: Tensor = self.output_norm(states + self._adapt(1, self.down(self._activation(self.up(states)))))
        return finished


class PreNormBlock(Block):
    """A block with layer norm before attention and before the feed-forward part, which is gated (ModernBERT).

    The first has no norm before attention, since the embeddings end with one; the last ends with one.
    """

    def __init__(self, shape: BackboneShape, place: int) -> None:
        super().__init__(shape, place, 2 * shape.inner_width)

        def norm(there: bool) -> nn.Module:
            return nn.LayerNorm(shape.width, eps=shape.norm_epsilon) if there else nn.Identity()

        self.attention_norm, self.inner_norm = norm(place > 0), norm(True)
        self.output_norm = norm(place == shape.layers - 1)

    def _before_attention(self, states: Tensor) -> Tensor:
        normed: Tensor = self.attention_norm(states)
        return normed

    def _finish(self, states: Tensor, attended: Tensor) -> Tensor:
        states = states + self._adapt(0, self.output(attended))
        up, gate = self.up(self.inner_norm(states)).chunk(2, -1)
        finished: Tensor = self.output_norm(states + self._adapt(1, self.down(self._activation(up) * gate)))
        return finished


def whole(states: Tensor) -> Tensor:
    """Fill up with rows of zeros, (N, D) -> (N or more, D), in training in bfloat16 on a processor.

    There a kernel is compiled for each number of rows (nn.row_counts), forwards and twice backwards.
    """
    if states.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return states
    return functional.pad(states, (0, 0, 0, rounded_up(len(states)) - len(states)))


def turn(vectors: Tensor, position: Tensor, base: float) -> Tensor:
    """Turn queries or keys (N, H, E) by their tokens' positions (N,): products then depend on distances alone.

    Rotary positions (Su et al., 2021), the two halves of a head making pairs as in GPT-NeoX.
    """
    half = vectors.shape[-1] // 2
    speeds = base ** (-torch.arange(half, device=vectors.device, dtype=torch.float32) / half)
    angles = position[:, None, None] * speeds
    cosine, sine = angles.cos(), angles.sin()
    one, other = vectors.float().split(half, -1)
    return torch.cat([one * cosine - other * sine, other * cosine + one * sine], -1).to(vectors.dtype)


class Embeddings(nn.Module):
    """Words, and positions and token types where the family has such, to the first states."""

    def __init__(self, shape: BackboneShape) -> None:
        super().__init__()
        narrow = shape.embedding_width
        self.words = nn.Embedding(shape.vocabulary, narrow)
        self.positions = None if shape.rotary_bases else nn.Embedding(shape.positions, narrow)
        self.types = nn.Embedding(shape.types, narrow) if shape.types else None
        self.norm = nn.LayerNorm(narrow, eps=shape.norm_epsilon)
        self.widen = nn.Linear(narrow, shape.width) if narrow != shape.width else None

    def forward(self, words: Tensor, positions: Tensor, side: int) -> Tensor:
        """Add to the embeddings of words what they are and where, (N, narrow) -> (N, D); side 0 is the user's text."""
        states = words if self.positions is None else words + self.positions(positions)
        if self.types is not None:
            states = states + self.types.weight[min(side, self.types.num_embeddings - 1)]
        states = self.norm(states)
        widened: Tensor = states if self.widen is None else self.widen(states)
        return widened


class Backbone(nn.Module):
    """Embeddings, then blocks one after the other."""

    def __init__(self, shape: BackboneShape) -> None:
        super().__init__()
        self.shape = shape
        self.embeddings = Embeddings(shape)
        kind = PreNormBlock if shape.rotary_bases else PostNormBlock
        self.blocks = nn.ModuleList(kind(shape, place) for place in range(shape.layers))
        if shape.adapter_width:
            self.add_adapters(shape.adapter_width)
        if shape.virtual_tokens:
            self.add_virtual_tokens(shape.virtual_tokens)

    @property
    def stack(self) -> list[Block]:
        """The blocks, lowest first."""
        return [block for block in self.blocks if isinstance(block, Block)]

    @property
    def max_tokens(self) -> int:
        """Longest text that has positions."""
        return self.shape.positions - self.shape.first_position

    def embed(self, ids: Tensor, positions: Tensor, side: int) -> Tensor:
        """Embed tokens at positions counted from zero, (N,) -> (N, D)."""
        return self.place(self.words(ids), positions, side)

    def words(self, ids: Tensor) -> Tensor:
        """Look tokens up, wherever they may stand, (N,) -> (N, embedding width)."""
        words: Tensor = self.embeddings.words(ids)
        return words

    def place(self, words: Tensor, positions: Tensor, side: int) -> Tensor:
        """Finish the embeddings of tokens that stand at ``positions``, counted from zero, on one side: (N, D)."""
        states: Tensor = self.embeddings(words, positions + self.shape.first_position, side)
        return states

    def add_adapters(self, width: int) -> None:
        """Put a bottleneck of ``width`` after each sublayer."""
        self.shape = replace(self.shape, adapter_width=width)
        for block in self.stack:
            block.adapters = nn.ModuleList(Adapter(self.shape.width, width) for _ in range(2))

    def add_virtual_tokens(self, count: int) -> None:
        """Let every text attend to ``count`` learned tokens in each block."""
        self.shape = replace(self.shape, virtual_tokens=count)
        for block in self.stack:
            block.virtual = nn.Parameter(torch.randn(2, self.shape.heads, count, self.shape.width_of_head))
