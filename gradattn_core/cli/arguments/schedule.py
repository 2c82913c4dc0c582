"""``gradattn schedule`` and ``gradattn worker``."""

from __future__ import annotations

import argparse

from gradattn_core.cli.arguments.audit import audit_options
from gradattn_core.cli.options import CommandParser, Commands, command

# The name that flows.schedules knows, written out so that --help does not import Prefect.
POOL = "gradattn"


def schedule(commands: Commands) -> None:
    parser = command(
        commands,
        "schedule",
        "Audit a dataset again and again: make, list, run, pause and remove schedules. gradattn worker serves them.",
        "  gradattn schedule add photos/ --cron '0 3 * * 1' --timezone Europe/Berlin\n"
        "  gradattn schedule add labels.csv --every 6h --name birds --head probe\n"
        "  gradattn schedule list\n"
        "  gradattn schedule run photos",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    _add(actions)
    listing = _action(actions, "list", "What is scheduled, when it runs next, and how it went.", "")
    _output_style(listing)
    for name, summary in (
        ("run", "Run an audit now, beside its schedule."),
        ("pause", "Let no further run fall due until it is resumed."),
        ("resume", "Let a paused schedule run again."),
        ("remove", "Remove a schedule; what its audits found stays."),
    ):
        one = _action(actions, name, summary, f"  gradattn schedule {name} photos")
        one.add_argument("name", metavar="NAME", help="as gradattn schedule list shows it")
        _output_style(one)


def worker(commands: Commands) -> None:
    parser = command(
        commands,
        "worker",
        "Serve the schedules: run each audit when it is due, in a process of its own, until this is stopped.",
        "  gradattn worker                      # with a Prefect server of its own, where none is set\n"
        "  PREFECT_API_URL=http://server:4200/api gradattn worker --limit 2",
    )
    _pool(parser)
    parser.add_argument("--limit", type=int, default=1, metavar="N", help="how many audits at a time (default 1)")
    parser.add_argument(
        "--name", metavar="NAME", help="what Prefect's page calls it; keep it to continue runs that it left"
    )
    parser.add_argument(
        "--health-port", type=int, metavar="N", help="answer /health there, for this machine only (default: nowhere)"
    )
    parser.add_argument("--json", action="store_true", help="where Prefect's page is, as one JSON object, at the start")
    parser.add_argument("--quiet", action="store_true", help="warnings only")


def _add(actions: Commands) -> None:
    parser = _action(
        actions,
        "add",
        "Schedule an audit; a schedule of the same name is updated. Every option of gradattn audit may be given.",
        "  gradattn schedule add photos/ --cron '0 3 * * 1' --timezone Europe/Berlin\n"
        "  gradattn schedule add photos/ --every 1d --notify-above 10 --webhook https://example.org/hook\n"
        "  gradattn schedule add /data/photos --out /results --cron '@daily' --elsewhere",
    )
    audit_options(parser)
    timing = parser.add_argument_group("schedule")
    when = timing.add_mutually_exclusive_group(required=True)
    when.add_argument("--cron", metavar="EXPR", help="minute hour day month weekday, such as '0 3 * * 1'")
    when.add_argument("--every", metavar="INTERVAL", help="such as 30m, 6h, 1d, 2w; counted from midnight")
    timing.add_argument("--timezone", metavar="ZONE", help="of the tz database, such as Europe/Berlin (default UTC)")
    timing.add_argument("--name", metavar="NAME", help="of the schedule (default: the dataset's)")
    timing.add_argument(
        "--elsewhere", action="store_true", help="the paths are another machine's: do not look for them here"
    )
    _pool(timing)
    after = parser.add_argument_group("after a run")
    after.add_argument("--notify-above", type=int, metavar="N", help="emit an event if more suspects than N are new")
    after.add_argument("--webhook", metavar="URL", help="post that event there (implies --notify-above 0)")
    after.add_argument(
        "--page-url", metavar="URL", help="of the review page, for the run to link to (default: $GRADATTN_PAGE_URL)"
    )
    _output_style(parser)


def _action(actions: Commands, name: str, summary: str, examples: str) -> CommandParser:
    epilog = f"examples:\n{examples}" if examples else None
    return actions.add_parser(name, help=summary, description=summary, epilog=epilog)


def _pool(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    parser.add_argument(
        "--pool", default=POOL, metavar="NAME", help=f"Prefect work pool between schedules and workers (default {POOL})"
    )


def _output_style(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="the answer as JSON on standard output")
    parser.add_argument("--quiet", action="store_true", help="no progress, no confirmation")
