"""Where the model runs, with how many threads, and how numbers get there."""

import ctypes
import gc
import os
import sys
from typing import Any

import numpy.typing as npt
import torch


def pick_device(gpu: int | None = None) -> torch.device:
    """Return the GPU ``gpu`` (the first if None) where there is one, else the CPU."""
    return torch.device("cuda", gpu or 0) if torch.cuda.is_available() else torch.device("cpu")


def set_up_torch(threads: int | None = None) -> None:
    """Let torch use ``threads`` threads, and little memory; before its first product.

    None leaves it OMP_NUM_THREADS, or all cores; Spark starts its workers with 1, whatever the task's cores. Of
    compiled kernels oneDNN keeps 256: its 1,024 would take half a gigabyte, and numbers of rows are rounded up
    (nn.row_counts), so few are asked for.
    """
    if threads is not None:
        torch.set_num_threads(max(1, threads))
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")


def torch_threads() -> int:
    """Return how many threads torch uses."""
    return torch.get_num_threads()


def return_memory() -> None:
    """Give what is free back to the system, where the C library can: after training it keeps a gigabyte or more."""
    gc.collect()
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):  # of glibc
        ctypes.CDLL(None).malloc_trim(0)


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
