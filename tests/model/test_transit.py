"""Pixels on their way to a GPU and results on their way back: never waited for too early, never read too early."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from gradattn_core.model import transit
from gradattn_core.model.preprocessing import Preprocessing
from gradattn_core.model.transit import fetched, rows_of, sent
from tests.helpers.explicit_maps import tiny

CPU, GPU = torch.device("cpu"), torch.device("cuda", 1)


@pytest.fixture
def happened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Pretended: a second GPU, of which is written down what is asked of it, and in which order."""
    told: list[str] = []

    class Stream:
        def __init__(self, name: str = "aside") -> None:
            self.name = name

        def wait_stream(self, other: Stream) -> None:
            told.append(f"{self.name} waits for {other.name}")

    class Event:
        def record(self, stream: Stream) -> None:
            told.append(f"event behind {stream.name}")

        def synchronize(self) -> None:
            told.append("waited")

    def on(stream: Stream) -> Any:
        told.append(f"on {stream.name}")
        return nullcontext()

    copy, empty = Tensor.copy_, torch.empty

    def copied(self: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
        told.append(f"{source.device.type} to {self.device.type}{'' if non_blocking else ', waiting'}")
        return copy(self, source, non_blocking)

    def made(*size: Any, pin_memory: bool = False, **options: Any) -> Tensor:
        if pin_memory:
            told.append("pinned")
        return empty(*size, **options)

    transit._aside.cache_clear()
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream(f"current of {device.index}"))
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(Tensor, "copy_", copied)
    monkeypatch.setattr(Tensor, "record_stream", lambda self, stream: told.append(f"kept for {stream.name}"))
    monkeypatch.setattr(torch, "empty", made)
    return told


def test_pixels_travel_beside_the_kernels_which_wait_for_them(happened: list[str]) -> None:
    parts = [torch.zeros(3, 2, 4, dtype=torch.uint8), torch.zeros(1, 2, 4, dtype=torch.uint8)]
    with FakeTensorMode(allow_non_fake_inputs=True):
        there = sent(parts, GPU)
    assert (there.shape, there.dtype, there.device) == ((4, 2, 4), torch.uint8, GPU)
    assert happened == [
        *("on aside", "cpu to cuda", "cpu to cuda", "current of 1 waits for aside", "kept for current of 1"),
    ]


def test_results_are_read_once_an_event_says_that_they_are_there(happened: list[str]) -> None:
    with FakeTensorMode():
        values = [torch.zeros(2, 5, device=GPU), torch.zeros(2, 0, device=GPU), torch.zeros(2, 3, device=GPU)]
        wait = fetched(values)
        # One copy for all, and nobody waits for it.
        assert happened == ["pinned", "cuda to cpu", "event behind current of 1"]
        found = wait()
    assert happened[3:] == ["waited"]
    assert [(value.shape, value.device) for value in found] == [((2, 5), CPU), ((2, 0), CPU), ((2, 3), CPU)]


def test_nothing_of_the_cpu_s_is_asked_for_where_a_gpu_normalises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretended: constants that are on the device already, as they are from the second batch on."""
    preprocessing = Preprocessing.of(tiny("vit_tiny_patch16_224", img_size=64, embed_dim=32, num_heads=2))
    seen: list[str] = []

    class Operands(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.extend(each.device.type for each in args if isinstance(each, Tensor))
            return function(*args, **(kwargs or {}))

    meta = torch.zeros(2, 3, 64, 64, dtype=torch.uint8, device="meta")
    preprocessing.normalised(meta)
    with Operands():  # type: ignore[no-untyped-call]
        assert preprocessing.normalised(meta).dtype == torch.float32
    assert seen and set(seen) == {"meta"}


@pytest.mark.parametrize("rows", [slice(0, 9), slice(0, 4), slice(3, 7), slice(4, 5), slice(8, 9)], ids=str)
def test_the_rows_of_several_batches_are_those_of_all_of_them_together(rows: slice) -> None:
    parts = list(torch.arange(9).split([4, 1, 0, 4]))
    assert torch.equal(sent(rows_of(parts, rows), CPU), torch.arange(9)[rows])


def test_elsewhere_nothing_is_copied() -> None:
    one = torch.arange(4.0)
    assert sent([one], CPU) is one
    answer: Callable[[], list[Tensor]] = fetched([one])
    assert answer()[0] is one


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_never_waited_for_between_a_batch_and_the_next() -> None:
    from gradattn_core.model.forward import begun_forward

    model = tiny("vit_tiny_patch16_224", img_size=64, embed_dim=32, num_heads=2).float().requires_grad_(False).cuda()
    preprocessing, device = Preprocessing.of(model), next(model.parameters()).device
    generator = torch.Generator().manual_seed(1)
    batches = [torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8, generator=generator) for _ in range(6)]
    alone = [begun_forward(model, preprocessing.normalised(batch.to(device)), "float16")() for batch in batches]
    pinned = [batch.pin_memory() for batch in batches]
    fetched([torch.zeros(8, 3, device=device)])()
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        waiting = [begun_forward(model, preprocessing.normalised(sent([batch], device)), "float16") for batch in pinned]
    finally:
        torch.cuda.set_sync_debug_mode(mode)
    for one, answer in zip(alone, waiting, strict=True):
        assert torch.equal(one.features, answer().features)
