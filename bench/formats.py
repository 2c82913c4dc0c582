"""Whether another memory format or a compiled model would make the sweep faster: prints forward passes as ratios.

    python bench/formats.py [--model vit_tiny_patch16_224] [--batch 32] [--device auto]

Plain, channels-last and ``torch.compile`` take turns, each for some seconds; compiling needs a C++ compiler, and its
time is told apart. Random weights: speed does not depend on them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import timm
import torch
from torch import Tensor

from gradattn_core.model import pick_device

TURNS = 5
SECONDS = 4.0


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory formats and compilation of the forward pass")
    parser.add_argument("--model", default="vit_tiny_patch16_224")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = pick_device(options.device)
    model = timm.create_model(options.model).eval().to(device)
    images = torch.randn(options.batch, *model.pretrained_cfg["input_size"], device=device)
    last = timm.create_model(options.model).eval().to(device, memory_format=torch.channels_last)
    compiled = torch.compile(model)
    ways: dict[str, tuple[Callable[[Tensor], Tensor], Tensor]] = {
        "plain": (model, images),
        "channels-last": (last, images.to(memory_format=torch.channels_last)),
        "torch.compile": (compiled, images),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    with torch.inference_mode():
        for name, (run, pixels) in ways.items():
            start = time.perf_counter()
            run(pixels)
            print(f"{name}: first pass {time.perf_counter() - start:.1f} s", flush=True)
        for _ in range(TURNS):
            for name, (run, pixels) in ways.items():
                rates[name].append(images_per_second(run, pixels))
    print(f"\n{options.model}, batch {options.batch}, {device}, {torch.get_num_threads()} threads\n")
    print("| way | images/s, median | of plain, median of the turns | least to most |\n|---|---:|---:|---|")
    for name, found in rates.items():
        ratios = np.array(found) / rates["plain"]
        print(f"| {name} | {np.median(found):.1f} | {np.median(ratios):.2f} | {ratios.min():.2f}–{ratios.max():.2f} |")


def images_per_second(run: Callable[[Tensor], Tensor], pixels: Tensor) -> float:
    start, images = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        run(pixels)
        images += len(pixels)
        if pixels.is_cuda:
            torch.cuda.synchronize()
    return images / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
