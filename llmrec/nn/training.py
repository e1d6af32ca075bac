"""Fine-tuning of the encoder: the pair scorer and the dense vectors learn together."""

import json
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer import TRAINER_STATE_NAME

from llmrec.errors import OutputError, TrainingError
from llmrec.nn.batches import Collator
from llmrec.nn.catalogue import Catalogue, Floats
from llmrec.nn.copies import find_copies
from llmrec.nn.encoding import encode_pieces
from llmrec.nn.examples import Draw, Shards, count_examples
from llmrec.nn.negatives import Negatives
from llmrec.nn.objectives import Objectives
from llmrec.nn.parallel import first, place
from llmrec.nn.plan import Judge, Outcome, Progress, Report, TrainingPlan
from llmrec.nn.pretrained import quiet
from llmrec.nn.scorer import Scorer
from llmrec.nn.state_cache import StateCache
from llmrec.nn.teacher import Teacher
from llmrec.nn.tokens import Tokens
from llmrec.nn.tuning import Tuned

_LEAST = 0.01
_SLACK = 0.01
_POSITION_RATE = 0.1
"""Of log-odds of places: a few numbers, which every list tells something of, whatever suits the encoder."""
_NDCG, _SPENT = "eval_ndcg", "seconds"
_FINISHED, _STOPPED = "finished.safetensors", "stopped"
"""The weights that training came to; that it is over."""


def fine_tune(
    scorer: Scorer,
    tokens: Tokens,
    catalogue: Catalogue,
    examples: Path,
    plan: TrainingPlan,
    judge: Judge,
    report: Report,
    checkpoints: Path,
) -> Outcome:
    """Train ``scorer`` in place and leave it with the weights of its best validation.

    A training that was killed goes on from its last validation, and comes to what it would have come to; one that had
    come to its end is taken over as it is.

    Args:
        scorer: the pretrained encoder with an untrained head, on its device.
        tokens: its tokenizer.
        catalogue: counts of the training events.
        examples: folder with shards of them (nn.examples), and copies of item texts if there are any (nn.copies).
        plan: how long and how fast.
        judge: decides early stopping, and which weights are kept.
        report: told of every step.
        checkpoints: folder where training keeps what it needs to go on; of this plan and these examples alone.

    Raises ValueError if there is no example, TrainingError if the loss is not finite, and OutputError if what is needed
    to go on cannot be kept.
    """
    rows = count_examples(examples)
    if not rows:
        raise ValueError(f"{examples}: holds no training example, expected some")
    finished = checkpoints / _FINISHED
    before = math.nan if finished.exists() else judge(scorer.eval())
    tuned = Tuned(scorer, plan.tuning, plan.steps_of_epoch(rows) * plan.max_epochs)
    for block in scorer.backbone.stack:
        learns = any(weights.requires_grad for weights in block.parameters())
        block.dropout, block.recompute = plan.dropout if learns else 0.0, plan.gradient_checkpointing
    if finished.exists():
        return _take_over(finished, tuned, report)
    copies = find_copies(examples, len(catalogue))
    keeps_states = tuned.keeps_item_states and copies is None  # of an item, that is, and not of one of its texts
    objectives = Objectives(scorer, plan, StateCache(scorer, tokens, catalogue) if keeps_states else None)
    teach = Teacher.load(plan.teacher, catalogue, scorer.device) if plan.teacher else None
    shards = Shards(examples, _Drawing(plan, tuned, tokens, catalogue, checkpoints), seed=plan.seed)
    trainer = _Trainer(
        model=objectives,
        args=_arguments(plan, rows, scorer.device, checkpoints),
        train_dataset=shards,
        eval_dataset=[],  # the judge stands in for it
        data_collator=Collator(tokens, catalogue, teach, copies),
        optimizers=(_optimiser(objectives, plan), None),
        callbacks=[EarlyStoppingCallback(plan.patience)],
    )
    trainer.remove_callback(PrinterCallback)
    with quiet():
        outcome = trainer.learn(tuned, plan, shards, judge, report, before)
    if objectives.positions is not None:
        outcome = replace(outcome, positions=objectives.positions.learned())
    if place()[0] == 0:
        weights = {name: tensor.contiguous() for name, tensor in scorer.state_dict().items()}
        with _kept(checkpoints):
            save_file(weights, finished.with_suffix(".new"), {"outcome": json.dumps(asdict(outcome))})
            finished.with_suffix(".new").replace(finished)
    return outcome


