"""What transformers itself computes: the reference for everything that the backbone is taken apart for."""

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel


def own_forward(
    model: PreTrainedModel,
    ids: np.ndarray,
    side: list[int],
    places: list[int] | None = None,
    sees: Tensor | None = None,
) -> Tensor:
    """Last states (N, D) of one sequence, by the family's own forward.

    ``side`` is the token type, where the family has types; ``places`` are positions counted from zero, where they are
    learned; ``sees`` (N, N) says who attends to whom.
    """
    given = {"input_ids": torch.from_numpy(ids).long()[None]}
    types = getattr(model.config, "type_vocab_size", 0)
    if types:
        given["token_type_ids"] = torch.tensor(side)[None].clamp(max=types - 1)
    modern = model.config.model_type == "modernbert"
    if places is not None and not modern:
        table = model.embeddings.position_embeddings
        at = torch.tensor(places)[None] + (0 if table.padding_idx is None else table.padding_idx + 1)
        if model.config.model_type == "distilbert":  # takes no positions, and adds those from zero to what it is given
            words = model.embeddings.word_embeddings(given.pop("input_ids"))
            given["inputs_embeds"] = words + table(at) - table.weight[: len(ids)]
        else:
            given["position_ids"] = at
    if sees is not None:
        given["attention_mask"] = sees[None, None]
    if sees is not None and modern:
        place = torch.arange(len(ids))
        near = (place[:, None] - place).abs() <= model.config.local_attention // 2
        given["attention_mask"] = {"full_attention": sees[None, None], "sliding_attention": (sees & near)[None, None]}
    return model(**given).last_hidden_state[0]
