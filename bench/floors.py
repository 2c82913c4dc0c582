"""What a GPU itself can do, whatever computes on it; and photographs to measure on where there are none.

    python -m bench.floors [--device cuda]
    python -m bench.floors --photographs FOLDER [--count 13000]

The first is to be run before anything else is measured: a card that is slower than the one that the estimates in
docs/benchmarks.md were made for will miss their marks through no fault of the program. The second writes JPEG files of
500 x 375 pixels, about 110 kB each, in four folders: waves and noise of random scale, which decode as photographs do.
"""

from __future__ import annotations

import argparse
import io
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gradattn_core.model.device import described, pick_device
from gradattn_core.model.transit import fetched, sent

_REPEATS, _LABELS = 20, ("north", "east", "south", "west")
_BATCH = (64, 3, 224, 224)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--size", type=int, default=8192, metavar="N", help="of the matrices")
    parser.add_argument("--photographs", metavar="FOLDER", type=Path)
    parser.add_argument("--count", type=int, default=13_000, metavar="N")
    options = parser.parse_args()
    if options.photographs is not None:
        for label in _LABELS:
            (options.photographs / label).mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            size = sum(pool.map(partial(photograph, options.photographs), range(options.count), chunksize=64))
        print(f"{options.count:,} photographs, {size / options.count / 1e3:.0f} kB on average")
        return
    device = pick_device(options.device)
    print(f"{described([device])}, torch {torch.__version__}\n\n| what | rate |\n|---|---:|")
    for precision in (torch.bfloat16, torch.float16, torch.float32):
        one, other = (torch.randn(options.size, options.size, device=device, dtype=precision) for _ in range(2))
        rate = 2 * options.size**3 / seconds(partial(torch.mm, one, other), device) / 1e12
        print(f"| matrix product of {options.size} x {options.size}, {precision} | {rate:,.1f} TFLOP/s |", flush=True)
    source, target = (torch.empty(options.size**2, device=device) for _ in range(2))
    rate = 2 * source.nbytes / seconds(lambda: target.copy_(source), device) / 1e12
    print(f"| copy on the device, read and written | {rate:,.2f} TB/s |")
    pixels = torch.zeros(_BATCH, dtype=torch.uint8, pin_memory=device.type == "cuda")
    rate = pixels.nbytes / seconds(lambda: sent([pixels], device), device) / 1e9
    print(f"| a batch of pixels to the device | {rate:,.1f} GB/s |")
    answers = torch.zeros(256, 4456, device=device)
    print(f"| answers to 256 images and back | {seconds(lambda: fetched([answers])(), device) * 1e3:,.2f} ms |")


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """What a call takes, of many that are on their way at once."""
    for measured in (False, True):
        start = time.perf_counter()
        for _ in range(_REPEATS if measured else 3):
            work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return (time.perf_counter() - start) / _REPEATS


def photograph(folder: Path, number: int) -> int:
    """Write one; its size in bytes."""
    rng = np.random.default_rng(number)
    across, down = np.meshgrid(np.arange(500), np.arange(375))
    waves = np.zeros((375, 500, 3))
    for scale in (0.01, 0.03, 0.1, 0.3):
        steps, slopes = rng.normal(0, scale, 3), rng.normal(0, scale, 3)
        waves += np.sin(across[..., None] * steps + down[..., None] * slopes) / (1 + 9 * scale)
    pixels = np.clip(128 + 35 * waves + rng.normal(0, 13, (375, 500, 3)), 0, 255).astype(np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=int(rng.integers(90, 96)))
    return (folder / _LABELS[number % len(_LABELS)] / f"{number:05d}.jpg").write_bytes(data.getvalue())


if __name__ == "__main__":
    main()
