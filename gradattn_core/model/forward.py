"""One forward pass: logits, the features the head reads, and richer features from several depths."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import astuple, dataclass

import torch
from torch import Tensor, nn

# After blocks 6, 8 and 10 of 12 (and the last): label noise shows better in several depths than in the last alone.
_DEPTHS = (1 / 2, 2 / 3, 5 / 6)


@dataclass(frozen=True)
class Forward:
    """What one forward pass gives; all float32 on the CPU.

    Attributes:
        logits: [B, K] of the model's own classifier; [B, 0] where it has none.
        readout: [B, D] the features a linear head reads.
        features: [B, F] class token and mean patch token at half, two thirds, five sixths and the whole depth, joined.
    """

    logits: Tensor
    readout: Tensor
    features: Tensor


def forward(model: nn.Module, images: Tensor, precision: str = "float32") -> Forward:
    """Run a timm Vision Transformer in evaluation mode.

    Args:
        model: with ``blocks``, ``forward_features`` and ``forward_head``.
        images: [B, channels, H, W], preprocessed, on the model's device and of its precision.
        precision: ``float32``, or ``float16`` or ``bfloat16`` for the matrix products (sums, softmax and norms stay in
            float32). Where a number becomes too large for it, all is computed again in float32.
    """
    result = _forward(model, images, precision)
    if precision == "float32" or all(bool(values.isfinite().all()) for values in astuple(result)):
        return result
    return _forward(model, images, "float32")


def sweep_precision(asked: str, device: torch.device) -> str:
    """The precision of :func:`forward`: ``auto`` is float16 on a GPU and float32 elsewhere."""
    if asked != "auto":
        return asked
    return "float16" if device.type == "cuda" else "float32"


def _forward(model: nn.Module, images: Tensor, precision: str) -> Forward:
    half = torch.autocast(images.device.type, getattr(torch, precision)) if precision != "float32" else nullcontext()
    with torch.inference_mode(), half, _block_outputs(model) as tokens:
        last = model.forward_features(images)  # type: ignore[operator]
        readout = model.forward_head(last, pre_logits=True)  # type: ignore[operator]
        classes = int(getattr(model, "num_classes", 0))
        logits = model.forward_head(last) if classes else readout[:, :0]  # type: ignore[operator]
        prefix = int(getattr(model, "num_prefix_tokens", 0))
        parts = []
        for depth in [*tokens, last]:
            if prefix:
                parts.append(depth[:, 0].float())
            parts.append(depth[:, prefix:].float().mean(dim=1))
        return Forward(logits.float().cpu(), readout.float().cpu(), torch.cat(parts, dim=1).cpu())


@contextmanager
def _block_outputs(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the tokens [B, N, D] after the chosen blocks; the last block's come normalised from the model itself."""
    blocks: list[nn.Module] = list(model.blocks)  # type: ignore[arg-type]
    count = len(blocks)
    chosen = [depth for depth in sorted({round(count * f) for f in _DEPTHS}) if 0 < depth < count]
    tokens: list[Tensor] = []
    handles = [
        blocks[depth - 1].register_forward_hook(lambda _module, _inputs, output: tokens.append(output))
        for depth in chosen
    ]
    try:
        yield tokens
    finally:
        for handle in handles:
            handle.remove()
