"""What can be typed after ``gradattn``."""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Callable
from typing import Any

import gradattn_core

OUT = "gradattn-out"
_RAW = argparse.RawDescriptionHelpFormatter
# The names that gradattn_core.interpret knows, written out so that --help does not import torch.
_TWO_CLASSES = ("difference", "ratio", "quotient", "normalised")
_SIGNED = ("complete", "centred")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="gradattn",
        description="Find wrong labels in image datasets and show why.",
        epilog="examples:\n"
        "  gradattn demo\n"
        "  gradattn audit photos/                       # photos/<label>/*.jpg\n"
        "  gradattn audit labels.csv --model vit_base_patch16_224 --head probe\n"
        "  gradattn ui\n"
        "  gradattn export --min-suspicion 0.9 --csv worst.csv\n"
        "  gradattn explain bird.jpg --for kite --against 'bald eagle'",
        formatter_class=_RAW,
    )
    parser.add_argument("--version", action="version", version=f"gradattn {gradattn_core.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _audit(commands)
    _export(commands)
    _explain(commands)
    _ui(commands)
    _demo(commands)
    return parser


def _command(commands: Any, name: str, summary: str, examples: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=summary, epilog=f"examples:\n{examples}", formatter_class=_RAW
    )
    parser.set_defaults(run=_late(name))
    return parser


def _late(name: str) -> Callable[[argparse.Namespace], int]:
    """The command's own module is only imported when it runs."""

    def run(options: argparse.Namespace) -> int:
        module = importlib.import_module(f"gradattn_core.cli.{name}")
        return int(module.run(options))

    return run


def _audit(commands: Any) -> None:
    parser = _command(
        commands,
        "audit",
        "Sweep a dataset, rank its labels by suspicion, and interpret the suspects.",
        "  gradattn audit photos/\n"
        "  gradattn audit labels.csv --path-column file --label-column class --split train\n"
        "  gradattn audit photos/ --model vit_tiny_patch16_224 --checkpoint weights.safetensors --head as-is",
    )
    parser.add_argument(
        "dataset", metavar="DATASET", help="folder root/<label>/**/image, or a CSV/Parquet/JSONL manifest"
    )
    _out(parser)
    _model(parser)
    parser.add_argument(
        "--head",
        default="auto",
        choices=("auto", "as-is", "probe", "finetune"),
        help="who judges: the "
        "model's classifier, a K-fold linear probe, K-fold fine-tuning (default: as-is where the class "
        "names match, else probe)",
    )
    parser.add_argument(
        "--class-map", metavar="FILE", help="JSON or CSV (label, output): the model's output of each class"
    )
    parser.add_argument("--folds", type=int, default=5, metavar="K", help="folds of the cross-validation (default 5)")
    parser.add_argument("--interpret", default="suspects", choices=("suspects", "all"), help="which images get a map")
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.25,
        metavar="P",
        help="suspicion from which an image is a suspect although the model agrees with its label (default 0.25)",
    )
    _interpretation(parser, _TWO_CLASSES, _SIGNED)
    manifest = parser.add_argument_group("manifest")
    manifest.add_argument("--path-column", default="path", metavar="NAME")
    manifest.add_argument("--label-column", default="label", metavar="NAME")
    manifest.add_argument("--split-column", default="split", metavar="NAME")
    manifest.add_argument("--split", metavar="VALUE", help="only rows of this split")
    tuning = parser.add_argument_group("fine-tuning (--head finetune)")
    tuning.add_argument("--epochs", type=int, default=5)
    tuning.add_argument("--learning-rate", type=float, default=1e-4, metavar="RATE")
    tuning.add_argument("--from-scratch", action="store_true", help="begin from random weights")
    running = parser.add_argument_group("running")
    running.add_argument("--batch-size", type=int, default=32, metavar="N")
    running.add_argument(
        "--shard-size", type=int, default=1024, metavar="N", help="images kept together when interrupted"
    )
    running.add_argument("--workers", type=int, default=0, metavar="N", help="decoding threads (default: one per core)")
    running.add_argument("--seed", type=int, default=0)
    running.add_argument("--restart", action="store_true", help="begin anew instead of continuing or keeping a result")
    running.add_argument(
        "--flow", action="store_true", help="run as a Prefect flow: retries, artifacts, Prefect's page"
    )
    _output_style(parser)


