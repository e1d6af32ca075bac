"""Where the model runs, with how many threads, and how numbers get there."""

import os
from typing import Any

import numpy.typing as npt
import torch


def pick_device(gpu: int | None = None) -> torch.device:
    """Return the GPU ``gpu`` (the first if None) where there is one, else the CPU."""
    return torch.device("cuda", gpu or 0) if torch.cuda.is_available() else torch.device("cpu")


def use_threads(count: int) -> None:
    """Let torch use ``count`` threads; Spark starts its workers with OMP_NUM_THREADS=1, whatever the task's cores."""
    torch.set_num_threads(max(1, count))


def keep_few_kernels() -> None:
    """Let oneDNN keep 64 compiled kernels, not 1,024: lengths of texts differ, and hardly one is asked for again.

    In a worker that scores pairs the others take half a gigabyte. oneDNN reads this before its first product.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")


def has_bfloat16(device: torch.device) -> bool:
    """Tell whether ``device`` multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def autocast(device: torch.device) -> torch.autocast:
    """Multiply in bfloat16 inside this context, where the device has it; weights, norms and sums keep float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device))


def send(array: npt.NDArray[Any], device: torch.device | None) -> torch.Tensor:
    """Copy ``array`` to ``device``; a GPU fetches it from pinned memory while the processor goes on."""
    tensor = torch.from_numpy(array)
    if device is None or device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)
