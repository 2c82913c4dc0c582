"""``gradattn ui``, ``gradattn rerank`` and ``gradattn export``."""

from __future__ import annotations

import argparse

from gradattn_core.cli.options import Commands, command, out_folder, output_style


def export(commands: Commands) -> None:
    parser = command(
        commands,
        "export",
        "Write candidates, decisions, the corrected labels or the list of removals, to a file or to the terminal.",
        "  gradattn export --csv candidates.csv\n"
        "  gradattn export --given kite --suggested 'bald eagle' --top 20\n"
        "  gradattn export --decided relabel --csv corrections.csv\n"
        "  gradattn export decisions --reviewer ann -o log.parquet\n"
        "  gradattn export corrected -o photos/corrected.csv && gradattn audit photos/corrected.csv",
    )
    parser.add_argument(
        "table",
        metavar="WHAT",
        nargs="?",
        default="candidates",
        choices=("candidates", "decisions", "corrected", "removals"),
        help="candidates (default); decisions, the log of all audits; corrected, a manifest path,label of the whole "
        "audit with standing relabels applied and removed images left out; removals, the images to take away",
    )
    out_folder(parser)
    parser.add_argument("--audit", metavar="ID", help="which audit (default: the latest; decisions: of all)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("-o", "--output", metavar="FILE", help="where to write (default: standard output)")
    form.add_argument("--csv", metavar="FILE", help="write CSV there")
    form.add_argument("--json", action="store_true", help="JSON records on standard output")
    parser.add_argument(
        "--format",
        choices=("csv", "parquet", "json", "jsonl"),
        help="default: the ending of FILE, else csv; cells of CSV that a spreadsheet would run as a formula start "
        "with an apostrophe, except in corrected, which gradattn audit reads (as csv, parquet or jsonl)",
    )
    parser.add_argument(
        "--data-root",
        metavar="DIR",
        help="the folder that the paths of corrected start from (default: the dataset's root as audited); they are "
        "absolute, but relative where they lie below the folder of FILE",
    )
    _rows(parser)


def _rows(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("rows of candidates and decisions")
    group.add_argument("--top", type=int, metavar="N", help="only the first N: the most suspect, the newest")
    group.add_argument(
        "--min-suspicion",
        type=float,
        metavar="X",
        help="all images of at least this suspicion, suspects or not; 0 gives every image",
    )
    group.add_argument("--max-suspicion", type=float, metavar="X", help="only images of at most this suspicion")
    group.add_argument("--given", metavar="C", help="only this given label")
    group.add_argument("--suggested", metavar="C", help="only this suggested label")
    group.add_argument("--kind", metavar="K", help="only this kind of doubt, for example 'two objects'")
    group.add_argument(
        "--decided",
        choices=("any", "yes", "no", "keep", "relabel", "remove", "unsure", "undo"),
        help="only with this state of review",
    )
    group.add_argument("--reviewer", metavar="NAME", help="only where this reviewer decided")
    group.add_argument("--path-contains", metavar="TEXT", help="only with this text in the path")
    group.add_argument(
        "--order", choices=("rank", "pair", "similar", "path", "decided"), help="of candidates (default rank)"
    )
    group.add_argument("--standing", action="store_true", help="only decisions that stand")
    group.add_argument("--conflicts", action="store_true", help="only last words of reviewers who differ")


def rerank(commands: Commands) -> None:
    parser = command(
        commands,
        "rerank",
        "Order the suspects that are still undecided by what the decisions so far have shown, if that is better.",
        "  gradattn rerank\n"
        "  gradattn rerank --dry-run                    # what would come of it; changes nothing\n"
        "  gradattn rerank results/ --audit 20261101T0300-0a1b2c3d\n"
        "  gradattn rerank --reset                      # back to the audit's own order",
    )
    # Absent, it must leave --out alone.
    parser.add_argument("out", metavar="DIR", nargs="?", default=argparse.SUPPRESS, help="output folder, as --out")
    out_folder(parser)
    parser.add_argument("--audit", metavar="ID", help="which audit (default: the latest)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--reset", action="store_true", help="back to the order and the suspicions of the audit")
    form.add_argument("--dry-run", action="store_true", help="learn and report, but change nothing")
    output_style(parser)


def ui(commands: Commands) -> None:
    parser = command(commands, "ui", "Open the review page on an audit's results.", "  gradattn ui --port 8600")
    out_folder(parser)
    parser.add_argument("--port", type=int, default=8501, metavar="N")
    parser.add_argument(
        "--address", default="localhost", metavar="HOST", help="whom to listen to (default: this machine only)"
    )
    parser.add_argument("--read-only", action="store_true", help="show, but take no decisions")
    parser.add_argument(
        "--data-root",
        metavar="DIR",
        help="where the dataset's images are now, if they were moved since the audit (default: $GRADATTN_DATA_ROOT, "
        "else where the audit found them)",
    )
