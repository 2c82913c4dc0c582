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
from gradattn_core.attention.precision import full_float32
from gradattn_core.peers.registry import PEERS, peer_maps

if TYPE_CHECKING:
    from bench.protocol import Run

_REPEATS = 7
_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of glibc's malloc.h


def costs(run: Run, name: str) -> dict[str, float]:
    """Passes as the registry counts them; time and peak memory of one picture, as multiples of the floor's.

    The floor is a forward pass and a backward pass to the pixels, parameters frozen, one picture, in the same matrix
    products. Time is the processor's own on one thread and the clock's on more, the median of repeats in turn
    with the floor; memory is the peak above the loaded model.
    """
    case = run.subject.cases(1, run.seed)[0]
    model, batch, facts = run.subject.model, Batch.of([case]), (run.code, run.subject.digest)
    folder = run.work / "costs"

    def time_taken() -> Arrays:
        repeats = 1 if PEERS[name].passes > 10 else _REPEATS
        return {"time": np.array(_time(_method(model, batch, name), _floor(model, batch), repeats))}

    def memory(which: str | None) -> float:
        path = folder / f"{which or 'floor'}-memory-{key_of(*facts)}.npz"
        return float(kept(path, lambda: {"memory": np.array(_in_its_own_process(model, batch, which))})["memory"])

    found = kept(folder / f"{name}-time-{key_of(*facts, torch.get_num_threads())}.npz", time_taken)
    row = {"passes": float(PEERS[name].passes), "time": float(found["time"])}
    least = memory(None)
    return {**row, "memory": memory(name) / least} if least else row


def _method(model: nn.Module, batch: Batch, name: str) -> Callable[[], object]:
    return lambda: peer_maps(name, model, batch.images, batch.target, batch.against)


def _floor(model: nn.Module, batch: Batch) -> Callable[[], Tensor]:
    def passes() -> Tensor:
        pixels = batch.images.clone().requires_grad_(True)
        with full_float32(pixels.device):
            logits = model(pixels)
            value = logits.gather(1, batch.target[:, None]) - logits.gather(1, batch.against[:, None])
            return torch.autograd.grad(value.sum(), pixels)[0]

    return passes


def _time(call: Callable[[], object], floor: Callable[[], object], repeats: int) -> float:
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter

    def seconds(work: Callable[[], object]) -> float:
        begun = clock()
        work()
        return clock() - begun

    ratios = []
    for _ in range(repeats + 1):
        least = statistics.median(seconds(floor) for _ in range(3))
        ratios.append(seconds(call) / least)
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
    # A first call makes and loads code, which is no cost of the call.
    call()
    # Linux forgets the greatest resident size of what came before when asked to.
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    call()
    answer.send((_resident("VmHWM") - before) / 2**10)


def _resident(field: str) -> int:
    """VmRSS (now) or VmHWM (the greatest since it was reset) of this process in kilobytes."""
    found = re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) if found else 0
