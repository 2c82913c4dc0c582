"""What is done where a device's memory does not suffice: half as many images at once, remembered for their like."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator

import torch

# torch.OutOfMemoryError is one of many: cuBLAS, cuDNN and their likes, pinned memory, a new context, Apple's and a
# CPU's memory each fail with words of their own.
_WORDS = re.compile(r"out of memory|ALLOC(ATION)?_FAILED|StatusAllocFailed|can't allocate memory|not enough memory")
# The most images that went through a device at once after it had run out of memory, by what was computed there; it
# holds for the process's life.
_fits: dict[tuple[Hashable, torch.device], int] = {}


def is_memory_fault(error: BaseException) -> bool:
    """Whether memory has run out, of the device or of this machine, whoever says so."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and _WORDS.search(str(error)) is not None


def in_parts(run: Callable[[slice], None], count: int, device: torch.device, work: Hashable) -> None:
    """Call ``run`` on consecutive slices of ``count`` images; where memory runs out, again on half as many.

    Args:
        work: what is computed, by stage and model: another work's appetite says nothing of this one's.

    Raises:
        RuntimeError, MemoryError: one image alone is too many.
    """
    start = 0
    while start < count:
        size = min(count - start, _fits.get((work, device), count))
        part = slice(start, start + size)
        if _through(lambda part=part: run(part), size, device, work):  # type: ignore[misc]
            start += size


def whole_in_parts(
    begin: Callable[[], None], run: Callable[[slice], None], count: int, device: torch.device, work: Hashable
) -> None:
    """:func:`in_parts` of what counts as a whole only: where memory runs out it is begun again from the first image."""

    def all_of(size: int) -> None:
        begin()
        for part in slices(count, size):
            run(part)

    while True:
        size = min(count, _fits.get((work, device), count))
        if _through(lambda size=size: all_of(size), size, device, work):  # type: ignore[misc]
            return


def slices(count: int, size: int) -> Iterator[slice]:
    """``count`` images in parts of ``size``."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _through(run: Callable[[], None], size: int, device: torch.device, work: Hashable) -> bool:
    """Whether ``run`` went through with so many images at once; where it did not, half of them are remembered."""
    try:
        run()
        return True
    except (RuntimeError, MemoryError) as error:
        if size == 1 or not is_memory_fault(error):
            raise
        _fits[work, device] = (size + 1) // 2
    # Only here, after the exception and with it what its frames held is gone.
    if device.type in ("cuda", "mps", "xpu"):
        torch.get_device_module(device).empty_cache()
    return False
