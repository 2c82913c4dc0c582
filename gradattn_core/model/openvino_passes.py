"""A sweep's forward passes on a CPU by OpenVINO, which is an extra: torch's model, converted once.

What runs between the layers is in bfloat16 too, where that is the precision. Pictures go through the model eight at a
time, on as many streams as there are threads: none waits for others within a layer.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from gradattn_core.attention.readout import model_name
from gradattn_core.errors import ModelError
from gradattn_core.model.device import reason_of
from gradattn_core.model.forward import TOGETHER, Forward, forward, joined, outputs
from gradattn_core.model.half import OfModel

_ABILITIES = {"float32": "FP32", "float16": "FP16", "bfloat16": "BF16"}
_TYPES = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
_MOST_STREAMS = 8
"""Two batches are under way at a time, of four parts each."""


@dataclass(frozen=True)
class _Compiled:
    """A converted model; ``idle`` are its requests that wait for pictures, and ``has_logits`` whether it classifies."""

    model: Any
    has_logits: bool
    idle: list[Any] = field(default_factory=list)


_compiled: OfModel[_Compiled] = OfModel()


def usable_openvino(precision: str) -> str:
    """The version of the OpenVINO that is installed, once it is clear that it computes in this precision here.

    Raises:
        ModelError: none is installed, or this processor computes in another precision.
    """
    openvino = _openvino()
    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if _ABILITIES[precision] not in able:
        can = " or ".join(repr(name) for name, ability in _ABILITIES.items() if ability in able)
        raise ModelError(f"OpenVINO does not compute in {precision} on this processor; choose precision {can}")
    return str(openvino.__version__).split("-")[0]


def begun_pass(model: nn.Module, images: Tensor, precision: str) -> Callable[[], Forward]:
    """:func:`~gradattn_core.model.forward.begun_forward` by OpenVINO, with as many threads as torch has.

    The model is converted at the first call, which takes seconds; the result is kept until a weight changes.

    Args:
        images: on the CPU.

    Returns:
        a function that waits for the answer; where it is not finite, it is torch's in float32.

    Raises:
        ModelError: OpenVINO is not installed, cannot convert the model, or does not compute in this precision here.
    """
    threads = torch.get_num_threads()
    compiled = _compiled.of(model, (precision, threads), lambda: _compile(model, images, precision, threads))
    under_way = []
    for part in images.split(TOGETHER):
        request = compiled.idle.pop() if compiled.idle else compiled.model.create_infer_request()
        request.start_async([part.numpy()], share_inputs=True)
        under_way.append(request)

    def answered() -> Forward:
        parts = []
        for request in under_way:
            request.wait()
            found = [torch.from_numpy(each.data.copy()) for each in request.output_tensors]
            compiled.idle.append(request)
            *logits, readout, features = found
            parts.append(Forward(logits[0] if logits else readout[:, :0], readout, features, precision))
        whole = joined(parts)
        return whole if whole.is_finite or precision == "float32" else forward(model, images)

    return answered


def release_conversions() -> None:
    """Let go of every converted model: what follows a sweep needs the memory for other things."""
    _compiled.release()


class _Outputs(nn.Module):
    """What a sweep takes of a model, without the logits that it has none of."""

    def __init__(self, model: nn.Module, has_logits: bool) -> None:
        super().__init__()
        self.model, self.has_logits = model, has_logits

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        found = outputs(self.model, images)
        return found if self.has_logits else found[1:]


def _compile(model: nn.Module, images: Tensor, precision: str, threads: int) -> _Compiled:
    usable_openvino(precision)
    openvino = _openvino()
    has_logits = bool(getattr(model, "num_classes", 0))
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            shape = openvino.PartialShape([-1, *images.shape[1:]])
            # Two pictures, since of one a tracer would take the number for a constant.
            example = torch.zeros(2, *images.shape[1:])
            converted = openvino.convert_model(_Outputs(model, has_logits), example_input=example, input=[shape])
        compiled = openvino.Core().compile_model(
            converted,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": _TYPES[precision],
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": min(threads, _MOST_STREAMS),
                # Several processes would all take the first cores.
                "ENABLE_CPU_PINNING": False,
            },
        )
    except Exception as error:
        # It raises what its converters raise.
        raise ModelError(
            f"{model_name(model)} cannot be computed by OpenVINO ({_why(error)}); engine 'torch' works"
        ) from error
    return _Compiled(compiled, has_logits)


def _why(error: Exception) -> str:
    """What a converter says of an operation that it does not know, else what the tracer fell over."""
    named = [line.removeprefix("-- ") for line in str(error).splitlines() if line.startswith("-- ")]
    return reason_of(named[0] if named else error.__cause__ or error)


@lru_cache(maxsize=1)
def _openvino() -> Any:
    # What tells its makers of every use is left out, as where that package is not installed.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise ModelError(
            f"engine 'openvino' needs a package that is not usable here ({reason_of(error)}); "
            "pip install 'gradattn[openvino]' brings it"
        ) from error
    return openvino
