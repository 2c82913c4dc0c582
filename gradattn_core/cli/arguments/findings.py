"""``gradattn summary``, ``gradattn pairs`` and ``gradattn diff``."""

from __future__ import annotations

import argparse

from gradattn_core.cli.options import Commands, command, out_folder, output_style


def summary(commands: Commands) -> None:
    parser = command(
        commands,
        "summary",
        "How many labels are wrong, in total and per class, the kinds of doubt, and how far the review is.",
        "  gradattn summary\n  gradattn summary --top 5 --json",
    )
    _which(parser)
    parser.add_argument("--top", type=int, default=10, metavar="N", help="how many classes, worst first (default 10)")


def pairs(commands: Commands) -> None:
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


def diff(commands: Commands) -> None:
    parser = command(
        commands,
        "diff",
        "What a second audit of a dataset has that the first had not: suspects, images, labels.",
        "  gradattn diff                                # the newest audit against the one of its dataset before\n"
        "  gradattn diff 20261101T0300-0a1b2c3d 20261108T0300-4e5f6a7b --top 50\n"
        "  gradattn diff --csv new.csv",
    )
    parser.add_argument(
        "audits",
        metavar="AUDIT",
        nargs="*",
        help="the earlier and the later audit; of one, the difference to the one of the same dataset before it "
        "(default: of the newest)",
    )
    out_folder(parser)
    parser.add_argument("--top", type=int, default=10, metavar="N", help="how many of each list (default 10)")
    parser.add_argument(
        "--csv",
        metavar="FILE",
        help="write all new suspects there; cells that a spreadsheet would run as a formula start with an apostrophe",
    )
    output_style(parser)


def _which(parser: argparse.ArgumentParser) -> None:
    out_folder(parser)
    parser.add_argument("--audit", metavar="ID", help="which audit (default: the latest)")
    parser.add_argument("--json", action="store_true", help="JSON on standard output")
