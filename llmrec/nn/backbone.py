"""A BERT-like encoder, opened: embeddings and blocks, so that a scorer decides what attends to what.

Its weights come from a pretrained model (nn.pretrained) or from an artifact of ours. It needs torch alone: importing
transformers takes a worker longer than scoring some thousand pairs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn
from torch.nn import functional

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_new": partial(functional.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(functional.gelu, approximate="tanh"),
    "relu": functional.relu,
}


@dataclass(frozen=True)
class BackboneShape:
    """What decides the sizes of an encoder. D is the width."""

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


class Block(nn.Module):
    """One transformer block with layer norm after attention and after the feed-forward part (BERT)."""

    def __init__(self, shape: BackboneShape) -> None:
        super().__init__()
        self.query = nn.Linear(shape.width, shape.width)
        self.key = nn.Linear(shape.width, shape.width)
        self.value = nn.Linear(shape.width, shape.width)
        self.output = nn.Linear(shape.width, shape.width)
        self.attention_norm = nn.LayerNorm(shape.width, eps=shape.norm_epsilon)
        self.up = nn.Linear(shape.width, shape.inner_width)
        self.down = nn.Linear(shape.inner_width, shape.width)
        self.output_norm = nn.LayerNorm(shape.width, eps=shape.norm_epsilon)
        self._activation = ACTIVATIONS[shape.activation]

    def after_attention(self, states: Tensor, attended: Tensor) -> Tensor:
        """Finish the block: states and attended values, both (N, D), give the next states (N, D)."""
        states = self.attention_norm(states + self.output(attended))
        finished: Tensor = self.output_norm(states + self.down(self._activation(self.up(states))))
        return finished


class Embeddings(nn.Module):
    """Words, positions and token types to the first states."""

    def __init__(self, shape: BackboneShape) -> None:
        super().__init__()
        narrow = shape.embedding_width
        self.words = nn.Embedding(shape.vocabulary, narrow)
        self.positions = nn.Embedding(shape.positions, narrow)
        self.types = nn.Embedding(shape.types, narrow) if shape.types else None
        self.norm = nn.LayerNorm(narrow, eps=shape.norm_epsilon)
        self.widen = nn.Linear(narrow, shape.width) if narrow != shape.width else None

    def forward(self, words: Tensor, positions: Tensor, side: int) -> Tensor:
        """Add to the embeddings of words what they are and where, (N, narrow) -> (N, D); side 0 is the user's text."""
        states = words + self.positions(positions)
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
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))

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

    def freeze_lower(self, layers: int) -> None:
        """Keep the pretrained weights of the embeddings and the first ``layers`` blocks; 0 freezes nothing."""
        if layers:
            self.embeddings.requires_grad_(False)
        for block in self.stack[:layers]:
            block.requires_grad_(False)
