"""Memory that does not suffice: halved whoever says so, remembered for what has that appetite, a step taken whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from gradattn_core.config import FineTuning
from gradattn_core.model import device_memory
from gradattn_core.model.device_memory import in_parts, is_memory_fault, whole_in_parts
from gradattn_core.model.training import finetune

META = torch.device("meta")
FAULTS = {
    "torch": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "cublas": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "cudnn": RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    "cudnn 9": RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    "pinned": torch.AcceleratorError("CUDA error: out of memory", 2),
    "mps": RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
    "rocm": RuntimeError("HIP error: HIPBLAS_STATUS_ALLOC_FAILED"),
    "cpu": RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"),
    "python": MemoryError(),
}


@pytest.fixture(autouse=True)
def nothing_is_remembered() -> Iterator[None]:
    device_memory._fits.clear()
    yield
    device_memory._fits.clear()


class Small(nn.Module):
    """A device whose memory holds four images."""

    def __init__(self, fault: BaseException) -> None:
        super().__init__()
        self.fault = fault
        self.tried: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.tried.append(len(images))
        if len(images) > 4:
            raise self.fault
        return images * 2


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_batch_that_does_not_fit_is_halved_until_it_does_and_that_is_remembered(fault: BaseException) -> None:
    model, images = Small(fault), torch.arange(13.0)
    for _ in range(2):
        parts: list[Tensor] = []
        in_parts(lambda part: parts.append(model(images[part])), len(images), META, "maps")  # noqa: B023
        assert torch.equal(torch.cat(parts), images * 2)
    assert model.tried == [13, 7, 4, 4, 4, 1, 4, 4, 4, 1]


def test_what_maps_cannot_do_leaves_the_sweep_as_it_was() -> None:
    maps, sweep, images = Small(FAULTS["torch"]), [], torch.arange(13.0)
    in_parts(lambda part: maps(images[part]), 13, META, ("interpret", "one model"))
    for work in (("sweep", "one model"), ("interpret", "another model")):
        in_parts(lambda part: sweep.append(part.stop - part.start), 13, META, work)
    assert sweep == [13, 13]


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("out of memory")], ids=["", "value"])
def test_another_error_is_nothing_that_fewer_images_would_mend(error: Exception) -> None:
    model = Small(error)
    assert not is_memory_fault(error)
    with pytest.raises(type(error)):
        in_parts(lambda part: model(torch.arange(13.0)[part]), 13, META, "maps")
    assert model.tried == [13]


def test_one_image_that_does_not_fit_is_an_error() -> None:
    def run(part: slice) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        in_parts(run, 3, META, "maps")


def test_what_counts_as_a_whole_is_begun_again_from_its_first_image() -> None:
    done: list[int] = []
    model = Small(FAULTS["cublas"])

    def run(part: slice) -> None:
        # The first part goes through before the second one fails.
        model(torch.zeros(part.stop - part.start + (part.start > 0 and part.stop - part.start > 3)))
        done.extend(range(part.start, part.stop))

    whole_in_parts(done.clear, run, 8, META, "training")
    assert model.tried == [8, 4, 5, 2, 2, 2, 2] and done == list(range(8))


class Linear(nn.Module):
    """A classifier with timm's two halves, in a memory that holds ``most`` images while it learns."""

    def __init__(self, most: int) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.most, self.largest = most, 0
        self.head = nn.Linear(12, 3)

    def forward_features(self, images: Tensor) -> Tensor:
        if len(images) > self.most:
            raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")
        self.largest = max(self.largest, len(images))
        return images.flatten(1)

    def forward_head(self, tokens: Tensor, pre_logits: bool = False) -> Tensor:
        return tokens if pre_logits else self.head(tokens)


def test_a_training_step_that_does_not_fit_learns_the_same_in_parts() -> None:
    generator = torch.Generator().manual_seed(1)
    images, targets = torch.randn(20, 3, 2, 2, generator=generator), torch.arange(20) % 3
    settings = FineTuning(epochs=2, batch_size=8)
    learnt = []
    for most in (8, 3):
        model = Linear(most)
        finetune(model, lambda rows: images[rows], targets, settings, seed=5, work=most)
        learnt.append(model)
    whole, parts = learnt
    assert (whole.largest, parts.largest) == (8, 2)
    assert not torch.equal(whole.head.weight, Linear(8).head.weight)
    torch.testing.assert_close(parts.head.weight, whole.head.weight, rtol=1e-5, atol=1e-6)
