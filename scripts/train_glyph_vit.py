"""Train the demo's Vision Transformer on generated digits and write its weights.

It never sees a real digit, not even to choose the best weights: those are chosen on held-out generated glyphs. The same
arguments give the same file on the same machine and torch version. The default takes about 25 minutes on one CPU core.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import timm
import torch
from glyph_strokes import GRID, VARIANT_DIGITS, draw_glyphs
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from gradattn_core.demo.digits import IMAGE_SIZE
from gradattn_core.demo.model import GLYPH_VIT

BATCH = 64
AVERAGING = 0.998  # decay of the weight average that is shipped
HELD_OUT_SEED = 1_000_003


class TwoViews(nn.Module):
    """The transformer with a digit loss on its class token and on its mean patch token, since both become features.

    The mean patch token must also tell the ways of writing a digit apart, which keeps its features from collapsing to
    ten points.
    """

    def __init__(self) -> None:
        super().__init__()
        self.vit = timm.create_model(**GLYPH_VIT)
        self.patch_head = nn.Linear(GLYPH_VIT["embed_dim"], len(VARIANT_DIGITS))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Digit logits [B, 10] of the class token and variant logits [B, variants] of the mean patch token."""
        tokens = self.vit.forward_features(images)
        return self.vit.forward_head(tokens), self.patch_head(tokens[:, 1:].mean(dim=1))

    def loss(self, images: Tensor, digit: Tensor, variant: Tensor) -> Tensor:
        digit_logits, variant_logits = self(images)
        return F.cross_entropy(digit_logits, digit, label_smoothing=0.1) + 0.5 * F.cross_entropy(
            variant_logits, variant, label_smoothing=0.1
        )


class Enlarge:
    """A glyph's way into the model: enlarged as the demo writes it, then resized as the model asks."""

    def __init__(self) -> None:
        self.up = _resampling(GRID, IMAGE_SIZE, Image.Resampling.BICUBIC)
        self.down = _resampling(IMAGE_SIZE, GLYPH_VIT["img_size"], Image.Resampling.BILINEAR)

    def __call__(self, ink: Tensor) -> Tensor:
        """[B, 8, 8] ink in 0..1 to normalised [B, 3, height, width]."""
        written = (self.up @ ink @ self.up.T).clamp(0, 1)
        grey = self.down @ written @ self.down.T
        return ((grey - 0.5) / 0.5)[:, None].expand(-1, 3, -1, -1)


def _resampling(source: int, target: int, how: Image.Resampling) -> Tensor:
    """Pillow's resize along one axis as a matrix [target, source]."""
    columns = [
        np.asarray(Image.fromarray(np.tile(unit[:, None], (1, target))).resize((target, target), how))[:, 0]
        for unit in np.eye(source, dtype=np.float32)
    ]
    return torch.from_numpy(np.stack(columns, axis=1))


def _batch(count: int, rng: np.random.Generator, enlarge: Enlarge) -> tuple[Tensor, Tensor, Tensor]:
    glyphs = draw_glyphs(count, rng)
    return enlarge(torch.from_numpy(glyphs.ink)), torch.from_numpy(glyphs.digit), torch.from_numpy(glyphs.variant)


@torch.no_grad()
def _held_out(model: TwoViews, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[float, float, float]:
    """Loss, share of digits right by the class token, and share of variants right by the mean patch token."""
    images, digit, variant = batch
    digit_logits, variant_logits = model(images)
    return (
        float(model.loss(images, digit, variant)),
        float((digit_logits.argmax(1) == digit).float().mean()),
        float((variant_logits.argmax(1) == variant).float().mean()),
    )


def _optimiser(model: nn.Module, rate: float) -> torch.optim.AdamW:
    """AdamW that decays matrices only."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))


def train(*, epochs: int, steps: int, seed: int, rate: float, held_out: int) -> nn.Module:
    """Train for ``epochs`` of ``steps`` batches; the averaged weights of the epoch with the least held-out loss."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    enlarge = Enlarge()
    model = TwoViews()
    average = best = copy.deepcopy(model)
    optimiser = _optimiser(model, rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=rate, total_steps=epochs * steps + 1, pct_start=0.1, cycle_momentum=False
    )
    held = _batch(held_out, np.random.default_rng(HELD_OUT_SEED), enlarge)
    best_loss, done, started = float("inf"), 0, time.monotonic()
    for epoch in range(1, epochs + 1):
        for _ in range(steps):
            loss = model.loss(*_batch(BATCH, rng, enlarge))
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            done += 1
            _move_average(average, model, min(AVERAGING, (1 + done) / (10 + done)))
        held_loss, digits, variants = _held_out(average, held)
        if held_loss < best_loss:
            best, best_loss = copy.deepcopy(average), held_loss
        print(
            f"epoch {epoch}/{epochs}  {time.monotonic() - started:.0f} s  held-out generated glyphs: "
            f"loss {held_loss:.4f}, digits {digits:.4f}, variants {variants:.4f}",
            flush=True,
        )
    vit: nn.Module = best.vit
    return vit


@torch.no_grad()
def _move_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    for kept, new in zip(average.parameters(), model.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train the demo's small ViT on generated digits only.")
    parser.add_argument("--out", type=Path, required=True, help="the safetensors file to write (float16)")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=200, help=f"batches of {BATCH} glyphs per epoch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--held-out", type=int, default=2000, help="generated glyphs that choose the epoch")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    vit = train(
        epochs=options.epochs,
        steps=options.steps,
        seed=options.seed,
        rate=options.rate,
        held_out=options.held_out,
    )
    weights = {name: tensor.half().contiguous() for name, tensor in vit.state_dict().items()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, options.out)
    print(f"wrote {options.out} ({options.out.stat().st_size / 1e6:.2f} MB)")


if __name__ == "__main__":
    main()
