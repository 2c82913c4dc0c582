"""How float32 is multiplied on a GPU: exactly, or in TF32, whose units round what they multiply to 11 bits.

A map in TF32 is made three to five times as fast, and its scores differ by some thousandths of the greatest one
(docs/interpretation.md). The switches are the process's, so whoever is inside is counted, and the exact ones prevail:
nobody's numbers become less exact because another thread draws a map. A CPU knows no TF32: none of its numbers change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import lru_cache
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from gradattn_core.attention.onednn import linear_by_onednn

# What this thread has asked for, and how many of all threads are inside of which.
_asked: ContextVar[str] = ContextVar("asked", default="")
_inside: Counter[str] = Counter()
_switch = Lock()
# glibc counts blocks up to 32 MiB, what it notes beside them included.
_LARGEST = 31 << 20
# How the switches stood before the first came in: of convolutions, recurrent layers and matrix products.
_before: tuple[str, str, str] = ("", "", "")


def full_float32(device: torch.device | None = None) -> AbstractContextManager[None]:
    """Convolutions in float32 keep all 24 bits of it, those of a patch embedding too; not within :func:`products_in`.

    By default cuDNN may round their operands to the 11 bits of TF32, and a map's scores are off by up to some
    thousandths of the greatest one. Matrix products do not, unless a program asks torch for it, and that choice stays.

    Args:
        device: that computes. On a CPU linear layers go the faster way, see :mod:`gradattn_core.attention.onednn`.
    """
    exact: AbstractContextManager[None] = nullcontext() if _asked.get() == "tf32" else _counted("float32")
    return exact if device is None or device.type != "cpu" else _on_cpu(exact)


@lru_cache(maxsize=1)
def keep_freed_memory() -> None:
    """Let the allocator of Linux keep up to 60 MB of what is freed, for the next layer to take, once in a process.

    It gives freed memory back beyond twice the largest block that was freed so far, at first 256 kB, and the system
    clears it when it is asked for again: up to a quarter of a pass. One block of the greatest size that counts, taken
    and freed untouched, teaches it. Other allocators are left as they are.
    """
    torch.empty(_LARGEST, dtype=torch.uint8)


@contextmanager
def _on_cpu(exact: AbstractContextManager[None]) -> Iterator[None]:
    keep_freed_memory()
    with exact, linear_by_onednn():
        yield


@contextmanager
def products_in(precision: str) -> Iterator[None]:
    """What this thread multiplies within, convolutions and matrix products of float32 on a GPU, is in ``precision``.

    Args:
        precision: ``float32``, which is :func:`full_float32`, or ``tf32``.
    """
    token = _asked.set(precision)
    try:
        with _counted(precision):
            yield
    finally:
        _asked.reset(token)


def computes_tf32(device: torch.device) -> bool:
    """Whether a GPU has units for TF32: NVIDIA's since Ampere."""
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    return torch.cuda.get_device_properties(device).major >= 8


def product_precision(of: Tensor) -> str:
    """In which precision matrix products of such a tensor are made now: ``tf32``, or its own."""
    # The kind of number alone says it elsewhere.
    rounds = of.is_cuda and of.dtype == torch.float32 and torch.backends.cuda.matmul.fp32_precision == "tf32"
    return "tf32" if rounds else str(of.dtype).removeprefix("torch.")


@contextmanager
def _counted(precision: str) -> Iterator[None]:
    global _before
    cudnn: Any = torch.backends.cudnn
    with _switch:
        if not _inside.total():
            _before = cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision, torch.backends.cuda.matmul.fp32_precision
        _inside[precision] += 1
        _set()
    try:
        yield
    finally:
        with _switch:
            _inside[precision] -= 1
            _set()


def _set() -> None:
    """Bring the switches to what those inside have asked for, or back."""
    convolutions, recurrent, products = _before
    if _inside["float32"]:
        convolutions = recurrent = "ieee"
    elif _inside["tf32"]:
        convolutions = recurrent = products = "tf32"
    cudnn: Any = torch.backends.cudnn
    matmul: Any = torch.backends.cuda.matmul
    # torch's older switches say the same as the newer ones, and whoever reads one must find them agreeing.
    cudnn.allow_tf32 = "tf32" in (convolutions, recurrent)
    cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision = convolutions, recurrent
    if matmul.fp32_precision != products:
        matmul.allow_tf32 = products == "tf32"
        matmul.fp32_precision = products