def _export(commands: Any) -> None:
    parser = _command(
        commands,
        "export",
        "Write candidates as CSV: to FILE, or to the terminal.",
        "  gradattn export --csv candidates.csv\n"
        "  gradattn export --given kite --suggested 'bald eagle' --top 20\n"
        "  gradattn export --decided relabel --csv corrections.csv",
    )
    _out(parser)
    parser.add_argument("--audit", metavar="ID", help="which audit (default: the latest)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", metavar="FILE", help="where to write (default: standard output)")
    form.add_argument("--json", action="store_true", help="JSON records on standard output")
    parser.add_argument("--top", type=int, metavar="N", help="only the N most suspect")
    parser.add_argument(
        "--min-suspicion",
        type=float,
        metavar="X",
        help="all images of at least this suspicion, suspects or not; 0 gives every image",
    )
    parser.add_argument("--given", metavar="C", help="only this given label")
    parser.add_argument("--suggested", metavar="C", help="only this suggested label")
    parser.add_argument(
        "--decided",
        default="any",
        choices=("any", "yes", "no", "keep", "relabel", "remove", "unsure"),
        help="only with this state of review",
    )


def _explain(commands: Any) -> None:
    parser = _command(
        commands,
        "explain",
        "Show which parts of one picture speak for a class (red) and which for another (blue).",
        "  gradattn explain bird.jpg --for kite --against 'bald eagle' -o bird.png\n"
        "  gradattn explain bird.jpg --model vit_tiny_patch16_224 --checkpoint my.safetensors --for 21 -o bird.npz",
    )
    parser.add_argument("image", metavar="IMAGE")
    _model(parser)
    parser.add_argument(
        "--for", dest="target", required=True, metavar="CLASS", help="index, ImageNet wnid or class name"
    )
    parser.add_argument("--against", metavar="CLASS", help="the other class (default: the strongest other)")
    _interpretation(parser, ("logit", *_TWO_CLASSES), (*_SIGNED, "positive", "absolute"))
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="a .png picture or .npz numbers (default IMAGE-explained.png)"
    )
    _output_style(parser)


def _ui(commands: Any) -> None:
    parser = _command(commands, "ui", "Open the review page on an audit's results.", "  gradattn ui --port 8600")
    _out(parser)
    parser.add_argument("--port", type=int, default=8501, metavar="N")
    parser.add_argument(
        "--address", default="localhost", metavar="HOST", help="whom to listen to (default: this machine only)"
    )
    parser.add_argument("--read-only", action="store_true", help="show, but take no decisions")


def _demo(commands: Any) -> None:
    parser = _command(
        commands, "demo", "Audit handwritten digits with planted wrong labels, offline.", "  gradattn demo --out demo"
    )
    parser.add_argument("--out", default="demo", metavar="DIR", help="folder for dataset and results (default demo)")
    parser.add_argument("--flow", action="store_true", help="run as a Prefect flow")
    _output_style(parser)


def _out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", default=OUT, metavar="DIR", help=f"output folder (default {OUT})")


def _model(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model", metavar="M", help="timm Vision Transformer (default vit_small_patch16_224, published weights)"
    )
    group.add_argument("--checkpoint", metavar="FILE", help="safetensors, or a torch file of plain tensors")
    group.add_argument(
        "--model-arguments",
        type=_json_object,
        default={},
        metavar="JSON",
        help="further arguments of timm.create_model, for example '{\"img_size\": 384}'",
    )
    group.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:1 … (default auto)")


def _interpretation(parser: argparse.ArgumentParser, objectives: tuple[str, ...], corrections: tuple[str, ...]) -> None:
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


def _output_style(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--quiet", action="store_true", help="no progress, no table")


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON ({error.msg})") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'{text!r} is not a JSON object such as {{"img_size": 384}}')
    return value
