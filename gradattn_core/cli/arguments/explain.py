"""``gradattn explain``."""

from __future__ import annotations

from typing import Any

from gradattn_core.cli.arguments.shared import (
    SIGNED,
    TWO_CLASSES,
    command,
    interpretation,
    model,
    output_style,
)


def explain(commands: Any) -> None:
    parser = command(
        commands,
        "explain",
        "Show which parts of one picture speak for a class (red) and which for another (blue).",
        "  gradattn explain bird.jpg --for kite --against 'bald eagle' -o bird.png\n"
        "  gradattn explain bird.jpg --model vit_tiny_patch16_224 --checkpoint my.safetensors --for 21 -o bird.npz",
    )
    parser.add_argument("image", metavar="IMAGE")
    model(parser)
    parser.add_argument(
        "--for", dest="target", required=True, metavar="CLASS", help="index, ImageNet wnid or class name"
    )
    parser.add_argument("--against", metavar="CLASS", help="the other class (default: the strongest other)")
    interpretation(parser, ("logit", *TWO_CLASSES), (*SIGNED, "positive", "absolute"))
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="a .png picture or .npz numbers (default IMAGE-explained.png)"
    )
    output_style(parser)
