"""A copy of a model in half precision, as a GPU computes fastest in; and of a CPU's linear layers alone.

Autocast casts every weight anew at every pass and keeps what runs between the layers in float32: of twelve blocks' 260
kernels 117 are its casts, and a third more bytes move. A copy is cast once. Sums, norms and softmax add in float32
inside their kernels either way; what a copy rounds in addition is the stream between the layers, to the 11 bits of
float16 (or the 8 of bfloat16) after each of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

import torch
from timm.layers import Mlp
from timm.layers.activations import GELU, GELUTanh
from torch import Tensor, nn

from gradattn_core.model.device import computes_bfloat16

_CPU = torch.device("cpu")


T = TypeVar("T")


class OfModel(Generic[T]):
    """What is made of models and kept, one thing of each, until a weight changes, or the model or it is let go."""

    def __init__(self) -> None:
        self._made: WeakKeyDictionary[nn.Module, tuple[Hashable, T]] = WeakKeyDictionary()

    def of(self, model: nn.Module, kind: Hashable, make: Callable[[], T]) -> T:
        """What was made of the model as it is now and with this ``kind``, else what ``make`` gives."""
        state = (
            kind,
            tuple((each.data_ptr(), 0 if each.is_inference() else each._version) for each in model.parameters()),
        )
        found = self._made.get(model)
        if found is None or found[0] != state:
            found = self._made[model] = state, make()
        return found[1]

    def release(self) -> None:
        """Let go of everything."""
        self._made.clear()


@dataclass(frozen=True)
class HalfLinear:
    """A linear layer's weight and bias in bfloat16.

    Attributes:
        of: weight and bias that they were made of.
        gelu: the kind of GELU that its only reader is, ``none`` or ``tanh``; empty where something else follows.
    """

    of: tuple[Tensor, Tensor | None]
    weight: Tensor
    bias: Tensor | None
    gelu: str


_copies: OfModel[nn.Module | None] = OfModel()
_layers: OfModel[dict[int, HalfLinear]] = OfModel()


def half_copy(model: nn.Module, dtype: torch.dtype) -> nn.Module | None:
    """A copy that takes and gives numbers of ``dtype``; the same one until a weight changes or it is let go.

    It takes as much memory as the weights have numbers, two bytes each: half of the model's own again.

    Args:
        model: in float32; it is left as it is.
        dtype: float16 or bfloat16.

    Returns:
        None where a weight is too large for this precision, or so small that it would lose digits that others keep.
    """
    return _copies.of(model, dtype, lambda: _copied(model, dtype))


def half_layers(model: nn.Module) -> dict[int, HalfLinear]:
    """The linear layers of a model on a CPU in bfloat16, by the ``id`` of their weight; kept as copies are.

    Autocast casts them anew at every pass. None where oneDNN does not multiply in bfloat16 on an x86 processor's units.
    """
    if not (computes_bfloat16(_CPU) and torch.backends.mkldnn.enabled and torch.cpu.get_capabilities().get("avx512_f")):
        return {}
    return _layers.of(model, torch.bfloat16, lambda: _halved(model))


def release_half_copies() -> None:
    """Let go of every copy: what follows a sweep needs the memory for other things."""
    _copies.release()
    _layers.release()


def _halved(model: nn.Module) -> dict[int, HalfLinear]:
    gelus = {id(module.fc1): _gelu(module) for module in model.modules() if type(module) is Mlp}
    layers = {}
    with torch.no_grad(), torch.inference_mode(False):
        for module in model.modules():
            if type(module) is nn.Linear and module.weight.dtype == torch.float32:
                weight, bias = module.weight, module.bias
                half = None if bias is None else bias.detach().bfloat16()
                halves = weight.detach().bfloat16().contiguous(), half
                layers[id(weight)] = HalfLinear((weight, bias), *halves, gelus.get(id(module), ""))
    return layers


def _gelu(block: nn.Module) -> str:
    """Which GELU follows the first layer of timm's two; none where a hook looks at what is between them."""
    first, second = block.fc1, block.act
    if any(module._forward_hooks or module._forward_pre_hooks for module in (first, second)):  # type: ignore[union-attr]
        return ""
    if type(second) is nn.GELU:
        return second.approximate
    return {GELU: "none", GELUTanh: "tanh"}.get(type(second), "")


def _copied(model: nn.Module, dtype: torch.dtype) -> nn.Module | None:
    exact = {id(each) for module in model.modules() if _stays_exact(module) for each in _own(module)}
    halves: dict[int, object] = {}
    lost = []
    with torch.no_grad(), torch.inference_mode(False):
        for weight in (*model.parameters(), *model.buffers()):
            if id(weight) in exact or not weight.is_floating_point():
                continue
            half = weight.detach().to(dtype)
            # Also of infinite weights, whose difference is no number, this is false.
            keeps = (half.float() - weight).norm() <= torch.finfo(dtype).eps * weight.norm()
            lost.append(~keeps)
            halves[id(weight)] = nn.Parameter(half, requires_grad=False) if isinstance(weight, nn.Parameter) else half
        if bool(torch.stack(lost).any()):
            return None
    # What is in the memo already is not copied, so that no second float32 model is in memory meanwhile.
    return copy.deepcopy(model, halves)


def _stays_exact(module: nn.Module) -> bool:
    """Whether its numbers stay in float32.

    Statistics of batches do, which ask the same of their weights, and the angles of rotary embeddings, whose products
    timm casts itself: in bfloat16 they would be off by a patch's width.
    """
    return isinstance(module, nn.modules.batchnorm._BatchNorm) or type(module).__name__.startswith("Rotary")


def _own(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters(recurse=False)
    yield from module.buffers(recurse=False)
