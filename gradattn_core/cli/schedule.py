"""``gradattn schedule`` and ``gradattn worker``: audits that come back."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from rich.table import Table

from gradattn_core.cli.audit import audit_config, audit_options
from gradattn_core.cli.options import CommandParser, Commands, command
from gradattn_core.cli.terminal import console, escape, print_json, table, tell

if TYPE_CHECKING:
    from flows.status import ScheduleStatus


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "schedule",
        run_list,
        "Audit a dataset again and again: make, list, run, pause and remove schedules. gradattn worker serves them.",
        "  gradattn schedule add photos/ --cron '0 3 * * 1' --timezone Europe/Berlin\n"
        "  gradattn schedule add labels.csv --every 6h --name birds --head probe\n"
        "  gradattn schedule list\n"
        "  gradattn schedule run photos",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_add(actions)
    _output_style(command(actions, "list", run_list, "What is scheduled, when it runs next, and how it went.", ""))
    for name, run, summary in (
        ("run", run_now, "Run an audit now, beside its schedule."),
        ("pause", partial(run_pause, paused=True), "Let no further run fall due until it is resumed."),
        ("resume", partial(run_pause, paused=False), "Let a paused schedule run again."),
        ("remove", run_remove, "Remove a schedule; what its audits found stays."),
    ):
        one = command(actions, name, run, summary, f"  gradattn schedule {name} photos")
        one.add_argument("name", metavar="NAME", help="as gradattn schedule list shows it")
        _output_style(one)
    _add_worker(commands)


def run_add(options: argparse.Namespace) -> int:
    """Schedule an audit, or change its schedule."""
    config = audit_config(options)
    _reach(options)
    from flows.notify import Notice
    from flows.schedules import POOL, add, cron, every

    timing = (
        cron(options.cron, options.timezone) if options.cron is not None else every(options.every, options.timezone)
    )
    notice = Notice(options.notify_above, options.webhook, options.page_url)
    added = add(
        config,
        timing,
        name=options.name,
        pool=options.pool or POOL,
        notice=notice,
        elsewhere=options.elsewhere,
    )
    done = "added" if added.created else "updated"
    paused = "; it is paused, gradattn schedule resume lets it run" if added.paused else ""
    other_pool = "" if added.pool == POOL else f" --pool {added.pool}"
    sentences = (
        f"{done} schedule {added.name}: {added.schedule}{paused}",
        f"dataset  {added.dataset}",
        f"output   {added.out}",
        f"served by gradattn worker{other_pool}",
    )
    tell(options, added, sentences)
    return 0


def run_list(options: argparse.Namespace) -> int:
    """Show every schedule."""
    _reach(options)
    from flows.status import schedules

    listed = schedules(start=True)
    # --quiet leaves out what is said beside the answer, and this is the answer.
    if options.json:
        print_json(listed)
    elif not listed:
        print("no schedule yet; gradattn schedule add makes one")
    else:
        console().print(_table(listed))
    return 0


def run_now(options: argparse.Namespace) -> int:
    """Ask for a run beside the schedule."""
    _reach(options)
    from flows.schedules import run

    identity, served = run(options.name)
    wait = "" if served else "; no worker is there to take it, start gradattn worker"
    tell(
        options,
        {"flow_run": identity, "worker": served},
        [f"run of {options.name} asked for ({identity}){wait}"],
    )
    return 0


def run_pause(options: argparse.Namespace, *, paused: bool) -> int:
    """Pause a schedule or let it run again."""
    _reach(options)
    from flows.schedules import pause

    changed = pause(options.name, paused=paused)
    state = f"{'paused' if paused else 'active'}{'' if changed else ' already'}"
    facts = {"name": options.name, "paused": paused, "changed": changed}
    tell(options, facts, [f"schedule {options.name} is {state}"])
    return 0


def run_remove(options: argparse.Namespace) -> int:
    """Remove a schedule."""
    _reach(options)
    from flows.schedules import remove

    remove(options.name)
    tell(options, {"name": options.name, "removed": True}, [f"removed schedule {options.name}; its results stay"])
    return 0


def run_worker(options: argparse.Namespace) -> int:
    """Serve schedules until stopped."""
    quiet = options.quiet or options.json
    if not quiet:
        print("reaching Prefect …", file=sys.stderr)
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING" if quiet else "INFO")
    # A server whose database is away says 500, and Prefect's client would not ask again. Its runs inherit this.
    os.environ.setdefault("PREFECT_CLIENT_RETRY_EXTRA_CODES", "500")
    from flows.schedules import POOL
    from flows.worker import default_name, work

    pool = options.pool or POOL

    def started(page: str, own: bool) -> None:
        ends = ", which ends with this command" if own else ""
        sentence = f"serving work pool {pool}; Prefect's page is {page}{ends}. Ctrl-C stops."
        tell(options, {"page": page, "pool": pool, "own_server": own}, [sentence])
        sys.stdout.flush()

    work(
        pool,
        name=options.name or default_name(),
        limit=options.limit,
        numbered=options.numbered,
        health_port=options.health_port,
        started=started,
    )
    return 0


def _add_add(actions: Commands) -> None:
    parser = command(
        actions,
        "add",
        run_add,
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


def _add_worker(commands: Commands) -> None:
    parser = command(
        commands,
        "worker",
        run_worker,
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
        "--numbered",
        action="store_true",
        help="where a worker of that name runs here, be called NAME 2 and so on, instead of refusing",
    )
    parser.add_argument(
        "--health-port", type=int, metavar="N", help="answer /health there, for this machine only (default: nowhere)"
    )
    parser.add_argument("--json", action="store_true", help="where Prefect's page is, as one JSON object, at the start")
    parser.add_argument("--quiet", action="store_true", help="warnings only")


def _pool(parser: CommandParser | argparse._ArgumentGroup) -> None:
    parser.add_argument(
        "--pool",
        metavar="NAME",
        help="Prefect work pool between schedules and workers (default: the one that both use unasked)",
    )


def _output_style(parser: CommandParser) -> None:
    parser.add_argument("--json", action="store_true", help="the answer as JSON on standard output")
    parser.add_argument("--quiet", action="store_true", help="no progress, no confirmation")


def _reach(options: argparse.Namespace) -> None:
    """Before Prefect is imported, which takes seconds: say so, and keep its lines for its own page."""
    if sys.stderr.isatty() and not (options.quiet or options.json):
        print("asking Prefect …", file=sys.stderr)
    # What is wrong comes out as one sentence.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    # Nobody waits a minute at a terminal to be told that the database is away.
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "2")


def _table(listed: list[ScheduleStatus]) -> Table:
    drawn = table(["name", "dataset", "schedule", "next run", "last run", "state"])
    for schedule in listed:
        name = schedule.deployment.partition("/")[2]
        state = schedule.state if schedule.active or schedule.state == "running" else "paused"
        state = state.replace("_", " ")
        due = f"{datetime.fromisoformat(schedule.next_run):%Y-%m-%d %H:%M} UTC" if schedule.next_run else ""
        drawn.add_row(*map(escape, (name, schedule.dataset, schedule.schedule, due, schedule.last_run, state)))
    return drawn