@contextmanager
def _kept(checkpoints: Path) -> Iterator[None]:
    """Say where what training needs to go on could not be written."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # torch raises RuntimeError for a full disk
        reason = " ".join(str(error).split())[:200]
        raise OutputError(
            f"work: {checkpoints} cannot be written ({reason}); expected room for a few copies of the model: make some "
            "and run train again, it goes on from there"
        ) from error


def _take_over(finished: Path, tuned: Tuned, report: Report) -> Outcome:
    """Load the weights that an earlier training, of the same plan and examples, came to."""
    tuned.finish()
    with safe_open(finished, "pt") as file:
        outcome = Outcome(**json.loads(file.metadata()["outcome"]))
        if set(file.keys()) != set(tuned.scorer.state_dict()):
            tuned.discard()  # as that training did
        tuned.scorer.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118, no mapping
    report(Progress(outcome.steps, outcome.steps, ndcg=outcome.ndcg))
    tuned.scorer.eval()
    return outcome


class _Trainer(Trainer):
    """The trainer of transformers, with a loss, figures and a clock of ours."""

    def learn(
        self, tuned: Tuned, plan: TrainingPlan, shards: Shards, judge: Judge, report: Report, before: float
    ) -> Outcome:
        """Train, and load the weights of the best validation, or those before the first step."""
        self.model_accepts_loss_kwargs = self.loss_is_scaled_for_ga = False
        self._tuned, self._plan, self._shards, self._judge, scorer = tuned, plan, shards, judge, tuned.scorer
        before, (learning, parameters) = first(before, self.args.device), tuned.parameters
        untouched = {name: weights.clone() for name, weights in scorer.state_dict().items()}
        self._course = _Course(
            before, 60 * plan.max_minutes, report if place()[0] == 0 else _say_nothing, tuned, shards
        )
        self.add_callback(self._course)
        last = _last_checkpoint(Path(str(self.args.output_dir)))
        if last and (last.parent / _STOPPED).exists():
            self.state = TrainerState.load_from_json(str(last / TRAINER_STATE_NAME))
            if self.state.best_model_checkpoint:
                self._load_best_model()
        else:
            self.train(resume_from_checkpoint=str(last) if last else None)
        if self.state.best_model_checkpoint is None:
            scorer.load_state_dict(untouched)
            tuned.discard()
        tuned.finish()
        scorer.eval()
        losses = [entry["loss"] for entry in self.state.log_history if "loss" in entry]
        return Outcome(self.state.global_step, self.state.best_metric or before, before, losses, learning, parameters)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        """Let the rate follow the steps, or the clock where that will end learning before the last of them."""
        chosen: Any = optimizer or self.optimizer
        self.lr_scheduler = LambdaLR(
            chosen, lambda step: _share_of_rate(self._course.done(step / num_training_steps), self._plan.warm_up)
        )
        return self.lr_scheduler

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *others: Any, **named: Any) -> Tensor:
        """Add to a batch's gradients those with its words moved where that hurts most (FGM, Miyato et al., 2017)."""
        if not self._plan.adversarial:
            return super().training_step(model, inputs, *others, **named)
        words = self._tuned.scorer.backbone.embeddings.words.weight
        added = 0 if words.grad is None else words.grad.clone()  # by other batches of the same step
        loss = super().training_step(model, inputs, *others, **named)
        if words.grad is None:
            raise RuntimeError("words have no gradient to be moved along, expected embeddings that learn")
        before, gradient = words.detach().clone(), words.grad - added
        with torch.no_grad():
            words += self._plan.adversarial * gradient / gradient.norm().clamp(min=1e-12)
        super().training_step(model, inputs, *others, **named)
        with torch.no_grad():
            words.copy_(before)
        return loss

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *_: object, **__: object) -> Tensor:
        """Return the loss of a batch; raises TrainingError if it is not finite."""
        loss: Tensor = model(inputs)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"fine-tuning: the loss is {loss.item()} at step {self.state.global_step + 1}, expected a number: try "
                f"a lower train.learning_rate (it is {self._plan.learning_rate:g}) or a longer train.warm_up"
            )
        return loss

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Give every process all examples: the collator takes its part, and knows the others'."""
        return DataLoader(self._shards, self._plan.batch_examples, collate_fn=self.data_collator)

    def _save_checkpoint(self, *parts: Any, **named: Any) -> None:
        with _kept(Path(str(self.args.output_dir))):
            super()._save_checkpoint(*parts, **named)

    def evaluate(self, *_: object, **__: object) -> dict[str, float]:
        """Ask the judge instead of going over a dataset."""
        metrics = {_NDCG: self._figure()}
        self.log(metrics | {_SPENT: self._course.spent})
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _figure(self) -> float:
        return first(self._judge(self._tuned.standalone().eval()), self.args.device)


