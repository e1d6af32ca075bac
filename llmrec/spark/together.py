"""Several processes that fine-tune together, on the driver's host or on executors; TorchDistributor starts them."""

import os
from pathlib import Path

from pyspark.ml.torch.distributor import TorchDistributor
from pyspark.sql import SparkSession

from llmrec.domain.permissions import keep_from_others
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.device import pick_device, torch_threads
from llmrec.nn.panel import Panel
from llmrec.nn.plan import TrainingPlan

_SAID_EVERY = 50
"""Steps between two lines of progress."""


def learn_together(
    base: Path,
    catalogue: Path,
    examples: Path,
    checkpoints: Path,
    plan: TrainingPlan,
    panel: Panel,
    *,
    processes: int,
    on_executors: bool = False,
) -> None:
    """Fine-tune in ``processes`` processes, each on a GPU of its own where there are GPUs.

    What comes of it is left in ``checkpoints``, where nn.training.fine_tune takes it over. A batch of the plan is what
    all read at once. On executors each process is a task of one barrier stage, with what Spark assigns to a task, and
    all hosts see the same folders.

    Args:
        base: folder with the scorer to train, as nn.artifact.save_encoder writes it.
        catalogue: folder of the catalogue.
        examples: folder with shards of examples.
        checkpoints: folder from which a training that was killed goes on.
        plan: how long and how fast.
        panel: decides early stopping.
        processes: how many.
        on_executors: whether they run there, or on the driver's host.
    """
    if on_executors:
        conf = SparkSession.active().conf
        threads = int(conf.get("spark.task.cpus", None) or 1)
        gpus = float(conf.get("spark.task.resource.gpu.amount", None) or 0) > 0
    else:
        threads, gpus = max(1, torch_threads() // processes), pick_device().type == "cuda"
    distributor = TorchDistributor(processes, local_mode=not on_executors, use_gpu=gpus)
    folders = (folder.absolute() for folder in (base, catalogue, examples, checkpoints))
    distributor.run(_take_part, *folders, plan, panel, threads)


def _take_part(
    base: Path, catalogue: Path, examples: Path, checkpoints: Path, plan: TrainingPlan, panel: Panel, threads: int
) -> None:
    """Be one of the processes; torchrun says which in the environment."""
    from llmrec.nn.artifact import load_encoder
    from llmrec.nn.device import set_up_torch
    from llmrec.nn.plan import Progress
    from llmrec.nn.scorer import Scorer
    from llmrec.nn.training import fine_tune

    def say(progress: Progress) -> None:
        if progress.ndcg is not None:
            found = f"loss {progress.loss:.3f}, validation NDCG@10 {progress.ndcg:.4f}"
            print(f"step {progress.step} of {progress.steps}: {found}", flush=True)
        elif progress.step % _SAID_EVERY == 0:
            print(f"step {progress.step} of {progress.steps}", flush=True)

    keep_from_others()
    set_up_torch(threads)
    scorer, tokens = load_encoder(base)
    if not isinstance(scorer, Scorer):
        raise TypeError(f"{base}: holds a {type(scorer).__name__}, expected a scorer that can learn")
    scorer.requires_grad_(True)
    scorer.to(pick_device(int(os.environ["LOCAL_RANK"])))
    items = Catalogue.load(catalogue)
    fine_tune(scorer, tokens, items, examples, plan, panel.judge(tokens, items), say, checkpoints)
