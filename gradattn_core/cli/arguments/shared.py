"""What several commands have in common."""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Callable
from typing import Any

OUT = "gradattn-out"
RAW = argparse.RawDescriptionHelpFormatter
# The names that gradattn_core.interpret knows, written out so that --help does not import torch.
TWO_CLASSES = ("difference", "ratio", "quotient", "normalised")
SIGNED = ("complete", "centred")


def command(commands: Any, name: str, summary: str, examples: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=summary, epilog=f"examples:\n{examples}", formatter_class=RAW
    )
    parser.set_defaults(run=_late(name))
    return parser


def _late(name: str) -> Callable[[argparse.Namespace], int]:
    """The command's own module is only imported when it runs."""

    def run(options: argparse.Namespace) -> int:
        module = importlib.import_module(f"gradattn_core.cli.{name}")
        return int(module.run(options))

    return run


def out_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", default=OUT, metavar="DIR", help=f"output folder (default {OUT})")


def model(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model", metavar="M", help="timm Vision Transformer (default vit_small_patch16_224, published weights)"
    )
    group.add_argument("--checkpoint", metavar="FILE", help="safetensors, or a torch file of plain tensors")
    group.add_argument(
        "--model-arguments",
        type=json_object,
        default={},
        metavar="JSON",
        help="further arguments of timm.create_model, for example '{\"img_size\": 384}'",
    )
    group.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:1 … (default auto)")


def interpretation(parser: argparse.ArgumentParser, objectives: tuple[str, ...], corrections: tuple[str, ...]) -> None:
    group = parser.add_argument_group("interpretation")
    group.add_argument(
        "--objective",
        default="difference",
        choices=objectives,
        help="what is differentiated (default difference, the log-odds)",
    )
    group.add_argument(
        "--correction",
        default="complete",
        choices=corrections,
        help="how the gradient weights attention (default complete)",
    )


def output_style(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--quiet", action="store_true", help="no progress, no table")


def json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON ({error.msg})") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'{text!r} is not a JSON object such as {{"img_size": 384}}')
    return value
