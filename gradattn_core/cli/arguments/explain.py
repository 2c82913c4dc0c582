"""``gradattn explain``: its options, and which of them go together."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

from gradattn_core.cli.options import Commands, command, model, output_style
from gradattn_core.errors import GradattnError
from gradattn_core.methods import CORRECTIONS, OBJECTIVES

# What each way of explaining takes, with the value where nothing is typed. Options are None until they are settled, so
# that one that means nothing in this way is refused instead of silently ignored.
_CLASSES: dict[str, Any] = {"target": None, "against": None}
_MAP: dict[str, Any] = {"objective": "difference", "correction": "complete"}
_TAKES: dict[str, dict[str, Any]] = {
    "pair": {**_CLASSES, **_MAP},
    "detail": _MAP,
    "guide": {**_CLASSES, **_MAP, "side": "right", "ratio": 0.5, "fit": "stretch"},
    "transfer": {
        **_CLASSES,
        "correction": "complete",
        "steps": 12,
        "rate": 4e-4,
        "optimiser": "sgd",
        "renormalise": False,
        "grad_mode": "full",
    },
    "rewrite": {**_CLASSES, "correction": "complete", "steps": 20, "budget": 4.0},
}
_RUNS = {"transfer": ("alter", "run_transfer"), "rewrite": ("alter", "run_rewrite")}
_TYPED = {"target": "--for", "grad_mode": "--grad-mode"}


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "explain",
        _run,
        "Show which parts of one picture speak for a class (red) and which for another (blue).",
        "  gradattn explain bird.jpg                                        # the model's answer against its second\n"
        "  gradattn explain bird.jpg --for kite --against 'bald eagle' -o bird.png\n"
        "  gradattn explain bird.jpg --model vit_tiny_patch16_224 --checkpoint my.safetensors --for 21 -o bird.npz\n"
        "  gradattn explain bird.jpg --for kite --correction all            # the four corrections side by side\n"
        "  gradattn explain zoo.jpg --detail 3                              # the three likeliest classes in pairs\n"
        "  gradattn explain zoo.jpg --detail zebra 'African elephant' ostrich\n"
        "  gradattn explain bird.jpg --for kite --guide dog.jpg cat.jpg --side left --ratio 0.6 --fit crop\n"
        "  gradattn explain bird.jpg --for kite --transfer --steps 12 --optimiser adam -o film.png\n"
        "  gradattn explain bird.jpg --for kite --against 'bald eagle' --rewrite --budget 2",
    )
    parser.add_argument("image", metavar="IMAGE", help="file, or the URL of one")
    parser.add_argument(
        "--for", dest="target", metavar="CLASS", help="index, ImageNet wnid or class name (default: the model's answer)"
    )
    parser.add_argument(
        "--against",
        metavar="CLASS",
        help="the other class (default: the strongest other; with --guide what the model sees in the guide)",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="a .png picture or .npz numbers (default IMAGE-explained.png, IMAGE-transfer.png, IMAGE-rewritten.png)",
    )
    model(parser)
    _map_options(parser)
    _ways(parser)
    _drawing(parser)
    output_style(parser)


def _map_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("interpretation")
    group.add_argument(
        "--objective",
        choices=OBJECTIVES,
        help="what is differentiated (default difference, the log-odds)",
    )
    group.add_argument(
        "--correction",
        choices=(*CORRECTIONS, "all"),
        help="how the gradient weights attention (default complete); all draws the four side by side",
    )


def _ways(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("other ways of explaining (one at a time)")
    group.add_argument(
        "--detail", nargs="+", metavar="K", help="every pair of the K likeliest classes, or of the classes named here"
    )
    group.add_argument(
        "--guide", nargs="+", metavar="FILE", help="join a picture of another class to this one; of several, the mean"
    )
    group.add_argument("--side", choices=("left", "right", "top", "bottom"), help="where the guide is (default right)")
    group.add_argument(
        "--ratio", type=float, metavar="R", help="share of the model's input for the picture itself (default 0.5)"
    )
    group.add_argument(
        "--fit", choices=("crop", "pad", "stretch"), help="how both are brought to their parts' shape (default stretch)"
    )
    group.add_argument(
        "--transfer", action="store_true", help="change only the attention until the class fades, and show the way"
    )
    group.add_argument(
        "--steps", type=int, metavar="N", help="steps of --transfer (default 12), --rewrite (default 20)"
    )
    group.add_argument("--rate", type=float, metavar="X", help="length of a step of --transfer (default 4e-4)")
    group.add_argument("--optimiser", choices=("sgd", "adam"), help="of --transfer (default sgd)")
    group.add_argument(
        "--renormalise", action="store_true", default=None, help="let each row of changed attention sum to 1 again"
    )
    group.add_argument(
        "--grad-mode", choices=("full", "frozen"), help="gradient through later layers too, or not (default full)"
    )
    group.add_argument(
        "--rewrite", action="store_true", help="change the pixels until the model names the class of --against"
    )
    group.add_argument(
        "--budget", type=float, metavar="X", help="of --rewrite: most change of a pixel, in 8-bit steps (default 4)"
    )


def _drawing(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("drawing")
    group.add_argument(
        "--palette",
        default="red-blue",
        choices=("red-blue", "orange-purple"),
        help="orange-purple suits every common colour vision (default red-blue)",
    )
    group.add_argument("--patches", action="store_true", help="draw each patch as a rectangle instead of smoothly")
    group.add_argument(
        "--opacity", type=float, default=0.8, metavar="X", help="of the strongest colour, 0 to 1 (default 0.8)"
    )


def settle(options: argparse.Namespace) -> str:
    """Which way of explaining is asked for; gives its untyped options their values.

    Returns:
        ``pair``, ``detail``, ``guide``, ``transfer`` or ``rewrite``.

    Raises:
        GradattnError: options that do not go together; the message names them.
    """
    asked = [way for way in _TAKES if getattr(options, way, None)]
    if len(asked) > 1:
        raise GradattnError(f"--{asked[0]} and --{asked[1]} are different explanations; ask for one at a time")
    way = asked[0] if asked else "pair"
    takes = _TAKES[way]
    for name in dict.fromkeys(option for ways in _TAKES.values() for option in ways):
        if name not in takes and getattr(options, name) is not None:
            raise GradattnError(_misplaced(name, way))
        if name in takes and getattr(options, name) is None:
            setattr(options, name, takes[name])
    if options.correction == "all" and way != "pair":
        raise GradattnError(f"--correction all compares one pair of classes; choose one correction for --{way}")
    return way


def _misplaced(name: str, way: str) -> str:
    option = _TYPED.get(name, f"--{name}")
    if name in _CLASSES:
        return f"{option} does not go with --detail, which takes classes itself: --detail 3, or --detail CLASS CLASS"
    if name in _MAP:
        return f"{option} does not go with --{way}"
    ways = [f"--{other}" for other, takes in _TAKES.items() if name in takes]
    return f"{option} goes with {' or '.join(ways)}" + ("" if way == "pair" else f", not with --{way}")


def _run(options: argparse.Namespace) -> int:
    way = settle(options)
    module, function = _RUNS.get(way, ("explain", f"run_{way}"))
    return int(getattr(importlib.import_module(f"gradattn_core.cli.{module}"), function)(options))
