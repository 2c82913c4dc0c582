"""A pass and a map on a CPU by plain torch, as they are made here, and by OpenVINO where that is installed.

    python -m bench.libraries [--model vit_tiny_patch16_224 …] [--threads 1 2] [--batch 32] [--repeats 7]

All ways take turns in one process; a number is the median over the repeats, and of one thread processor time, of more
the time on the wall, which says something on an idle machine only. ``off`` is how far the features are from those of
plain torch in float32, root mean square, as a share of theirs. Weights are random, which costs no time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec

import timm
import torch
from torch import Tensor, nn

from gradattn_core.attention.onednn import linear_by_torch
from gradattn_core.interpret import interpret
from gradattn_core.model.forward import forward, outputs
from gradattn_core.model.openvino_passes import begun_pass

_MAPS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["vit_tiny_patch16_224", "vit_small_patch16_224"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    head = (
        "model",
        "threads",
        "ms a picture",
        "plain torch",
        "here",
        "OpenVINO",
        "here to torch",
        "to OpenVINO",
        "off",
    )
    print(f"| {' | '.join(head)} |\n|---|---:|---|{'---:|' * 6}")
    for name in options.model:
        torch.manual_seed(0)
        model = timm.create_model(name, num_classes=1000).eval().requires_grad_(False)
        images = torch.randn(options.batch, 3, *model.patch_embed.img_size)
        for threads in options.threads:
            torch.set_num_threads(threads)
            show(name, model, images, threads, options.repeats)


def show(name: str, model: nn.Module, images: Tensor, threads: int, repeats: int) -> None:
    """Print a row for each precision of a pass, and for maps."""
    clock = time.process_time if threads == 1 else time.perf_counter
    exact = _plain(model, images, "float32")
    table = {precision: _ways(model, images, precision) for precision in ("float32", "bfloat16")}
    few = images[:_MAPS]
    table["a map, float32"] = {
        "torch": lambda: _by_torch(lambda: interpret(model, few, 1, 2).scores),
        "here": lambda: interpret(model, few, 1, 2).scores,
    }
    for what, ways in table.items():
        answers = {way: call() for way, call in ways.items()}
        spent: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(repeats):
            for way, call in ways.items():
                start = clock()
                call()
                spent[way].append(clock() - start)
        count = len(few) if "map" in what else len(images)
        print(f"| {name} | {threads} | {what} {_row(spent, count)} {_off(answers, exact, what)} |", flush=True)


def _row(spent: Mapping[str, list[float]], count: int) -> str:
    usual = {way: 1e3 * statistics.median(times) / count for way, times in spent.items()}
    cells = [f"{usual[way]:.2f}" if way in usual else "–" for way in ("torch", "here", "openvino")]
    for way in ("torch", "openvino"):
        ratios = [one / other for one, other in zip(spent["here"], spent.get(way, []), strict=False)]
        cells.append(f"{statistics.median(ratios):.2f}" if ratios else "–")
    return "| " + " | ".join(cells) + " |"


def _off(answers: Mapping[str, Tensor], exact: Tensor, what: str) -> str:
    if "map" in what:
        return f"{float((answers['here'] - answers['torch']).norm() / answers['torch'].norm()):.1e}"
    return ", ".join(f"{way} {float((found - exact).norm() / exact.norm()):.2%}" for way, found in answers.items())


def _by_torch(call: Callable[[], Tensor]) -> Tensor:
    with linear_by_torch():
        return call()


def _ways(model: nn.Module, images: Tensor, precision: str) -> dict[str, Callable[[], Tensor]]:
    """The features of a pass, by whoever computes it."""
    ways: dict[str, Callable[[], Tensor]] = {
        "torch": lambda: _plain(model, images, precision),
        "here": lambda: forward(model, images, precision).features,
    }
    if find_spec("openvino") is not None:
        ways["openvino"] = lambda: begun_pass(model, images, precision)().features
    return ways


def _plain(model: nn.Module, images: Tensor, precision: str) -> Tensor:
    """The features by torch alone, in half precision by its autocast."""
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")
    with torch.inference_mode(), autocast:
        found = outputs(model, images)[2].float()
    return found


if __name__ == "__main__":
    main()
