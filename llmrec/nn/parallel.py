"""What several processes that learn together tell each other; one alone tells itself."""

import torch
from torch import Tensor, distributed
from torch.distributed.nn import functional as with_gradients


def place() -> tuple[int, int]:
    """Return which process this is, and of how many."""
    if not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def mean(losses: Tensor) -> Tensor:
    """Return the mean of the losses (N,) of all processes, as far as it depends on those of this one, ().

    Gradients are averaged over processes afterwards, so that they come to those of the mean over all.
    """
    _, size = place()
    count = torch.tensor(float(len(losses)), device=losses.device)
    if size > 1:
        distributed.all_reduce(count)
    return losses.sum() * size / count.clamp(min=1)


def gather(rows: Tensor, sizes: list[int]) -> Tensor:
    """Lay the rows (N, D) of all processes end to end; ``sizes`` says how many each has. Gradients go back."""
    if len(sizes) == 1:
        return rows
    padded = torch.nn.functional.pad(rows, (0, 0, 0, max(sizes) - len(rows)))
    everyone = with_gradients.all_gather(padded)
    return torch.cat([theirs[:size] for theirs, size in zip(everyone, sizes, strict=True)])


def first(value: float, device: torch.device) -> float:
    """Return the value of the first process."""
    _, size = place()
    if size == 1:
        return value
    told = torch.tensor(value, dtype=torch.float64, device=device)
    distributed.broadcast(told, src=0)
    return told.item()
