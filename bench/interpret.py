"""How much a signed map costs above the backward pass that it rides in, and what other libraries' maps cost.

Prints one markdown table of ratios to the floor, which is a bare forward and backward pass to the pixels with frozen
parameters: time as the median over repeats (in brackets the quickest against the quickest), then peak memory above the
loaded model. All ways of one size are timed in one process, in turn, so that a busy moment meets all of them; each peak
comes from a fresh process. With one thread on a CPU the processor's own time is counted, which other work on the
machine hardly disturbs. Both sides take our matrix products (:mod:`gradattn_core.attention.onednn`), which on some
processors are twice as fast as torch's; ``plain`` is the floor in torch's own.

The peers explain the same z_0 − z_1 of the same frozen model, both at blocks[-1].norm1, as their manuals say for Vision
Transformers: captum's LayerGradientXActivation (one pass; its integrated gradients are 50 such passes by default) and
pytorch-grad-cam's GradCAM. ``grad-cam*`` is the same with parameters that want gradients, as a model is by default.
They come with ``pip install 'gradattn[peers]'``; without them their columns are left out and the reason is printed.
*secant* is told f and f₀; its own forward pass, at half weight, is counted.

``complete by columns`` and their like take one route of :mod:`gradattn_core.attention.routes` wherever it works: the
row in torch's fused backward pass, our kernel in Triton beside it, or products of torch beside it, which is what a GPU
is left with without the others. The kernel runs on a GPU only. ``--map-precision tf32`` rounds products there.

    python bench/interpret.py [--model vit_small_patch16_224] [--batch 1] [--threads 1] [--large]
                              [--device cuda --dtype bfloat16]
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from gradattn_core.attention.onednn import linear_by_torch
from gradattn_core.attention.precision import full_float32, products_in
from gradattn_core.attention.routes import only
from gradattn_core.interpret.maps import interpret
from gradattn_core.methods import CORRECTIONS

PEERS = {"captum": "captum", "grad-cam": "pytorch_grad_cam", "grad-cam*": "pytorch_grad_cam"}
# Of each correction the routes beside the one that it has by itself on a CPU.
BY_ROUTE = ("complete by columns", "centred by columns", "complete by blocks", "secant by blocks", "complete by kernel",
            "secant by kernel")  # fmt: skip
WAYS = ("forward", "floor", "plain", *CORRECTIONS, *BY_ROUTE, "explicit", *PEERS)
SIDES = {197: 224, 785: 448, 1025: 512, 1765: 672, 4097: 1024}


def explicit(model: nn.Module, images: Tensor) -> Tensor:
    """The usual implementation: unfused attention, a hook keeps every map, all gradients at once; *complete*."""
    maps: list[Tensor] = []
    attentions: list[Any] = [module for module in model.modules() if hasattr(module, "fused_attn")]
    hooks = [
        module.attn_drop.register_forward_hook(lambda _module, _inputs, output: maps.append(output))
        for module in attentions
    ]
    try:
        for module in attentions:
            module.fused_attn = False
        logits = model(images.clone().requires_grad_(True))
        gradients = torch.autograd.grad((logits[:, 0] - logits[:, 1]).float().sum(), maps)
    finally:
        for module, hook in zip(attentions, hooks, strict=True):
            module.fused_attn = True
            hook.remove()
    row = torch.zeros(len(images), maps[0].shape[-1], device=images.device)
    row[:, 0] = 1.0
    with torch.no_grad():
        for attention, gradient in zip(reversed(maps), reversed(gradients), strict=True):
            row = row + torch.einsum("bi,bij->bj", row, (attention * gradient).float().mean(1))
    return row[:, 1:]


def floor(model: nn.Module, images: Tensor) -> Tensor:
    pixels = images.clone().requires_grad_(True)
    logits = model(pixels)
    return torch.autograd.grad((logits[:, 0] - logits[:, 1]).float().sum(), pixels)[0]


def floor_by_torch(model: nn.Module, images: Tensor) -> Tensor:
    with linear_by_torch():
        return floor(model, images)


def captum_map(model: Any, images: Tensor) -> Any:
    from captum.attr import LayerGradientXActivation

    def difference(pixels: Tensor) -> Tensor:
        logits: Tensor = model(pixels)
        return logits[:, 0] - logits[:, 1]

    tokens: Tensor = LayerGradientXActivation(difference, model.blocks[-1].norm1).attribute(images.clone())
    return tokens.sum(dim=-1)


def grad_cam_map(model: Any, images: Tensor) -> Any:
    from pytorch_grad_cam import GradCAM

    rows, columns = model.patch_embed.grid_size

    def patches(tokens: Tensor) -> Tensor:
        image: Tensor = tokens[:, model.num_prefix_tokens :].unflatten(1, (rows, columns))
        return image.permute(0, 3, 1, 2)

    with GradCAM(model=model, target_layers=[model.blocks[-1].norm1], reshape_transform=patches) as cam:
        return cam(
            input_tensor=images.clone().requires_grad_(True),
            targets=[lambda logits: logits[0] - logits[1]] * len(images),
        )


def grad_cam_by_default(model: nn.Module, images: Tensor) -> Any:
    try:
        return grad_cam_map(model.requires_grad_(True), images)
    finally:
        model.requires_grad_(False).zero_grad()


def way(name: str, model: nn.Module, images: Tensor) -> Callable[[], Any]:
    if name == "forward":
        return lambda: torch.no_grad()(model)(images)
    correction, _, route = name.partition(" by ")
    if correction in CORRECTIONS:
        known: dict[str, Any] = {}
        if correction == "secant":
            with torch.no_grad():
                known = {"logits": model(images), "base": torch.zeros(len(images))}

        def drawn() -> Tensor:
            with only(route) if route else nullcontext():
                return interpret(model, images, 0, 1, correction=correction, **known).scores

        return drawn
    other = {
        "floor": floor,
        "plain": floor_by_torch,
        "explicit": explicit,
        "captum": captum_map,
        "grad-cam": grad_cam_map,
        "grad-cam*": grad_cam_by_default,
    }[name]
    return lambda: other(model, images)


def usable_ways(options: argparse.Namespace) -> list[str]:
    """The ways that are asked for but the peers that cannot be imported; says why on stderr."""
    asked = options.ways.split(",") if options.ways else WAYS
    usable = [name for name in WAYS if name == "floor" or name in asked]
    if options.device == "cpu":
        # Interpreted, its time says nothing.
        usable = [name for name in usable if not name.endswith("by kernel")]
    for name, module in PEERS.items():
        if name not in usable:
            continue
        try:
            importlib.import_module(module)
        except ImportError as error:
            print(f"{name} is left out: {error} (pip install 'gradattn[peers]')", file=sys.stderr)
            usable.remove(name)
    return usable


def loaded(options: argparse.Namespace, tokens: int) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    dtype = getattr(torch, options.dtype)
    model = timm.create_model(options.model, img_size=SIDES[tokens]).to(options.device, dtype).eval()
    images = torch.randn(options.batch, 3, SIDES[tokens], SIDES[tokens]).to(options.device, dtype)
    return model.requires_grad_(False), images


def synchronise(device: str) -> None:
    if device != "cpu":
        torch.accelerator.synchronize()


def measure_times(options: argparse.Namespace, tokens: int) -> dict[str, list[float]]:
    """Seconds of each repeat of each way, taken in turn so that a busy moment of the machine meets all of them."""
    model, images = loaded(options, tokens)
    calls = {name: way(name, model, images) for name in usable_ways(options)}
    clock = time.process_time if (options.threads, options.device) == (1, "cpu") else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(options.repeats + 1):
        for name, call in calls.items():
            synchronise(options.device)
            begin = clock()
            call()
            synchronise(options.device)
            if repeat:
                seconds[name].append(clock() - begin)
    return seconds


def measure_peak(options: argparse.Namespace, tokens: int, name: str) -> float:
    """Megabytes above the loaded model that one way needs at its worst moment."""
    model, images = loaded(options, tokens)
    call = way(name, model, images)
    if options.device != "cpu":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    # A first call on a shallow model makes the kernels' code, that of oneDNN for the very shapes: no cost of the call.
    shallow = timm.create_model(options.model, img_size=SIDES[tokens], depth=2).to(images.dtype).eval()
    way(name, shallow.requires_grad_(False), images)()
    del shallow
    # Linux forgets the greatest resident size of the loading when asked to.
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    call()
    return (resident("VmHWM") - before) / 2**10


def resident(field: str) -> int:
    """VmRSS (now) or VmHWM (the greatest since it was reset) of this process in kilobytes."""
    found = re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())
    if found is None:
        raise SystemExit("peak memory on a CPU is read from /proc, which only Linux has")
    return int(found[1])


def in_a_fresh_process(arguments: list[str]) -> Any:
    # glibc returns freed blocks above this size at once: without it the peak is that of the heap's holes.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"} if "times" not in arguments else None
    done = subprocess.run(
        [sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True, env=environment
    )
    return json.loads(done.stdout.splitlines()[-1])


def table(options: argparse.Namespace, arguments: list[str]) -> None:
    ways = usable_ways(options)
    print(f"{options.model}, batch {options.batch}, {options.dtype} on {options.device}, products in "
          f"{options.map_precision}, {options.threads} thread(s), "
          f"torch {torch.__version__}; {options.repeats} repeats\n")  # fmt: skip
    print("| tokens | floor, ms an image | floor, MB | " + " | ".join(ways) + " |")
    print("|---|---|---|" + "---|" * len(ways))
    for tokens in SIDES:
        if tokens == 4097 and not options.large:
            continue
        cell = [*arguments, "--tokens", str(tokens)]
        seconds = in_a_fresh_process([*cell, "--cell", "times"])
        peaks = {name: in_a_fresh_process([*cell, "--cell", name]) for name in ways}
        columns = [
            f"{statistics.median(a / b for a, b in zip(seconds[n], seconds['floor'], strict=True)):.2f} "
            f"({min(seconds[n]) / min(seconds['floor']):.2f}), {peaks[n] / peaks['floor']:.2f}"
            for n in ways
        ]
        milliseconds = statistics.median(seconds["floor"]) / options.batch * 1e3
        print(f"| {tokens:,} | {milliseconds:.0f} | {peaks['floor']:.0f} | " + " | ".join(columns) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vit_small_patch16_224", help="a timm ViT/16 with a class token")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--map-precision", default="float32", choices=("float32", "tf32"), help="on a GPU")
    parser.add_argument("--large", action="store_true", help="also 4,097 tokens")
    parser.add_argument("--ways", default="", metavar="NAME,…", help="only these; the floor always")
    parser.add_argument("--tokens", type=int, choices=sorted(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--cell", choices=("times", *WAYS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cell is None:
        table(options, sys.argv[1:])
        return
    with products_in(options.map_precision), full_float32(torch.device(options.device)):
        found = (
            measure_times(options, options.tokens)
            if options.cell == "times"
            else measure_peak(options, options.tokens, options.cell)
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
