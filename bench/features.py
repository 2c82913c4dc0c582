"""Extract and cache what the ranking's bench reads: features at several depths and the model's own logits.

    python bench/features.py ROOT [ROOT …] --checkpoint FILE --cache FOLDER [--model NAME] [--threads N]

Each ROOT is a class folder ``root/<label>/image``. The result is ``FOLDER/<name of ROOT>.npz`` with ``paths`` [N],
``given`` [N] (folder names), ``class_tokens`` and ``patch_means`` [N, depths, width] float32, ``blocks`` (1-based) and
``logits`` [N, outputs]. An existing file is kept.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image

BLOCKS = (6, 8, 10, 12)
SUFFIXES = {".jpg", ".jpeg", ".png"}


def list_images(root: Path) -> list[Path]:
    """Every image below the class folders of ``root``, in path order."""
    return sorted(path for path in root.glob("*/**/*") if path.suffix.lower() in SUFFIXES)


@torch.inference_mode()
def extract(root: Path, model_name: str, checkpoint: Path, batch: int = 50) -> dict[str, Any]:
    """Features of every image below ``root``; the last block's tokens are normalised as the model does."""
    model = timm.create_model(model_name, checkpoint_path=str(checkpoint)).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    paths = list_images(root)
    class_tokens, patch_means, logits = [], [], []
    started = time.perf_counter()
    for start in range(0, len(paths), batch):
        images = torch.stack([transform(Image.open(path).convert("RGB")) for path in paths[start : start + batch]])
        last, depths = model.forward_intermediates(
            images, indices=[block - 1 for block in BLOCKS], return_prefix_tokens=True, output_fmt="NLC"
        )
        prefix = model.num_prefix_tokens
        tokens = [torch.cat([prefixes[:, :1], patches.mean(1, keepdim=True)], 1) for patches, prefixes in depths]
        tokens[-1] = torch.stack([last[:, 0], last[:, prefix:].mean(1)], 1)
        joined = torch.stack(tokens, 1)
        class_tokens.append(joined[:, :, 0].numpy())
        patch_means.append(joined[:, :, 1].numpy())
        logits.append(model.forward_head(last).numpy())
        if start % (20 * batch) == 0:
            print(f"{root.name}: {start + len(images)}/{len(paths)} {time.perf_counter() - started:.0f} s", flush=True)
    return {
        "paths": np.array([path.relative_to(root).as_posix() for path in paths]),
        "given": np.array([path.relative_to(root).parts[0] for path in paths]),
        "blocks": np.array(BLOCKS),
        "class_tokens": np.concatenate(class_tokens),
        "patch_means": np.concatenate(patch_means),
        "logits": np.concatenate(logits),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Cache features of class folders for bench/ranking.py")
    parser.add_argument("roots", nargs="+", type=Path)
    parser.add_argument("--model", default="vit_tiny_patch16_224")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.cache.mkdir(parents=True, exist_ok=True)
    for root in arguments.roots:
        target = arguments.cache / f"{root.name}.npz"
        if not target.exists():
            np.savez(target, **extract(root, arguments.model, arguments.checkpoint))


if __name__ == "__main__":
    main()
