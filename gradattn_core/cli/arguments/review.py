"""``gradattn ui`` and ``gradattn export``."""

from __future__ import annotations

from typing import Any

from gradattn_core.cli.arguments.shared import (
    command,
    out_folder,
)


def export(commands: Any) -> None:
    parser = command(
        commands,
        "export",
        "Write candidates as CSV: to FILE, or to the terminal.",
        "  gradattn export --csv candidates.csv\n"
        "  gradattn export --given kite --suggested 'bald eagle' --top 20\n"
        "  gradattn export --decided relabel --csv corrections.csv",
    )
    out_folder(parser)
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


def ui(commands: Any) -> None:
    parser = command(commands, "ui", "Open the review page on an audit's results.", "  gradattn ui --port 8600")
    out_folder(parser)
    parser.add_argument("--port", type=int, default=8501, metavar="N")
    parser.add_argument(
        "--address", default="localhost", metavar="HOST", help="whom to listen to (default: this machine only)"
    )
    parser.add_argument("--read-only", action="store_true", help="show, but take no decisions")
