"""Where the model runs, and with how many threads."""

import torch


def pick_device(gpu: int | None = None) -> torch.device:
    """Return the GPU ``gpu`` (the first if None) where there is one, else the CPU."""
    return torch.device("cuda", gpu or 0) if torch.cuda.is_available() else torch.device("cpu")


def use_threads(count: int) -> None:
    """Let torch use ``count`` threads; Spark starts its workers with OMP_NUM_THREADS=1, whatever the task's cores."""
    torch.set_num_threads(max(1, count))
