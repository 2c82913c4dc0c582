"""``gradattn schedule``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from gradattn_core.cli.wording import escape

if TYPE_CHECKING:
    import pandas as pd


def run(options: argparse.Namespace) -> int:
    """Do what was asked of the schedules."""
    if not (options.quiet or options.json):
        print("asking Prefect …", file=sys.stderr)
    # Its lines are for its page; what is wrong comes out as one sentence.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    {"add": _add, "list": _list, "run": _run, "pause": _pause, "resume": _pause, "remove": _remove}[options.action](
        options
    )
    return 0


def _add(options: argparse.Namespace) -> None:
    from flows.notify import Notice
    from flows.schedules import add, cron, every
    from gradattn_core.cli.audit import audit_config

    timing = (
        cron(options.cron, options.timezone) if options.cron is not None else every(options.every, options.timezone)
    )
    notice = Notice(options.notify_above, options.webhook, options.page_url)
    added = add(
        audit_config(options),
        timing,
        name=options.name,
        pool=options.pool,
        notice=notice,
        elsewhere=options.elsewhere,
    )
    done = "added" if added.created else "updated"
    paused = "; it is paused, gradattn schedule resume lets it run" if added.paused else ""
    _say(
        options,
        asdict(added),
        f"{done} schedule {added.name}: {added.schedule}{paused}\n"
        f"dataset  {added.dataset}\noutput   {added.out}\nserved by gradattn worker{_other_pool(added.pool)}",
    )


def _other_pool(pool: str) -> str:
    from flows.schedules import POOL

    return "" if pool == POOL else f" --pool {pool}"


def _list(options: argparse.Namespace) -> None:
    from flows.status import schedules

    known = schedules(start=True)
    if options.json:
        print(known.to_json(orient="records"))
    elif known.empty:
        print("no schedule yet; gradattn schedule add makes one")
    else:
        Console().print(_table(known))


def _table(known: pd.DataFrame) -> Table:
    table = Table("name", "dataset", "schedule", "next run", "last run", "state", box=None, pad_edge=False)
    for row in known.to_dict("records"):
        name = str(row["deployment"]).partition("/")[2]
        state = row["state"] if row["active"] or row["state"] == "running" else "paused"
        due = f"{datetime.fromisoformat(row['next_run']):%Y-%m-%d %H:%M} UTC" if row["next_run"] else ""
        cells = (name, row["dataset"], row["schedule"], due, row["last_run"], state)
        table.add_row(*(escape(str(cell)) for cell in cells))
    return table


def _run(options: argparse.Namespace) -> None:
    from flows.schedules import run as run_now

    identity, served = run_now(options.name)
    wait = "" if served else "; no worker is there to take it, start gradattn worker"
    _say(options, {"flow_run": identity, "worker": served}, f"run of {options.name} asked for ({identity}){wait}")


def _pause(options: argparse.Namespace) -> None:
    from flows.schedules import pause

    paused = options.action == "pause"
    changed = pause(options.name, paused=paused)
    state = "paused" if paused else "active"
    _say(
        options,
        {"name": options.name, "paused": paused, "changed": changed},
        f"schedule {options.name} is {state}{'' if changed else ' already'}",
    )


def _remove(options: argparse.Namespace) -> None:
    from flows.schedules import remove

    remove(options.name)
    _say(options, {"name": options.name, "removed": True}, f"removed schedule {options.name}; its results stay")


def _say(options: argparse.Namespace, facts: dict[str, Any], text: str) -> None:
    if options.json:
        print(json.dumps(facts, ensure_ascii=False))
    elif not options.quiet:
        Console(highlight=False).print(escape(text), soft_wrap=True)
