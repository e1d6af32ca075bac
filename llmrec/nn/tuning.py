"""What of the encoder learns: all of it, nothing but the head, or little that is added to it."""

import copy
from dataclasses import replace
from typing import Any

from peft import AdaLoraConfig, LoraConfig
from peft.tuners.adalora import AdaLoraModel
from peft.tuners.lora import LoraModel
from torch import nn

from llmrec.nn.plan import Tuning
from llmrec.nn.scorer import Scorer

_ADAPTED = ("query", "value")
"""Products that LoRA changes (Hu et al., 2022)."""
_WARM_UP, _COOL_DOWN, _LOOKS = 0.1, 0.3, 100
"""AdaLoRA: shares of the steps before ranks begin to fall and after they have fallen; how often they are dealt out."""


class Tuned:
    """A scorer in training: some of its weights are frozen, and some may be added."""

    def __init__(self, scorer: Scorer, tuning: Tuning, steps: int) -> None:
        self.scorer = scorer
        self._tuner: LoraModel | None = None
        backbone, lower = scorer.backbone, tuning.frozen_layers
        if tuning.method != "full":
            backbone.requires_grad_(False)
        elif lower or tuning.frozen_embeddings:
            backbone.embeddings.requires_grad_(False)
            for block in backbone.stack[:lower]:
                block.requires_grad_(False)
        if tuning.method == "adapters":
            backbone.add_adapters(tuning.rank)
        elif tuning.method == "prefix":
            backbone.add_virtual_tokens(tuning.rank)
        elif tuning.method in ("lora", "adalora"):
            upper = "|".join(str(place) for place in range(lower, len(backbone.stack)))
            targets = rf"blocks\.({upper})\.({'|'.join(_ADAPTED)})"
            self._tuner = _inject(backbone, tuning, targets, steps)
        scorer.to(scorer.device)  # what was added too

    @property
    def parameters(self) -> tuple[int, int]:
        """How many parameters learn, and how many there are."""
        weights = list(self.scorer.parameters())
        return sum(one.numel() for one in weights if one.requires_grad), sum(one.numel() for one in weights)

    @property
    def keeps_item_states(self) -> bool:
        """Tell whether no step changes the states of items below the blocks that see a user."""
        backbone = self.scorer.backbone
        lower: list[nn.Module] = [backbone.embeddings, *backbone.stack[: self.scorer.cached_layers]]
        return not any(weights.requires_grad for part in lower for weights in part.parameters())

    def standalone(self) -> Scorer:
        """Return a scorer as this one is now, with nothing added that can be merged."""
        if self._tuner is None:
            return self.scorer
        scorer, tuner = copy.deepcopy((self.scorer, self._tuner))
        tuner.merge_and_unload()
        return scorer

    def finish(self) -> None:
        """Merge what can be merged into the weights it was added to, in place."""
        if self._tuner is not None:
            self._tuner.merge_and_unload()

    def discard(self) -> None:
        """Take away what was added and cannot be merged: the encoder is as it was."""
        backbone = self.scorer.backbone
        backbone.shape = replace(backbone.shape, adapter_width=0, virtual_tokens=0)
        for block in backbone.stack:
            block.adapters = block.virtual = None

    def after_step(self, step: int) -> None:
        """Deal out ranks anew, after the optimiser's ``step`` and before gradients are gone."""
        if isinstance(self._tuner, AdaLoraModel):
            self._tuner.update_and_allocate(step)

    def resume(self) -> None:
        """See from the weights which ranks had been taken away; how important the others are is found out anew."""
        if isinstance(self._tuner, AdaLoraModel):
            config: Any = self._tuner.peft_config["default"]
            parts = self._tuner.model.named_parameters()
            config.rank_pattern = {name: (one != 0).flatten().tolist() for name, one in parts if ".lora_E." in name}


def _inject(backbone: nn.Module, tuning: Tuning, targets: str, steps: int) -> LoraModel:
    rank = tuning.rank
    if tuning.method == "lora":
        return LoraModel(backbone, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets), "default")
    config = AdaLoraConfig(
        init_r=rank + rank // 2, target_r=rank, lora_alpha=2 * rank, target_modules=targets, total_step=steps,
        tinit=int(_WARM_UP * steps), tfinal=int(_COOL_DOWN * steps), deltaT=max(1, steps // _LOOKS),
    )  # fmt: skip
    return AdaLoraModel(backbone, config, "default")
