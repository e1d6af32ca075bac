"""Scorers with fewer layers or attention heads: which ones matter least to a list of users, and the rest without them.

What matters is told by lists of what users liked next among what they did not, as the pair scorer and the vectors order
them. Layers are dropped one by one, each time the one whose absence costs least; of each layer's heads those go whose
silence costs least (Michel et al., 2019).
"""

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from llmrec.domain.users import User
from llmrec.nn.batches import Batch, Collator
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.examples import Example
from llmrec.nn.inference import for_inference
from llmrec.nn.losses import listwise
from llmrec.nn.negatives import Negatives
from llmrec.nn.prefix import PrefixScorer
from llmrec.nn.scorer import Scorer
from llmrec.nn.scorers import remake_scorer
from llmrec.nn.tokens import Tokens

# Shape letters: H heads, E head width, D width.

_NEGATIVES, _AT_ONCE = 12, 16
"""Items a list has beside what was liked; lists that are read at once."""
_SHARPNESS = 20.0
"""What cosines are multiplied with: the temperature .05 of the in-batch loss."""
_OF_BLOCK = re.compile(r"backbone\.blocks\.(\d+)\.(.+)", re.ASCII)
_BY_HEAD = {f"{layer}.{kind}": 0 for layer in ("query", "key", "value") for kind in ("weight", "bias")}
_BY_HEAD |= {"output.weight": 1}
"""Weights of a block that belong to heads, and the dimension that they are laid out along."""


@dataclass(frozen=True)
class Lists:
    """What users liked next, among what they did not take."""

    examples: Sequence[Example]
    tokens: Tokens
    catalogue: Catalogue

    @staticmethod
    def of(
        users: Sequence[User], targets: Sequence[set[int]], tokens: Tokens, catalogue: Catalogue, seed: int
    ) -> "Lists":
        """Draw for each user, who liked ``targets`` next, items to tell them from: half co-visited, half popular."""
        draw, rng = (
            Negatives(catalogue, _NEGATIVES, {"covisitation": 1.0, "popularity": 1.0}),
            np.random.default_rng(seed),
        )
        examples = []
        for user, liked in zip(users, targets, strict=True):
            past, next_ones = user.liked[-tokens.limits.history_items :], np.array(sorted(liked), np.int32)
            one = Example(user.text, past, next_ones, np.union1d(user.seen, next_ones), words=user.words_on(past))
            examples.append(replace(one, negatives=draw(one, rng)))
        return Lists(examples, tokens, catalogue)

    @torch.inference_mode()
    def loss(self, scorer: Scorer) -> float:
        """Return how little pair scorer and vectors favour what was liked: the sum of two listwise losses."""
        fast, collate, losses = for_inference(scorer), Collator(self.tokens, self.catalogue), list[Tensor]()
        for start in range(0, len(self.examples), _AT_ONCE):
            fields = collate(self.examples[start : start + _AT_ONCE])
            batch = Batch(**{name: of.to(scorer.device) for name, of in fields.items()})
            users, items = fast.encode_users(batch.users), fast.encode_items(batch.texts)
            logits = fast.pair_outputs(users, items, batch.user, batch.item)[:, 0]
            cosines = (users.vectors[batch.user] * fast.item_vectors(items)[batch.item]).sum(-1)
            positive = batch.table(batch.positive, False)
            of_orders = (
                listwise(batch.table(one.float(), -torch.inf), positive) for one in (logits, _SHARPNESS * cosines)
            )
            losses.append(torch.stack(list(of_orders)).sum(0))
        return float(torch.cat(losses).mean())


def choose_layers(scorer: Scorer, count: int, lists: Lists) -> list[int]:
    """Return the ``count`` layers to keep, ascending: one after the other that costs ``lists`` least is left out.

    Of the prefix scorer's, one in which the candidate sees the user always stays.
    """
    lowest_last = scorer.cached_layers if isinstance(scorer, PrefixScorer) else 0
    kept = list(range(len(scorer.backbone.stack)))
    while len(kept) > count:
        ways = [[layer for layer in kept if layer != out] for out in reversed(kept)]
        kept = min(
            (way for way in ways if way[-1] >= lowest_last), key=lambda way: lists.loss(keep_layers(scorer, way))
        )
    return kept


def choose_heads(scorer: Scorer, count: int, lists: Lists) -> list[list[int]]:
    """Return the ``count`` heads of each layer to keep, ascending: those whose silence costs ``lists`` most.

    Heads are silenced one at a time (Michel et al., 2019), in the uppermost layer first; what goes there stays silent
    while the layer below is asked.
    """
    muted, kept = copy.deepcopy(scorer), list[list[int]]()
    for block in reversed(muted.backbone.stack):
        by_head = block.output.weight.detach().unflatten(1, (scorer.backbone.shape.heads, -1))  # (D, H, E), a view
        costs = []
        for head in range(scorer.backbone.shape.heads):
            said = by_head[:, head].clone()
            by_head[:, head] = 0
            costs.append(lists.loss(muted))
            by_head[:, head] = said
        order = np.argsort(costs, kind="stable")
        by_head[:, order[:-count].tolist()] = 0
        kept.append(sorted(order[-count:].tolist()))
    return kept[::-1]


def keep_layers(scorer: Scorer, kept: Sequence[int]) -> Scorer:
    """Return ``scorer`` with the layers ``kept`` alone; those in which a candidate saw no user still see none."""
    place = {layer: at for at, layer in enumerate(kept)}
    state = {}
    for name, tensor in scorer.state_dict().items():
        found = _OF_BLOCK.fullmatch(name)
        if found is None:
            state[name] = tensor
        elif int(found[1]) in place:
            state[f"backbone.blocks.{place[int(found[1])]}.{found[2]}"] = tensor
    cached = sum(layer < scorer.cached_layers for layer in kept)
    return remake_scorer(scorer, replace(scorer.backbone.shape, layers=len(kept)), cached, state)


def keep_heads(scorer: Scorer, kept: Sequence[Sequence[int]]) -> Scorer:
    """Return ``scorer`` with the heads ``kept`` of each layer alone, as many in all layers."""
    shape = scorer.backbone.shape
    state = {}
    for name, tensor in scorer.state_dict().items():
        found = _OF_BLOCK.fullmatch(name)
        if found is not None and found[2] in _BY_HEAD:
            along, own = _BY_HEAD[found[2]], torch.tensor(kept[int(found[1])], device=tensor.device)
            tensor = tensor.unflatten(along, (shape.heads, -1)).index_select(along, own).flatten(along, along + 1)
        state[name] = tensor
    smaller = replace(shape, heads=len(kept[0]), head_width=shape.width_of_head)
    return remake_scorer(scorer, smaller, scorer.cached_layers, state)
