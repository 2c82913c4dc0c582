"""``gradattn worker``."""

from __future__ import annotations

import argparse
import json
import os
import sys

from rich.console import Console

from gradattn_core.cli.wording import escape


def run(options: argparse.Namespace) -> int:
    """Serve schedules until stopped."""
    quiet = options.quiet or options.json
    if not quiet:
        print("reaching Prefect …", file=sys.stderr)
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING" if quiet else "INFO")
    from flows.worker import default_name, work

    def started(page: str, own: bool) -> None:
        if options.json:
            print(json.dumps({"page": page, "pool": options.pool, "own_server": own}), flush=True)
        elif not options.quiet:
            ends = ", which ends with this command" if own else ""
            Console(highlight=False).print(
                escape(f"serving work pool {options.pool}; Prefect's page is {page}{ends}. Ctrl-C stops."),
                soft_wrap=True,
            )

    work(
        options.pool,
        name=options.name or default_name(),
        limit=options.limit,
        health_port=options.health_port,
        started=started,
    )
    return 0
