"""Numbers on their way to a GPU and back while it computes; elsewhere they are there at once.

A copy from ordinary memory, and any that is waited for, makes a GPU stand still. Here pixels go from pinned memory on a
stream of their own, beside the kernels of the batch before, and results come back into pinned memory behind the
kernels that make them: an event says when they are there, and nobody reads them before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor


def sent(parts: Sequence[Tensor], device: torch.device) -> Tensor:
    """What lies in some tensors of this machine's memory, one after the other, on a device.

    Args:
        parts: at least one, alike but for their first dimension; pinned where nothing is to wait for the copies.
    """
    if device.type != "cuda":
        return (parts[0] if len(parts) == 1 else torch.cat(list(parts))).to(device)
    aside, here = _aside(device), torch.cuda.current_stream(device)
    first = parts[0]
    with torch.cuda.stream(aside):
        there = torch.empty((sum(map(len, parts)), *first.shape[1:]), dtype=first.dtype, device=device)
        start = 0
        for part in parts:
            there[start : start + len(part)].copy_(part, non_blocking=True)
            start += len(part)
    here.wait_stream(aside)
    # Its memory belongs to the stream of the copies: let go, it must not be filled anew while kernels here still read.
    there.record_stream(here)
    return there


def fetched(values: Sequence[Tensor]) -> Callable[[], list[Tensor]]:
    """Have some tensors of one device and precision brought to this machine's memory.

    Returns:
        a function that waits until they are there and gives them.
    """
    device = values[0].device
    if device.type != "cuda":
        found = [value.cpu() for value in values]
        return lambda: found
    with torch.cuda.device(device):
        # One after the other in one piece, so that one copy brings them all.
        together = torch.cat([value.flatten() for value in values])
        landed = torch.empty(together.shape, dtype=together.dtype, pin_memory=True)
        landed.copy_(together, non_blocking=True)
        arrival = torch.cuda.Event()
        arrival.record(torch.cuda.current_stream(device))
    shapes = [value.shape for value in values]

    def wait() -> list[Tensor]:
        arrival.synchronize()
        pieces = landed.split([shape.numel() for shape in shapes])
        # Whoever keeps a part of them is not to keep all of the pinned memory.
        return [piece.view(shape).clone() for piece, shape in zip(pieces, shapes, strict=True)]

    return wait


def rows_of(parts: Sequence[Tensor], rows: slice) -> list[Tensor]:
    """The pieces of some tensors that are these rows of them all, one after the other."""
    pieces, start = [], 0
    for part in parts:
        piece = part[max(0, rows.start - start) : max(0, rows.stop - start)]
        if len(piece):
            pieces.append(piece)
        start += len(part)
    return pieces


@lru_cache(maxsize=16)
def _aside(device: torch.device) -> torch.cuda.Stream:
    """The stream on which pixels travel to a device."""
    return torch.cuda.Stream(device)
