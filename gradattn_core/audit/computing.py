"""What an audit computes on and in which precision: said to the user at once, since a wrong device costs hours."""

from __future__ import annotations

import warnings

import torch

from gradattn_core.attention.precision import computes_tf32
from gradattn_core.audit.loading import audit_model, load_batches
from gradattn_core.config import AuditConfig
from gradattn_core.dataset.selection import evenly
from gradattn_core.errors import ModelError
from gradattn_core.model.device import automatic, computes_bfloat16, described, pick_device
from gradattn_core.model.forward import forward, sweep_precision
from gradattn_core.model.half import release_half_copies
from gradattn_core.model.openvino_passes import usable_openvino
from gradattn_core.model.preprocessing import Preprocessing
from gradattn_core.records import Listing

_ON_TRIAL = 16
"""Pictures that show whether a model's numbers are too large for float16."""
_THREADS = torch.device("cpu")


def computing_on(config: AuditConfig) -> str:
    """The devices of an audit as a person calls them, and why a GPU that is there is idle; that is warned of too.

    Raises:
        ModelError: the device is not usable here.
    """
    if config.runner != "local":
        return "a Ray cluster"
    if not config.has_model:
        return "no model"
    unused = automatic().unused if config.device == "auto" else ""
    if unused:
        warnings.warn(f"a GPU is not used: {unused}", stacklevel=2)
    devices = [pick_device(config.device)]
    if devices[0].type == "cuda" and config.device in ("auto", "cuda") and not unused:
        devices = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    return described(devices, unused)


def fitting_precision(
    config: AuditConfig, listing: Listing, device: torch.device, white: int
) -> tuple[str, tuple[str, ...]]:
    """The precision of a sweep: what is asked for, or what takes its place where float16 is too narrow for the model.

    Args:
        device: that sweeps.
        white: as in ``decode_image``.

    Returns:
        the precision, and what the user should know of it.
    """
    asked = precision = sweep_precision(config.precision, device)
    if asked != "float16":
        return asked, ()
    model = audit_model(config, len(listing.classes) if config.from_scratch else None)
    preprocessing, few = Preprocessing.of(model), evenly(list(listing.images), _ON_TRIAL)
    # By threads: processes would have to start for these few.
    for batch in load_batches(listing.root, few, preprocessing, config, _THREADS, white):
        if batch.images:
            precision = forward(model, preprocessing.normalised(batch.pixels.to(device)), precision).precision
    release_half_copies()
    if precision == asked:
        return asked, ()
    note = f"The model's numbers become too large for {asked}: it is swept in {precision}."
    warnings.warn(note, stacklevel=2)
    return precision, (note,)


def continued_precision(config: AuditConfig, before: str, moved: bool = True) -> str:
    """The precision in which an audit that was swept in ``before`` goes on here.

    That is ``before`` where the user said so, where the same device goes on, and where it is a half one that this
    device has units for, which may have taken the place of another that was too narrow. Else it is this device's own.

    Args:
        moved: whether another device had begun it. A processor of the same name may lack the other's units.
    """
    device = pick_device(config.device)
    if config.precision != "auto":
        return before
    stays = _has_units(before, device) if before != "float32" else not moved
    return before if stays else sweep_precision(config.precision, device)


def swept_by(config: AuditConfig, precision: str) -> str:
    """The precision of a sweep here, and what computes in it where that is not torch, as a person calls them.

    Raises:
        ModelError: that is not installed, or computes neither on this device nor in this precision.
    """
    if config.engine == "torch":
        return precision
    device = pick_device(config.device)
    if device.type != "cpu":
        raise no_engine_for(config, described([device]))
    return f"{precision} by OpenVINO {usable_openvino(precision)}"


def require_engine(config: AuditConfig) -> None:
    """Raises:
    ModelError: as :func:`swept_by` would for the precision that is asked for; nothing is computed to find out.
    """
    if config.engine != "torch":
        swept_by(config, sweep_precision(config.precision, pick_device(config.device)))


def no_engine_for(config: AuditConfig, device: str) -> ModelError:
    """That what computes the sweep has no use for this device, as a person calls it."""
    return ModelError(
        f"engine {config.engine!r} computes on a CPU, not on {device}; choose device 'cpu', or leave the engine out"
    )


def exact_anyway(config: AuditConfig, device: torch.device) -> tuple[str, ...]:
    """That maps are drawn in float32 although TF32 was asked for, where the device has no units for that."""
    if config.map_precision != "tf32" or config.runner != "local" or computes_tf32(device):
        return ()
    note = (
        f"Maps are drawn in float32: {described([device])} has no units for tf32, which NVIDIA's GPUs have since A100."
    )
    warnings.warn(note, stacklevel=2)
    return (note,)


def _has_units(half: str, device: torch.device) -> bool:
    return device.type == "cuda" if half == "float16" else computes_bfloat16(device)