def _last_checkpoint(folder: Path) -> Path | None:
    """Return the last checkpoint that was written to its end; what is left of others goes."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]), reverse=True)
    for path in found:
        try:
            TrainerState.load_from_json(str(path / TRAINER_STATE_NAME))
        except (OSError, ValueError):  # it is written last
            shutil.rmtree(path)
        else:
            return path
    return None


def _say_nothing(_: Progress) -> None:
    """In place of a report, in all processes but the first."""


class _Drawing:
    """Gives what draws negatives in an epoch; hard ones by the vectors that items have when it begins."""

    def __init__(
        self, plan: TrainingPlan, tuned: Tuned, tokens: Tokens, catalogue: Catalogue, checkpoints: Path
    ) -> None:
        self._plan, self._tuned, self._tokens = plan, tuned, tokens
        self._catalogue, self._checkpoints = catalogue, checkpoints

    def __call__(self, epoch: int) -> Draw:
        """Return what draws in ``epoch``."""
        plan = self._plan
        vectors = self._vectors(epoch) if "hard" in plan.negatives_from and plan.negatives else None
        return Negatives(self._catalogue, plan.negatives, plan.negatives_from, vectors)

    def _vectors(self, epoch: int) -> Floats:
        kept = self._checkpoints / f"vectors-{epoch}-{place()[0]}.npy"  # a resumed epoch draws by the same
        if not kept.exists():
            pieces = [self._catalogue.pieces(item) for item in range(len(self._catalogue))]
            vectors = encode_pieces(self._tuned.standalone().eval(), self._tokens, pieces)
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.save(kept.with_suffix(".new.npy"), vectors)
            kept.with_suffix(".new.npy").replace(kept)
        found: Floats = np.load(kept)
        return found


class _Course(TrainerCallback):
    """Keeps the time, validations included, ends training when it is up, and reports every step."""

    def __init__(self, before: float, seconds: float, report: Report, tuned: Tuned, shards: Shards) -> None:
        self._before, self._seconds, self._report = before, seconds, report
        self._tuned, self._shards = tuned, shards
        self._started, self.spent = time.monotonic(), 0.0
        """When training began; seconds until the last step, by the clock of the first process."""

    def done(self, of_steps: float) -> float:
        """Return how much of the learning lies behind; see `_done`."""
        return _done(of_steps, self.spent / self._seconds)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Go on from where a checkpoint stood, if there is one."""
        self.spent = max((entry.get(_SPENT, 0.0) for entry in state.log_history), default=0.0)
        self._started = time.monotonic() - self.spent
        if state.best_metric is None:
            state.best_metric = self._before
        if state.global_step:
            self._tuned.resume()
        self._report(Progress(state.global_step, state.max_steps, ndcg=self._before))

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Choose what is read."""
        self._shards.set_epoch(math.floor(state.epoch or 0))

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Let the method of tuning see the gradients."""
        self._tuned.after_step(state.global_step + 1)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Validate a last time, or report."""
        self.spent = first(time.monotonic() - self._started, args.device)
        if state.global_step == state.max_steps or self.spent > self._seconds:
            control.should_log = control.should_evaluate = control.should_save = True
            control.should_training_stop = True
        if not control.should_evaluate:
            self._report(Progress(state.global_step, state.max_steps))
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Leave word that this is the end, if it is."""
        if control.should_training_stop and state.is_world_process_zero:
            Path(str(args.output_dir), _STOPPED).touch()

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Report what was found."""
        loss = next(entry["loss"] for entry in reversed(state.log_history) if "loss" in entry)
        self._report(Progress(state.global_step, state.max_steps, loss, kwargs["metrics"][_NDCG]))


def _arguments(plan: TrainingPlan, examples: int, device: torch.device, checkpoints: Path) -> TrainingArguments:
    """Put the plan in the words of transformers."""
    every = max(1, plan.steps_of_epoch(examples) // plan.validations)
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        seed=plan.seed,
        num_train_epochs=plan.max_epochs,
        per_device_train_batch_size=plan.batch_examples,
        gradient_accumulation_steps=plan.accumulated_batches,
        max_grad_norm=plan.max_gradient,
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        logging_strategy="steps",
        logging_steps=every,
        logging_nan_inf_filter=False,
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model=_NDCG,
        greater_is_better=True,
        remove_unused_columns=False,
        use_cpu=device.type == "cpu",
        report_to="none",
        restore_callback_states_from_checkpoint=True,
        disable_tqdm=True,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # several GPUs are several processes, never threads of one
    return arguments


def _optimiser(objectives: Objectives, plan: TrainingPlan) -> torch.optim.Optimizer:
    """Return AdamW with ten times the rate for the head, and a rate that falls from block to block downwards."""
    scorer = objectives.scorer
    backbone, rate = scorer.backbone, plan.learning_rate
    parts = [(scorer.head, 10 * rate)] + [
        (part, rate * plan.layer_decay**depth)
        for depth, part in enumerate([*reversed(backbone.stack), backbone.embeddings])
    ]
    groups = [{"params": [one for one in part.parameters() if one.requires_grad], "lr": of} for part, of in parts]
    if objectives.positions is not None:
        groups.append({"params": [*objectives.positions.parameters()], "lr": _POSITION_RATE, "weight_decay": 0.0})
    return torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=plan.weight_decay, fused=True)


def _done(of_steps: float, of_time: float) -> float:
    """Return how much of the learning lies behind: by the steps, unless time will run out before them.

    The clock has no say in a run that it does not cut short, so that this one can be repeated.
    """
    return of_steps if of_time < of_steps + _SLACK else min(of_time, 1.0)


def _share_of_rate(done: float, warm_up: float) -> float:
    """Warm up over the share ``warm_up``, then decay linearly; no step is without any effect."""
    return max(_LEAST, min(done / warm_up if warm_up else 1.0, (1 - done) / (1 - warm_up)))
