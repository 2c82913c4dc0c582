"""Which device computes: the one asked for, else the first GPU that proves it can, and why another one does not."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from gradattn_core.attention.precision import computes_tf32
from gradattn_core.errors import ModelError

_CPU = torch.device("cpu")
# What the kernel's driver lists, whatever this torch was built for.
_CARDS = Path("/proc/driver/nvidia/gpus")
_LONGEST = 200
# What torch calls the units of a processor that multiply in bfloat16: AVX-512's, Intel's matrix units, Arm's.
_BFLOAT16_UNITS = ("avx512_bf16", "amx_bf16", "bf16")


@dataclass(frozen=True)
class Choice:
    """The device that ``auto`` means here.

    Attributes:
        unused: why a GPU that is there is not used, in a clause; empty where each one works or there is none.
    """

    device: torch.device
    unused: str = ""


def pick_device(name: str = "auto") -> torch.device:
    """``auto`` is the first CUDA device on which a kernel runs, else the CPU; another name is what it says.

    Raises:
        ModelError: the device is unknown, not there, or runs no kernel; the message has torch's reason.
    """
    if name == "auto":
        return automatic().device
    try:
        device = torch.device(name)
        launch(device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"device {name!r} is not usable here ({reason_of(error)}); 'cpu' always works") from error
    return device


@lru_cache(maxsize=1)
def automatic() -> Choice:
    """What ``auto`` means in this process; it is found out once."""
    with warnings.catch_warnings(record=True) as told:
        # A driver that is too old, torch says in a warning only, and goes on without a GPU.
        warnings.simplefilter("always")
        is_there = torch.cuda.is_available()
    if not is_there:
        return Choice(_CPU, _why_none([str(each.message) for each in told]))
    reasons = []
    for index in range(torch.cuda.device_count()):
        # The first without its number: a loader's and a worker's "cuda" is the same one.
        device = torch.device("cuda", index) if index else torch.device("cuda")
        try:
            launch(device)
        except RuntimeError as error:
            reasons.append(f"cuda:{index}: {reason_of(error)}")
        else:
            return Choice(device, "; ".join(reasons))
    return Choice(_CPU, "; ".join(reasons))


@lru_cache(maxsize=16)
def launch(device: torch.device) -> None:
    """Run one kernel on a device and read its result: memory alone is granted by cards that this torch has no code for.

    Raises:
        RuntimeError, AssertionError: it cannot, with torch's reason. A device that only pretends to hold numbers
            (meta) cannot give one back.
    """
    if torch.ones(1, device=device).add_(1).item() != 2:
        raise RuntimeError("it gives wrong numbers")


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a GPU or CPU has units for bfloat16; others emulate them, a CPU eight times slower than float32."""
    if device.type == "cuda":
        return torch.version.hip is not None or torch.cuda.get_device_properties(device).major >= 8
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    # oneDNN alone would say yes to every AVX-512, where it emulates.
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(unit, False) for unit in _BFLOAT16_UNITS) and bool(
        torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def map_precision(name: str, device: torch.device) -> str:
    """The precision of an audit's maps: TF32 where it is not refused and the device has it, else float32."""
    return "tf32" if name != "float32" and computes_tf32(device) else "float32"


def reason_of(error: BaseException | str) -> str:
    """The first sentence of what torch says, without its advice."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    clause = lines[0].removeprefix("CUDA initialization: ").split(". ")[0].strip().rstrip(".")
    return clause[:_LONGEST]


def described(devices: Sequence[torch.device], unused: str = "") -> str:
    """What a person calls these devices, and why a GPU beside them is idle: ``2 x NVIDIA H100 80GB HBM3``."""
    names = [torch.cuda.get_device_name(each) if each.type == "cuda" else each.type.upper() for each in devices]
    counted = [f"{count} x {name}" if (count := names.count(name)) > 1 else name for name in dict.fromkeys(names)]
    return " and ".join(counted) + (f" (a GPU is not used: {unused})" if unused else "")


def _why_none(warned: Sequence[str]) -> str:
    """Why no GPU can be used although there is one; empty where there is none."""
    if warned:
        return reason_of(warned[0])
    if torch.cuda.device_count():
        # The driver's own library sees it, and CUDA does not.
        try:
            torch.cuda.init()
        except (RuntimeError, AssertionError) as error:
            return reason_of(error)
    if torch.version.cuda is None and torch.version.hip is None and _CARDS.is_dir() and any(_CARDS.iterdir()):
        return "this torch was built without CUDA"
    return ""
