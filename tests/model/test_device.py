"""Which device computes, and why another one does not: pretended GPUs, and this machine, which may have none."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from gradattn_core.errors import ModelError
from gradattn_core.model import device as devices
from gradattn_core.model.device import automatic, described, pick_device, reason_of

TOO_OLD = (
    "CUDA initialization: The NVIDIA driver on your system is too old (found version 12040). Please update your GPU "
    "driver by downloading and installing a new version. (Triggered internally at CUDAFunctions.cpp:109.)"
)
NO_KERNEL = (
    "CUDA error: no kernel image is available for execution on the device\nSearch for `cudaErrorNoKernelImageForDevice'"
)


@pytest.fixture(autouse=True)
def found_out_anew() -> Iterator[None]:
    for each in (automatic, devices.launch):
        each.cache_clear()
    yield
    for each in (automatic, devices.launch):
        each.cache_clear()


def pretend(monkeypatch: pytest.MonkeyPatch, *faults: str) -> list[str]:
    """As many GPUs, each of which answers or has a fault; the list gets what was launched on."""
    launched: list[str] = []
    ones = torch.ones

    def on(*size: int, device: Any = None) -> torch.Tensor:
        place = torch.device(device or "cpu")
        if place.type != "cuda":
            return ones(*size, device=place)
        launched.append(str(place))
        if fault := faults[place.index or 0]:
            raise RuntimeError(fault)
        return ones(*size)

    monkeypatch.setattr(torch, "ones", on)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(faults))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda place: f"card {torch.device(place).index or 0}")
    return launched


def test_the_first_gpu_that_runs_a_kernel_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    launched = pretend(monkeypatch, "", "")
    assert automatic() == devices.Choice(torch.device("cuda"))
    assert pick_device() == pick_device("auto") == torch.device("cuda") and launched == ["cuda"]
    assert pick_device("cuda:1") == torch.device("cuda:1") and launched == ["cuda", "cuda:1"]


def test_a_card_without_code_in_this_torch_is_passed_over_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, NO_KERNEL, "")
    found = automatic()
    assert found.device == torch.device("cuda:1")
    assert found.unused == "cuda:0: CUDA error: no kernel image is available for execution on the device"
    assert described([found.device], found.unused) == f"card 1 (a GPU is not used: {found.unused})"


def test_where_no_gpu_runs_a_kernel_the_cpu_computes_and_each_reason_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, NO_KERNEL, "CUDA error: all CUDA-capable devices are busy or unavailable\nCompile with")
    found = automatic()
    assert found.device == torch.device("cpu")
    assert "cuda:0: CUDA error: no kernel image" in found.unused and "cuda:1: CUDA error: all CUDA" in found.unused


def test_a_driver_that_is_too_old_is_told_though_torch_only_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_available() -> bool:
        warnings.warn(TOO_OLD, UserWarning, stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    found = automatic()
    assert found == devices.Choice(
        torch.device("cpu"), "The NVIDIA driver on your system is too old (found version 12040)"
    )


def test_a_driver_that_is_too_old_is_told_where_the_warning_was_given_before(monkeypatch: pytest.MonkeyPatch) -> None:
    def init() -> None:
        raise RuntimeError(TOO_OLD.removeprefix("CUDA initialization: "))

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "init", init)
    assert automatic().unused == "The NVIDIA driver on your system is too old (found version 12040)"


def test_a_machine_without_a_gpu_has_nothing_to_explain() -> None:
    if torch.cuda.is_available() or torch.cuda.device_count():
        pytest.skip("there is a GPU")
    assert automatic().device == torch.device("cpu")
    assert described([torch.device("cpu")]) == "CPU"


def test_a_named_device_that_is_not_usable_is_refused_with_torch_s_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, NO_KERNEL)
    with pytest.raises(ModelError, match=r"device 'cuda' is not usable here \(CUDA error: no kernel image .* device\)"):
        pick_device("cuda")
    for name in ("tpu9", "meta"):
        with pytest.raises(ModelError, match=f"device '{name}' is not usable here .+; 'cpu' always works"):
            pick_device(name)


def test_equal_cards_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda place: "NVIDIA H100 80GB HBM3")
    assert described([torch.device("cuda", index) for index in range(2)]) == "2 x NVIDIA H100 80GB HBM3"


def test_a_reason_is_one_short_sentence() -> None:
    assert reason_of(TOO_OLD) == "The NVIDIA driver on your system is too old (found version 12040)"
    assert reason_of(RuntimeError("")) == "RuntimeError" and len(reason_of("x" * 999)) == 200
