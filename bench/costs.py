"""What a method costs beside a bare forward and backward pass: passes, time, and memory in a process of its own."""

from __future__ import annotations

import ctypes
import multiprocessing
import re
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from bench.subject import Arrays, Batch, kept, key_of
from gradattn_core.peers.registry import PEERS, peer_maps

if TYPE_CHECKING:
    from bench.protocol import Run

_REPEATS = 3
_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of glibc's malloc.h


def costs(run: Run, name: str) -> dict[str, float]:
    """Passes as the registry counts them; time and peak memory of one picture, as multiples of the floor's.

    The floor is a forward pass and a backward pass to the pixels, parameters frozen, one picture, one thread. Time is
    the processor's own, the median of three repeats in turn with the floor; memory is the peak above the loaded model.
    """
    peer = PEERS[name]
    row = {"passes": float(peer.passes)}
    path = run.work / "costs" / f"{name}-{key_of(run.code, run.subject.digest)}.npz"
    found = kept(path, lambda: _measured(run, name))
    if not float(found["floor memory"]):
        return {**row, "time": float(found["time"])}
    return {**row, "time": float(found["time"]), "memory": float(found["memory"] / found["floor memory"])}


def _measured(run: Run, name: str) -> Arrays:
    case = run.subject.cases(1, run.seed)[0]
    batch = Batch.of([case])
    repeats = 1 if PEERS[name].passes > 10 else _REPEATS
    call = _method(run.subject.model, batch, name)
    ratio = _time(call, _floor(run.subject.model, batch), repeats)
    peak, least = (_in_its_own_process(run.subject.model, batch, which) for which in (name, None))
    return {"time": np.array(ratio), "memory": np.array(peak), "floor memory": np.array(least)}


def _method(model: nn.Module, batch: Batch, name: str) -> Callable[[], object]:
    return lambda: peer_maps(name, model, batch.images, batch.target, batch.against)


def _floor(model: nn.Module, batch: Batch) -> Callable[[], Tensor]:
    def passes() -> Tensor:
        pixels = batch.images.clone().requires_grad_(True)
        logits = model(pixels)
        value = logits.gather(1, batch.target[:, None]) - logits.gather(1, batch.against[:, None])
        return torch.autograd.grad(value.sum(), pixels)[0]

    return passes


def _time(call: Callable[[], object], floor: Callable[[], object], repeats: int) -> float:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ratios = []
        for _ in range(repeats + 1):
            floors = []
            for _ in range(3):
                begun = time.process_time()
                floor()
                floors.append(time.process_time() - begun)
            begun = time.process_time()
            call()
            ratios.append((time.process_time() - begun) / statistics.median(floors))
    finally:
        torch.set_num_threads(threads)
    # The first call loads code; a call of minutes is not repeated for that.
    return statistics.median(ratios[1:] or ratios)


def _in_its_own_process(model: nn.Module, batch: Batch, name: str | None) -> float:
    """Megabytes above the loaded model at the worst moment."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gradattn_core.peers.registry"])
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_peak, args=(there, model, batch, name))
    process.start()
    there.close()
    try:
        return float(here.recv())
    finally:
        process.join()


def _peak(answer: Connection, model: nn.Module, batch: Batch, name: str | None) -> None:
    torch.set_num_threads(1)
    # glibc then returns freed blocks above this size at once: without it the peak is that of the heap's holes.
    ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 65536)
    call = _floor(model, batch) if name is None else _method(model, batch, name)
    _floor(model, batch)()
    # Linux forgets the greatest resident size of what came before when asked to.
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    call()
    answer.send((_resident("VmHWM") - before) / 2**10)


def _resident(field: str) -> int:
    """VmRSS (now) or VmHWM (the greatest since it was reset) of this process in kilobytes."""
    found = re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) if found else 0
