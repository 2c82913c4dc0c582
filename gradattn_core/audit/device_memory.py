"""Runs a batch in parts that fit into the device's memory."""

from __future__ import annotations

from collections.abc import Callable

import torch

# The most images that went through a device at once after it had run out of memory; it holds for the process's life.
_fits: dict[torch.device, int] = {}


def in_parts(run: Callable[[slice], None], count: int, device: torch.device) -> None:
    """Call ``run`` on consecutive slices of ``count`` images; where memory runs out, again on half as many.

    Raises:
        torch.OutOfMemoryError: one image alone is too many.
    """
    start = 0
    while start < count:
        size = min(count - start, _fits.get(device, count))
        try:
            run(slice(start, start + size))
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            _fits[device] = (size + 1) // 2
        else:
            start += size
            continue
        # Only here, after the exception and with it what its frames held is gone.
        if device.type == "cuda":
            torch.cuda.empty_cache()
