"""The audit as a Prefect flow, with the same steps as without Prefect.

Each step, or each of its parts, is a task whose result is a file in the audit's work folder. So Prefect keeps none of
its own, and a run that is stopped at any point continues where it stopped.
"""

from __future__ import annotations

import inspect
import os
import textwrap
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, Literal, get_type_hints

from httpx import HTTPError
from prefect import State, flow, get_run_logger, runtime
from prefect.logging.configuration import setup_logging
from prefect.states import Cancelled, Failed

from flows.artifacts import TOP_SUSPECTS, publish
from flows.cluster import for_runner
from flows.notify import page_address, tell
from flows.schedules import require_absolute
from flows.server import require_server, use_server
from flows.status import FLOW
from flows.tasks import audit_task, compute_here, computing, interrupts_stay_interrupts, listener, plan_in
from gradattn_core import outfolder
from gradattn_core.audit.merge import summarise
from gradattn_core.audit.plan import Plan, plan_audit
from gradattn_core.audit.stages import stages_left
from gradattn_core.config import AuditConfig, parameters
from gradattn_core.errors import GradattnError, OutputBusyError
from gradattn_core.model.published import STEP as WEIGHTS
from gradattn_core.progress import PLAN, Progress, silent
from gradattn_core.records import AuditSummary
from gradattn_core.store.store import Store


def run_as_flow(config: AuditConfig, progress: Progress = silent) -> AuditSummary:
    """Audit as a Prefect flow, on the server that is set or a worker runs here, else on a temporary one.

    Args:
        config: what to audit and how.
        progress: told ``(step, done, total)``.

    Returns:
        what ``audit_images`` returns, but for the seconds: Prefect's page has them by task.

    Raises:
        GradattnError: with one sentence on what cannot be used and what would work.
    """
    config = for_runner(config)
    # The terminal belongs to progress and result; Prefect's own lines go to its page.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    setup_logging()
    with use_server():
        require_server(", or run without --flow")
        token = listener.set(progress)
        try:
            with interrupts_stay_interrupts():
                summary = audit_flow(**{item.name: getattr(config, item.name) for item in fields(config)})
        finally:
            listener.reset(token)
    assert isinstance(summary, AuditSummary)
    return summary


def _offers_parameters(run: Callable[..., Any]) -> Callable[..., Any]:
    """Give a flow the parameters of an audit, so that Prefect's forms and stored schedules show and check them.

    Its own keywords come after them. Prefect reads names, defaults and choices from the signature, and the descriptions
    from the docstring.
    """
    types, own = get_type_hints(AuditConfig), list(inspect.signature(run, eval_str=True).parameters.values())
    choices = {parameter.name: parameter.choices for parameter in parameters() if parameter.choices}
    empty = AuditConfig(dataset=".")
    offered, described = [], []
    for item in fields(AuditConfig):
        # As it is written: what "auto" becomes depends on the other parameters.
        default = getattr(empty, item.name) if item.default is MISSING else item.default
        default = inspect.Parameter.empty if item.name == "dataset" else default
        kind = Literal[choices[item.name]] if item.name in choices else types[item.name]
        offered.append(inspect.Parameter(item.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind))
        described.append(f"{item.name}: {item.metadata['help'][:1].upper()}{item.metadata['help'][1:]}.")
    keywords = [each for each in own if each.kind is inspect.Parameter.KEYWORD_ONLY]
    run.__signature__ = inspect.Signature([*offered, *keywords])  # type: ignore[attr-defined]
    run.__doc__ = inspect.cleandoc(run.__doc__ or "").replace(
        "Args:\n", "Args:\n" + textwrap.indent("\n".join(described), "    ") + "\n"
    )
    return run


@flow(name=FLOW, flow_run_name="audit of {dataset}", persist_result=False)
@_offers_parameters
def audit_flow(
    *, notify_above: int | None = None, page_url: str | None = None, **given: Any
) -> AuditSummary | State[Any]:
    """Find the wrong labels of an image dataset and show why.

    Paths are those of the machine that runs the audit, and absolute where a schedule runs it.

    Args:
        notify_above: Tell when more suspects than this are new; an automation passes the event on.
        page_url: Address of the review page that the run links to; else what GRADATTN_PAGE_URL says.

    Returns:
        what the audit found; of a deployment's run, the state Skipped where its output folder is in use, and Failed
        with one sentence where it cannot be made.
    """
    try:
        config = for_runner(AuditConfig(**given))
        page = page_address(page_url or os.environ.get("GRADATTN_PAGE_URL"))
        if runtime.deployment.id:
            require_absolute(config)
        with outfolder.lock(config.out):
            summary = _audit(config)
            _publish(summary, config.dataset, page, notify_above)
            return summary
    except OutputBusyError:
        if not runtime.deployment.id:
            raise
        # The lock ends with the process that holds it. Prefect's own limit on a deployment's runs is a lease: a dead
        # run keeps it for minutes, and a living one is ended when the server cannot be reached to renew it.
        sentence = f"output folder {config.out}: another audit is at work there, so this run is left out"
        get_run_logger().warning(sentence)
        return Cancelled(name="Skipped", message=sentence)
    except GradattnError as error:
        if not runtime.deployment.id:
            raise
        # One sentence for its owner, who reads it on Prefect's page: where in the code it arose is no help.
        return Failed(message=str(error))


def _publish(summary: AuditSummary, dataset: str, page: str | None, notify_above: int | None) -> None:
    store = Store(summary.database.parent, read_only=True)
    suspects = store.candidates.page(summary.audit_id, top=TOP_SUSPECTS)
    try:
        publish(summary, dataset, suspects, page)
        if notify_above is not None:
            tell(summary, dataset, page, above=notify_above)
    except HTTPError as error:
        get_run_logger().warning(f"the audit is finished, but Prefect's server did not take what it found: {error}")


def _audit(config: AuditConfig) -> AuditSummary:
    plan = _plan(config)
    # A plan of this folder that this process read before has the settings of then.
    plan_in.cache_clear()
    shared, others = stages_left(plan)
    if shared:
        device, swept = (plan.versions.get(name, "unknown") for name in ("device", "precision"))
        get_run_logger().info(f"computes on {device}, {swept}")
        with computing(plan) as compute:
            for stage in shared:
                compute(stage)
    for stage in others:
        compute_here(plan, stage)
    return summarise(plan.out, plan.audit_id)


@audit_task(PLAN.name)
def _plan(config: AuditConfig) -> Plan:
    told, log, shown = listener.get(), get_run_logger(), -1

    def tell_weights_too(step: str, done: int, total: int) -> None:
        """A run has no terminal: its log says how far a model's weights are."""
        nonlocal shown
        told(step, done, total)
        if step == WEIGHTS and total and 10 * done // total != shown:
            shown = 10 * done // total
            log.info(f"weights of {config.model}: {done / 1e6:.0f} of {total / 1e6:.0f} MB")

    return plan_audit(config, tell_weights_too)
