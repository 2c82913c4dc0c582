"""The slow twin of the interpretation engine: every map and gradient held, every matrix multiplied out.

It shares no code with the engine. Attention runs unfused, its softmax outputs are the leaves that are differentiated,
and the N x N matrices I + M_l are multiplied as printed in the paper. For the tests only.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


class _KeepSoftmax(TorchFunctionMode):
    """Collects every softmax of a forward pass: in unfused attention these are the maps A."""

    def __init__(self) -> None:
        super().__init__()
        self.maps: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is Tensor.softmax:
            self.maps.append(result)
        return result


def attention_maps(
    model: nn.Module, images: Tensor, head: Callable[[Tensor], Tensor] | None = None
) -> tuple[Tensor, list[Tensor]]:
    """Logits and all attention maps [B, H, Nq, Nk] in the order of the layers, connected by autograd."""
    set_fused(model, False)
    model.eval()
    network: Any = model
    with _KeepSoftmax() as kept:
        tokens = network.forward_features(images.detach().clone().requires_grad_(True))
        logits = network.forward_head(tokens) if head is None else head(network.forward_head(tokens, pre_logits=True))
    set_fused(model, True)
    return logits, kept.maps


def set_fused(model: nn.Module, fused: bool) -> None:
    module: Any
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = fused


def scalar(objective: str, logits: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The differentiated quantity of each image, [B]."""
    rows = torch.arange(len(logits))
    za, zb = logits[rows, a], logits[rows, b]
    return {
        "logit": za,
        "difference": za - zb,
        "ratio": 1 - zb / za,
        "quotient": za / zb,
        "normalised": (za - zb) / za.detach().abs(),
    }[objective]


def weighted(correction: str, maps: Tensor, gradients: Tensor) -> Tensor:
    """W of one layer, [B, H, Nq, Nk]."""
    return {
        "complete": gradients,
        "positive": gradients.clamp(min=0),
        "absolute": gradients.abs(),
        "centred": gradients - (maps * gradients).sum(-1, keepdim=True),
    }[correction]


def explicit_scores(
    maps: list[Tensor],
    gradients: list[Tensor],
    correction: str,
    aggregation: str,
    start: Tensor | None,
    prefix: int,
) -> Tensor:
    """S [B, patches] by the full matrix product; ``start`` is r0 [N], ``None`` where an attention pool gives it."""
    held = [a.detach() for a in maps]
    mixed = [(weighted(correction, a, g) * a).mean(1) for a, g in zip(held, gradients, strict=True)]
    if start is None:
        pool = mixed.pop().mean(1)
        tokens = mixed[0].shape[-1]
        r0 = torch.cat((pool.new_zeros(len(pool), tokens - pool.shape[1]), pool), 1)
        subtracted = torch.zeros_like(r0)
    else:
        r0 = subtracted = start.expand(len(mixed[0]), -1)
    identity = torch.eye(r0.shape[1], dtype=r0.dtype)
    if aggregation == "sum":
        total = identity + torch.stack(mixed).sum(0)
    else:
        total = identity.expand_as(mixed[0])
        for matrix in mixed:
            total = (identity + matrix) @ total
    return (torch.einsum("bi,bij->bj", r0, total) - subtracted)[:, prefix:]


def tiny(name: str, dtype: torch.dtype = torch.float64, **arguments: Any) -> nn.Module:
    """A small model of a timm family with random weights that make lively attention; the same on every call."""
    torch.manual_seed(zlib.crc32(name.encode()))
    model: nn.Module = timm.create_model(name, num_classes=7, **arguments).to(dtype).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5 * (2.0 if "qkv" in key else 1.0))
            else:
                # Norm scales and layer scales near one, biases small: timm starts layer scales at 1e-5.
                centre = 1.0 if "bias" not in key and "token" not in key else 0.0
                parameter.normal_(mean=centre, std=0.2)
    return model


SMALL_VIT: dict[str, Any] = {"img_size": 64, "embed_dim": 32, "depth": 3, "num_heads": 2}


def vit(**arguments: Any) -> nn.Module:
    """A ViT of three blocks on a 4 x 4 grid with 7 classes, in double precision."""
    return tiny("vit_tiny_patch16_224", **{**SMALL_VIT, **arguments})


def pictures(batch: int = 2, *, side: int = 64, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(batch, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(8)).to(dtype)


def relative(found: Tensor, expected: Tensor) -> float:
    """The greatest difference as a share of the greatest expected value."""
    return float((found.double() - expected.double()).abs().max() / expected.abs().max())
