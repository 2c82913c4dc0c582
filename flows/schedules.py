"""Schedules: each is a Prefect deployment of the audit flow in a work pool that ``gradattn worker`` serves."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from zoneinfo import ZoneInfo

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.flows import load_flow_from_entrypoint

from flows.artifacts import plain
from flows.notify import Notice, forget, pass_on
from flows.server import connect
from flows.status import FLOW, OF_AUDITS, has_worker, next_time, words
from gradattn_core.config import AuditConfig, parameters
from gradattn_core.dataset.address import absolute, is_url, outermost
from gradattn_core.dataset.selection import expand, is_pattern
from gradattn_core.dataset.text import data_note
from gradattn_core.errors import DatasetError, GradattnError

POOL = "gradattn"
TAG = "gradattn"
_ENTRYPOINT = "flows.audit.audit_flow"
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SHORTEST = timedelta(minutes=1)


@dataclass(frozen=True)
class Registration:
    """A schedule as it is stored now; ``created`` is false where one of this name was there and has been updated."""

    name: str
    created: bool
    dataset: str
    out: str
    schedule: str
    pool: str
    paused: bool


def cron(text: str, timezone: str | None) -> CronSchedule:
    """A cron expression of five fields, or a name such as ``@daily``.

    Raises:
        GradattnError: it or the time zone is none, or it never falls due.
    """
    zone = _zone(timezone)
    try:
        # More fields mean seconds or years to some readers and other things to others.
        if len(text.split()) not in (1, 5):
            raise ValueError
        schedule = CronSchedule(cron=text, timezone=zone)
    except ValueError as error:
        raise GradattnError(
            f"--cron {text!r} is no cron expression; five fields work, such as '0 3 * * 1' for Mondays at 3:00"
        ) from error
    if next_time(schedule) is None:
        raise GradattnError(
            f"--cron {text!r} never falls due: there is no such day; '0 3 1 * *' is the first of a month"
        )
    return schedule


def every(text: str, timezone: str | None) -> IntervalSchedule:
    """An interval such as ``6h``, counted from a midnight, so that it falls on round hours.

    Raises:
        GradattnError: it is no interval of at least a minute, or the time zone is none.
    """
    zone = _zone(timezone)
    found = re.fullmatch(r"(\d{1,5})\s*([mhdw])", text.strip())
    interval = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else timedelta()
    if interval < _SHORTEST:
        raise GradattnError(f"--every {text!r} is no interval; a number and m, h, d or w works, such as 6h or 1d")
    return IntervalSchedule(interval=interval, anchor_date=datetime(2020, 1, 1, tzinfo=ZoneInfo(zone)), timezone=zone)


def add(
    config: AuditConfig,
    timing: CronSchedule | IntervalSchedule,
    *,
    name: str | None = None,
    pool: str = POOL,
    notice: Notice = Notice(),  # noqa: B008 - frozen
    elsewhere: bool = False,
) -> Registration:
    """Make a schedule, or update the one of this name.

    Args:
        config: what each run audits; its paths become absolute.
        name: derived from the dataset without one, and then never that of another dataset's schedule.
        elsewhere: on another machine: paths are taken as they are, and what is installed here says nothing.

    Raises:
        GradattnError: with one sentence on what cannot be used and what would work.
    """
    if elsewhere:
        require_absolute(config)
    else:
        config = _with_absolute_paths(config)
        _require_engine(config)
    chosen = _checked(name) if name is not None else _name_of(config.dataset)
    with connect() as client:
        before = _find(client, chosen)
        if before is not None and name is None and before.parameters.get("dataset") != config.dataset:
            raise GradattnError(
                f"schedule {chosen} is of another dataset, {before.parameters.get('dataset')}; give this one a --name"
            )
        kind = make_pool(client, pool)
        if kind != "process":
            raise GradattnError(
                f"work pool {pool} is of type {kind}, which gradattn worker cannot serve; give another --pool"
            )
        _deploy(client, config, timing, chosen, pool, notice, paused=before is not None and before.paused)
        deployment = client.read_deployment_by_name(f"{FLOW}/{chosen}")
        forget(client, deployment)
        if notice.webhook is not None:
            pass_on(client, deployment, notice.webhook)
    paused = bool(deployment.paused)
    return Registration(chosen, before is None, config.dataset, config.out, words(timing), pool, paused)


def run(name: str) -> tuple[str, bool]:
    """Ask for a run now.

    Returns:
        its id, and whether a worker is there to take it.
    """
    with connect() as client:
        deployment = _deployment(client, name)
        made = client.create_flow_run_from_deployment(deployment.id)
        return str(made.id), has_worker(client, deployment)


def pause(name: str, *, paused: bool) -> bool:
    """Pause a schedule, or resume it; whether that changed anything."""
    with connect() as client:
        deployment = _deployment(client, name)
        (client.pause_deployment if paused else client.resume_deployment)(deployment.id)
        return bool(deployment.paused) != paused


def remove(name: str) -> None:
    """Remove a schedule with what tells of its runs; what it found stays."""
    with connect() as client:
        deployment = _deployment(client, name)
        forget(client, deployment)
        client.delete_deployment(deployment.id)


def make_pool(client: SyncPrefectClient, name: str) -> str:
    """Make a work pool where there is none of this name; its type."""
    pool = WorkPoolCreate(name=name, type="process", description="Audits of gradattn; gradattn worker serves it.")
    try:
        return client.create_work_pool(pool).type
    except ObjectAlreadyExists:
        return client.read_work_pool(name).type


def require_absolute(config: AuditConfig) -> None:
    """Refuse paths that would start from wherever a worker happens to run.

    Raises:
        GradattnError: naming the first relative path.
    """
    for name in (parameter.name for parameter in parameters() if parameter.path):
        path = getattr(config, name)
        place = outermost(path) if path is not None and name == "dataset" else path
        if place is not None and "://" not in place and not os.path.isabs(place):
            raise GradattnError(
                f"{name} {path!r} is relative; a schedule needs the absolute path on the worker's machine"
            )


def _zone(name: str | None) -> str:
    try:
        return ZoneInfo(name or "UTC").key
    except (ValueError, OSError, KeyError) as error:
        raise GradattnError(
            f"--timezone {name!r} is not known; names of the tz database work, such as Europe/Berlin"
        ) from error


def _with_absolute_paths(config: AuditConfig) -> AuditConfig:
    """The config with paths that mean the same from every folder.

    Raises:
        GradattnError: an input is not on this machine.
    """
    paths: dict[str, str] = {}
    for parameter in parameters():
        path = getattr(config, parameter.name) if parameter.path else None
        if path is None:
            continue
        # A dataset may also be an address within an archive, or a pattern of several files.
        address = absolute(path) if parameter.name == "dataset" else path
        if "://" not in address:
            address = os.path.abspath(os.path.expanduser(address))
        if parameter.path == "input" and not _is_here(address):
            raise GradattnError(
                f"{parameter.name} {path!r}: there is no such file or folder on this machine; "
                f"give absolute paths and --elsewhere if the worker is on another one.{data_note()}"
            )
        paths[parameter.name] = address
    return replace(config, **paths)  # type: ignore[arg-type]


def _require_engine(config: AuditConfig) -> None:
    """Refuse what each run would refuse."""
    if config.engine == "torch":
        return
    # It brings torch, which takes seconds.
    from gradattn_core.audit.computing import require_engine

    require_engine(config)


def _is_here(address: str) -> bool:
    """Whether a path, the archive of an address in one, or a file of a pattern is there; URLs are not asked."""
    place = outermost(address)
    if is_url(place) or os.path.exists(place):
        return True
    try:
        return is_pattern(place) and any(os.path.exists(file) for file in expand(place))
    except (OSError, DatasetError):
        return False


def _name_of(dataset: str) -> str:
    name = re.sub(r"[^\w.-]+", "-", Path(outermost(dataset).rstrip("/\\")).stem).strip("-.")
    return name or "dataset"


def _checked(name: str) -> str:
    if not re.fullmatch(r"\w[\w.-]{0,99}", name):
        raise GradattnError(f"--name {name!r} is no name for a schedule; letters, digits, '.', '_' and '-' work")
    return name


def _find(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(f"{FLOW}/{name}")
    except ObjectNotFound:
        return None


def _deployment(client: SyncPrefectClient, name: str) -> DeploymentResponse:
    deployment = _find(client, name) if re.fullmatch(r"[^/%&<>]+", name) else None
    if deployment is not None:
        return deployment
    names = sorted(each.name for each in client.read_deployments(flow_filter=OF_AUDITS))
    similar = get_close_matches(name, names, n=1)
    if similar:
        hint = f"did you mean {similar[0]}?"
    else:
        hint = f"there are {', '.join(names)}" if names else "there is none yet, gradattn schedule add makes one"
    raise GradattnError(f"schedule {name!r} is unknown; {hint}")


def _deploy(
    client: SyncPrefectClient,
    config: AuditConfig,
    timing: CronSchedule | IntervalSchedule,
    name: str,
    pool: str,
    notice: Notice,
    *,
    paused: bool,
) -> None:
    client.create_deployment(
        client.create_flow_from_name(FLOW),
        name,
        entrypoint=_ENTRYPOINT,
        pull_steps=[],
        schedules=[DeploymentScheduleCreate(schedule=timing, slug="audit")],
        parameters=asdict(config) | {"notify_above": notice.threshold, "page_url": notice.page_url},
        # The flow brings torch, so it is loaded as late as by a worker.
        parameter_openapi_schema=load_flow_from_entrypoint(_ENTRYPOINT).parameters.model_dump(),
        enforce_parameter_schema=True,
        description=f"Finds the wrong labels of {plain(config.dataset)}.",
        tags=[TAG],
        work_pool_name=pool,
        paused=paused,
    )
