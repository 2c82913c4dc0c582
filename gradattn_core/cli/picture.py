"""What the ways of explaining have in common: the picture and its model, the options of a map, and what is written."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradattn_core.cli.options import model
from gradattn_core.errors import GradattnError
from gradattn_core.methods import PAPER_CORRECTIONS, Method, default_correction

if TYPE_CHECKING:
    from gradattn_core.interpret.explanation import ModelView
    from gradattn_core.records import Box
    from gradattn_core.render.figures import Style


def picture_options(parser: argparse.ArgumentParser, ending: str) -> None:
    """The picture, its model, and where the result goes: IMAGE-``ending``.png where nothing is said."""
    parser.set_defaults(ending=ending)
    parser.add_argument("image", metavar="IMAGE", help="file, or the URL of one")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help=f"a .png picture or .npz numbers (default IMAGE-{ending}.png)",
    )
    model(parser)


def class_options(parser: argparse.ArgumentParser, against: str = "the strongest other") -> None:
    """Both classes; ``against`` says which is taken for the other one where none is named."""
    parser.add_argument(
        "--for", dest="target", metavar="CLASS", help="index, ImageNet wnid or class name (default: the model's answer)"
    )
    parser.add_argument("--against", metavar="CLASS", help=f"the other class (default: {against})")


def map_options(
    parser: argparse.ArgumentParser, objectives: Sequence[str], corrections: Sequence[str] = PAPER_CORRECTIONS
) -> None:
    """How a map is made; no ``--objective`` where there is nothing to choose.

    Where *secant* is among the corrections, none is chosen until :func:`chosen_method` is asked.
    """
    group = parser.add_argument_group("interpretation")
    if objectives:
        group.add_argument(
            "--objective",
            default=Method().objective,
            choices=objectives,
            help=f"what is differentiated (default {Method().objective}, the log-odds)",
        )
    has_secant = "secant" in corrections
    default = "secant, whose map adds up to the answer" if has_secant else Method().correction
    fractions = ", of a fraction complete" if has_secant and len(objectives) > 1 else ""
    also = "; all draws the paper's four side by side" if "all" in corrections else ""
    group.add_argument(
        "--correction",
        default=None if has_secant else Method().correction,
        choices=corrections,
        help=f"how the map is made (default {default}{fractions}){also}",
    )


def chosen_method(options: argparse.Namespace) -> Method:
    """As the options say; *secant* where no correction was chosen and it explains the objective."""
    return Method(options.objective, options.correction or default_correction(options.objective))


def drawing_options(parser: argparse.ArgumentParser) -> None:
    """How maps are drawn."""
    group = parser.add_argument_group("drawing")
    group.add_argument(
        "--palette",
        default="red-blue",
        choices=("red-blue", "orange-purple"),
        help="orange-purple suits every common colour vision (default red-blue)",
    )
    group.add_argument(
        "--paper", default="light", choices=("light", "dark"), help="dark for pages that are dark themselves"
    )
    group.add_argument("--patches", action="store_true", help="draw each patch as a rectangle instead of smoothly")
    group.add_argument(
        "--opacity", type=float, default=0.8, metavar="X", help="of the strongest colour, 0 to 1 (default 0.8)"
    )


def output_file(options: argparse.Namespace) -> Path:
    """Where the result goes.

    Raises:
        GradattnError: neither a picture nor numbers can be written there.
    """
    file = Path(options.output or f"{Path(options.image).stem}-{options.ending}.png")
    if file.suffix.lower() not in (".png", ".npz"):
        raise GradattnError(f"output {file}: end the name in .png for a picture or in .npz for the numbers")
    if not file.absolute().parent.is_dir():
        raise GradattnError(f"output {file}: its folder is not there")
    return file


def open_view(options: argparse.Namespace) -> ModelView:
    """The picture, opened, as the model that is asked about it sees it."""
    from gradattn_core.config import ModelSpec
    from gradattn_core.interpret.explanation import ModelView

    return ModelView.open(
        options.image, ModelSpec(options.model, options.checkpoint, options.model_arguments), options.device
    )


def style(options: argparse.Namespace, side: int | None = None) -> Style:
    """As the options say; pictures of ``side`` pixels where the figure has a size of its own."""
    from gradattn_core.render.figures import Style

    return Style(
        side or Style.side,
        options.opacity,
        smooth=not options.patches,
        palette=options.palette,
        unsigned=options.correction == "absolute",
        paper=options.paper,
    )


def write_numbers(file: Path, provenance: object, crop: Box, **arrays: Any) -> None:
    """One .npz of arrays, of how they were made as JSON, and of what they cover in pixels of the original picture."""
    import numpy as np

    edges = np.array([crop.left, crop.top, crop.right, crop.bottom])
    np.savez_compressed(file, crop=edges, provenance=json.dumps(provenance), **arrays)
