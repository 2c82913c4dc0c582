"""What can be typed after ``gradattn``."""

from __future__ import annotations

import gradattn_core
from gradattn_core.cli.arguments import apply, audit, explain, findings, review, schedule
from gradattn_core.cli.options import CommandParser

__all__ = ["build_parser"]


def build_parser() -> CommandParser:
    """The whole command line."""
    parser = CommandParser(
        prog="gradattn",
        description="Find wrong labels in image datasets and show why.",
        epilog="examples:\n"
        "  gradattn demo\n"
        "  gradattn audit photos/                       # photos/<label>/*.jpg\n"
        "  gradattn audit labels.csv --model vit_base_patch16_224 --head probe\n"
        "  gradattn ui\n"
        "  gradattn export --min-suspicion 0.9 --csv worst.csv\n"
        "  gradattn apply --to corrected/\n"
        "  gradattn schedule add photos/ --cron '0 3 * * 1' && gradattn worker\n"
        "  gradattn explain bird.jpg --for kite --against 'bald eagle'",
    )
    parser.add_argument("--version", action="version", version=f"gradattn {gradattn_core.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    reading = (findings.summary, findings.pairs, findings.diff)
    reviewing = (review.ui, review.rerank, review.export, apply.apply)
    scheduling = (schedule.schedule, schedule.worker)
    for add in (audit.audit, *reading, *reviewing, *scheduling, explain.explain, audit.demo):
        add(commands)
    return parser
