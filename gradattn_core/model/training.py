"""K-fold fine-tuning of the whole Vision Transformer: each image is judged by a model that never saw its label."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradattn_core.attention.precision import full_float32
from gradattn_core.config import FineTuning
from gradattn_core.model.device_memory import whole_in_parts
from gradattn_core.model.forward import class_logits

Batches = Callable[[Sequence[int]], Tensor]


def finetune(
    model: nn.Module,
    load: Batches,
    targets: Tensor,
    settings: FineTuning,
    *,
    seed: int,
    work: Hashable = "finetune",
    progress: Callable[[int, int], None] | None = None,
) -> nn.Module:
    """Train ``model`` in place on all given images and return it in evaluation mode, frozen.

    Each picture is shifted by up to an eighth of its side (never mirrored: a mirrored digit is another sign).

    Args:
        model: with a classifier of K outputs.
        load: positions → preprocessed images [B, channels, H, W].
        targets: [N] class indices.
        seed: of the order, the shifts and the dropout.
        work: what its appetite for memory is remembered by. A step that does not fit is taken in parts whose gradients
            add up to its own.
        progress: called with (images done, images in all).
    """
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model.train().requires_grad_(True)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, foreach=False
    )
    count = len(targets)
    steps = settings.epochs * math.ceil(count / settings.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    done = 0
    for _ in range(settings.epochs):
        order = torch.randperm(count, generator=generator)
        for rows in order.split(settings.batch_size):
            images, labels = _shifted(load(rows.tolist()), generator), targets[rows]

            def learn(part: slice, images: Tensor = images, labels: Tensor = labels) -> None:
                with full_float32(device):
                    logits = class_logits(model, images[part].to(device)).float()
                    loss = F.cross_entropy(logits, labels[part].to(device), label_smoothing=settings.label_smoothing)
                    (loss * (len(logits) / len(labels))).backward()

            whole_in_parts(lambda: optimizer.zero_grad(set_to_none=True), learn, len(rows), device, work)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            done += len(rows)
            if progress is not None:
                progress(done, settings.epochs * count)
    return model.eval().requires_grad_(False)


def _rate(step: int, steps: int) -> float:
    warmup = max(1, steps // 10)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each image by its own random offset; what enters is the nearest edge pixel."""
    reach = max(1, min(images.shape[-2:]) // 8)
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    high, wide = images.shape[-2:]
    offsets = torch.randint(0, 2 * reach + 1, (len(images), 2), generator=generator).tolist()
    return torch.stack(
        [image[:, top : top + high, left : left + wide] for image, (top, left) in zip(padded, offsets, strict=True)]
    )
