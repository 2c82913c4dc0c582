"""``gradattn summary`` and ``gradattn pairs``."""

from __future__ import annotations

import argparse
from typing import Any

from gradattn_core.cli.arguments.shared import command, out_folder


def summary(commands: Any) -> None:
    parser = command(
        commands,
        "summary",
        "How many labels are wrong, in total and per class, the kinds of doubt, and how far the review is.",
        "  gradattn summary\n  gradattn summary --top 5 --json",
    )
    _which(parser)
    parser.add_argument("--top", type=int, default=10, metavar="N", help="how many classes, worst first (default 10)")


def pairs(commands: Any) -> None:
    parser = command(
        commands,
        "pairs",
        "Which class is polluted by which: given label, what its suspects look like, how many, and where to look.",
        "  gradattn pairs\n  gradattn pairs --given kite --top 3\n  gradattn pairs --json",
    )
    _which(parser)
    parser.add_argument("--given", metavar="LABEL", help="only this given label")
    parser.add_argument("--suggested", metavar="LABEL", help="only this suggested label")
    parser.add_argument("--top", type=int, default=20, metavar="N", help="how many pairs, worst first (default 20)")


def _which(parser: argparse.ArgumentParser) -> None:
    out_folder(parser)
    parser.add_argument("--audit", metavar="ID", help="which audit (default: the latest)")
    parser.add_argument("--json", action="store_true", help="JSON on standard output")
