"""``python -m flows.serve``: make the audit a deployment on a Prefect server, and run what is asked of it there."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.exceptions import ObjectNotFound
from prefect.types.entrypoint import EntrypointType

from flows.audit import audit_flow


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until stopped."""
    options = build_parser().parse_args(arguments)
    audit_flow.serve(
        name=options.name,
        parameters=options.parameters,
        schedules=_schedules(options.name),
        # One model at a time keeps the machine busy; further runs wait.
        limit=1,
        # Runs that fall due while nothing serves are made up for later.
        pause_on_shutdown=False,
        # Found by its module, the flow runs from any folder and from an installed package.
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.serve",
        description="Serve the audit flow: runs asked for on the Prefect server (PREFECT_API_URL) happen here.",
    )
    parser.add_argument("--name", default="audit", help="name of the deployment (default audit)")
    parser.add_argument(
        "--parameters",
        type=_json_object,
        default={},
        metavar="JSON",
        help='of every run that does not say otherwise, such as \'{"dataset": "photos", "out": "results"}\'',
    )
    return parser


def _schedules(name: str) -> list[DeploymentScheduleCreate]:
    """The schedules that the deployment has: registering it again would drop what a person set on Prefect's page."""
    with get_client(sync_client=True) as client:
        try:
            deployment = client.read_deployment_by_name(f"{audit_flow.name}/{name}")
        except ObjectNotFound:
            return []
    return [
        DeploymentScheduleCreate(schedule=old.schedule, active=old.active, parameters=old.parameters, slug=old.slug)
        for old in deployment.schedules
    ]


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON ({error.msg})") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'{text!r} is not a JSON object such as {{"dataset": "photos"}}')
    return value


if __name__ == "__main__":
    main()
