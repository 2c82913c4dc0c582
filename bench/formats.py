"""Whether another layout of memory or compiled code makes the sweep's forward pass faster, and from how many images on.

    python -m bench.formats [--model vit_tiny_patch16_224 ...] [--batch 32] [--repeats 9]

Every way runs on the same images in turn, so that a busy moment meets all of them. A ratio is the median over the
repeats of a way's time to the plain one's beside it. ``compiled`` leaves out the hooks by which the sweep takes
features from several depths (each call would compile anew for them), so it shows the most that compiling could gain.
``float32`` stands beside a plain way that is in half precision, as on a GPU or on a CPU with units for bfloat16, and
so does the other way to compute in it: a half copy of the model is plain on a GPU, autocast on a CPU. A way pays from
the number of images at which its slower first call is made good. Weights are random, which costs no time.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import timm
import torch
from torch import Tensor, nn

from gradattn_core.model.device import pick_device
from gradattn_core.model.forward import _forward, forward, sweep_precision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["vit_tiny_patch16_224", "vit_small_patch16_224"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = pick_device(options.device)
    threads = f"{torch.get_num_threads()} threads" if device.type == "cpu" else torch.cuda.get_device_name(device)
    print(f"batches of {options.batch}, {sweep_precision('auto', device)} on {threads}, torch {torch.__version__}\n")
    print("| model | way | first call, s | ms an image | time to plain | pays from, images |")
    print("|---|---|---:|---:|---:|---:|")
    for name in options.model:
        torch.manual_seed(0)
        model = timm.create_model(name, num_classes=10).to(device).eval().requires_grad_(False)
        show(name, model, torch.randn(options.batch, 3, *model.patch_embed.img_size, device=device), options.repeats)


def show(name: str, model: nn.Module, images: Tensor, repeats: int) -> None:
    """Print a row for each way."""
    calls = ways(model, images)
    first = {way: seconds(call) for way, call in calls.items()}
    rounds = [{way: seconds(call) for way, call in calls.items()} for _ in range(repeats)]
    usual = {way: statistics.median(each[way] for each in rounds) for way in calls}
    for way in calls:
        ratio = statistics.median(each[way] / each["plain"] for each in rounds)
        extra = first[way] - usual[way] - (first["plain"] - usual["plain"])
        pays = f"{extra / (1 - ratio) / usual['plain'] * len(images):,.0f}" if ratio < 1 and extra > 0 else "–"
        print(
            f"| {name} | {way} | {first[way]:.1f} | {usual[way] / len(images) * 1e3:.2f} | {ratio:.2f} | {pays} |",
            flush=True,
        )


def ways(model: nn.Module, images: Tensor) -> dict[str, Callable[[], object]]:
    precision = sweep_precision("auto", images.device)
    by_copy = images.device.type != "cuda"
    halves: dict[str, Callable[[], object]] = {
        "float32": lambda: forward(model, images, "float32"),
        "half copy" if by_copy else "autocast": lambda: _forward(model, images, precision, by_copy)(),
    }
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    pixels = images.to(memory_format=torch.channels_last)
    compiled = torch.compile(copy.deepcopy(model))

    def run_compiled() -> object:
        half = torch.autocast(images.device.type, getattr(torch, precision), enabled=precision != "float32")
        with torch.inference_mode(), half:
            return compiled(images).float().cpu()

    return {
        "plain": lambda: forward(model, images, precision),
        **({} if precision == "float32" else halves),
        "channels-last": lambda: forward(last, pixels, precision),
        "compiled": run_compiled,
    }


def seconds(call: Callable[[], object]) -> float:
    """What one call takes, its result on the CPU."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
