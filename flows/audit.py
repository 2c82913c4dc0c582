"""The audit as a Prefect flow: plan ─► sweep ─► (fine-tune folds) ─► judge ─► interpret ─► findings ─► merge.

Each step is a task whose result is a file in the audit's work folder, so Prefect keeps no results of its own, and a run
that is stopped at any point continues where it stopped.
"""

# Annotations are evaluated here: Prefect sends a served flow to its process without the names they would need there.

import os
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import asdict, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

from prefect import State, Task, flow, get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.logging.configuration import setup_logging
from prefect.states import Cancelled, Failed

from flows.artifacts import TOP_SUSPECTS, counted, publish
from flows.local import preferred, require_server
from flows.news import page_address, since_before, tell
from gradattn_core.audit import (
    AuditConfig,
    Plan,
    Progress,
    evidence_shards,
    finetune_fold,
    finish,
    finished_audit,
    interpret_shard,
    is_stored,
    judge,
    load_plan,
    make_plan,
    merge,
    output_folder,
    output_lock,
    survey_dataset,
    sweep_shard,
    tell_doubts,
)
from gradattn_core.audit.config import DEFAULT_MODEL
from gradattn_core.audit.progress import silent
from gradattn_core.errors import GradattnError, OutputBusyError
from gradattn_core.model import FineTuning
from gradattn_core.records import AuditSummary
from gradattn_core.store import Store

P = ParamSpec("P")
R = TypeVar("R")

# Where the tasks tell how far they are: the terminal of run_as_flow, nobody in a served run.
_progress: ContextVar[Progress] = ContextVar("progress", default=silent)


def run_as_flow(config: AuditConfig, progress: Progress = silent) -> AuditSummary:
    """Audit as a Prefect flow, on the server that is set or a worker runs here, else on a temporary one.

    Args:
        config: what to audit and how.
        progress: told ``(stage, done, total)``.

    Returns:
        what :func:`~gradattn_core.audit.run_audit` returns, but for the seconds: Prefect's page has them by task.

    Raises:
        GradattnError: with one sentence on what cannot be used and what would work.
    """
    # The terminal belongs to progress and result; Prefect's own lines go to its page.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    setup_logging()
    with preferred():
        require_server(", or run without --flow")
        token = _progress.set(progress)
        try:
            values = audit_flow(**{item.name: getattr(config, item.name) for item in fields(config)})
        finally:
            _progress.reset(token)
    assert isinstance(values, dict)
    return AuditSummary(
        **{
            **values,
            "class_pairs": tuple(values["class_pairs"]),
            "database": Path(values["database"]),
            "candidates": Path(values["candidates"]),
            "warnings": tuple(values["warnings"]),
        }
    )


@flow(name="audit", flow_run_name="audit of {dataset}", persist_result=False)
def audit_flow(
    dataset: str,
    out: str = "gradattn-out",
    model: str = DEFAULT_MODEL,
    checkpoint: str | None = None,
    model_arguments: dict[str, Any] | None = None,
    from_scratch: bool = False,
    head: Literal["auto", "as-is", "probe", "finetune"] = "auto",
    class_map: str | None = None,
    folds: int = 5,
    interpret: Literal["suspects", "all"] = "suspects",
    threshold: float = 0.25,
    objective: Literal["difference", "ratio", "quotient", "normalised"] = "difference",
    correction: Literal["complete", "centred"] = "complete",
    batch_size: int = 32,
    shard_size: int = 1024,
    path_column: str = "path",
    label_column: str = "label",
    split_column: str = "split",
    split: str | None = None,
    finetuning: FineTuning = FineTuning(),  # noqa: B008 - frozen
    seed: int = 0,
    device: str = "auto",
    workers: int = 0,
    restart: bool = False,
    notify_above: int | None = None,
    page_url: str | None = None,
) -> dict[str, Any] | State[Any]:
    """Find the wrong labels of an image dataset and show why.

    Paths are those of the machine that runs the audit, and absolute where a schedule runs it.

    Args:
        dataset: Folder root/<label>/**/image, or a CSV, Parquet or JSONL manifest.
        out: Output folder; nothing is written elsewhere. One audit at a time works there.
        model: Name of a timm Vision Transformer.
        checkpoint: Safetensors file, or torch file of plain tensors; the published weights without it.
        model_arguments: Further arguments of timm.create_model, such as {"img_size": 384}.
        from_scratch: Begin fine-tuning from random weights.
        head: Who judges: the model's own classifier (as-is), a K-fold linear probe, K-fold fine-tuning; auto takes
            as-is where the class names match, else the probe.
        class_map: JSON or CSV file that says which output of the model speaks for which class (as-is).
        folds: K of the cross-validation.
        interpret: Which images get a map of the evidence.
        threshold: Suspicion from which an image is a suspect although the model agrees with its label, 0 to 1.
        objective: What is differentiated for the map.
        correction: How the gradient weights attention in the map.
        batch_size: Images per forward pass.
        shard_size: Images per task; what a finished task computed is kept when the audit is interrupted.
        path_column: Manifest column with the image's path.
        label_column: Manifest column with the label.
        split_column: Manifest column with the split.
        split: Only rows of this split.
        finetuning: How the folds are trained (finetune).
        seed: Of everything random.
        device: auto, cpu, cuda, cuda:1 …
        workers: Decoding threads; 0 is one per core.
        restart: Begin anew instead of continuing an interrupted audit or keeping a finished one.
        notify_above: Tell when more suspects than this are new; an automation passes the event on.
        page_url: Address of the review page that the run links to; else what GRADATTN_PAGE_URL says.

    Returns:
        the fields of :class:`~gradattn_core.records.AuditSummary` as plain JSON values; of a deployment's run whose
        output folder is in use, the state Skipped.
    """
    given = locals()
    parameters = {item.name: given[item.name] for item in fields(AuditConfig)}
    config = AuditConfig(**(parameters | {"model_arguments": model_arguments or {}}))
    try:
        page = page_address(page_url or os.environ.get("GRADATTN_PAGE_URL"))
        if runtime.deployment.id:
            require_absolute(config)
        with output_lock(config.out):
            summary = _audit(config)
            _publish(summary, dataset, page, notify_above)
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
    return {**asdict(summary), "database": str(summary.database), "candidates": str(summary.candidates)}


def require_absolute(config: AuditConfig) -> None:
    """Refuse paths that would start from wherever a worker happens to run.

    Raises:
        GradattnError: naming the first relative path.
    """
    for name in ("dataset", "out", "checkpoint", "class_map"):
        path = getattr(config, name)
        if path is not None and "://" not in path and not os.path.isabs(path):
            raise GradattnError(
                f"{name} {path!r} is relative; a schedule needs the absolute path on the worker's machine"
            )


def _publish(summary: AuditSummary, dataset: str, page: str | None, notify_above: int | None) -> None:
    store = Store(summary.database.parent, read_only=True)
    news = since_before(store, summary.audit_id)
    publish(summary, dataset, news, store.candidates(summary.audit_id, top=TOP_SUSPECTS), page)
    if notify_above is not None:
        tell(summary, dataset, news, page, above=notify_above)


def _audit(config: AuditConfig) -> AuditSummary:
    folder, finished = _plan(config)
    if finished is not None:
        return finish(output_folder(config.out), finished)
    plan = _opened(folder)
    # Shards run one after the other: they share one model, and it keeps the machine busy.
    if not is_stored(plan):
        for index in counted("sweep", "shards", plan.shards):
            _sweep(folder, index)
        if plan.head == "finetune":
            for fold in counted("fine-tune", "folds", config.folds):
                _finetune(folder, fold)
        _judge(folder)
        for index in counted("interpret", "shards", evidence_shards(plan)):
            _interpret(folder, index)
        _findings(folder)
    return _merge(folder)


def _worth_retrying(_task: object, _run: object, state: State[Any]) -> bool:
    """A disk or a device may recover; what the user must change will not."""
    return not isinstance(state.data, GradattnError)


def _step(name: str, run_name: str | None = None) -> Callable[[Callable[P, R]], Task[P, R]]:
    return task(
        name=name,
        task_run_name=run_name or name,
        retries=3,
        retry_delay_seconds=[1, 10, 60],
        retry_condition_fn=_worth_retrying,
        cache_policy=NO_CACHE,
        persist_result=False,
    )


@_step("plan")
def _plan(config: AuditConfig) -> tuple[str, str | None]:
    """The folder of the plan to work on, or ("", id of the finished audit)."""
    survey = survey_dataset(config)
    finished = finished_audit(config, survey)
    return ("", finished) if finished is not None else (str(make_plan(config, survey).folder), None)


@_step("sweep", "sweep shard {index}")
def _sweep(folder: str, index: int) -> None:
    sweep_shard(_opened(folder), index, _progress.get())


@_step("fine-tune", "fine-tune fold {fold}")
def _finetune(folder: str, fold: int) -> None:
    finetune_fold(_opened(folder), fold, _progress.get())


@_step("judge")
def _judge(folder: str) -> None:
    judge(_opened(folder), _progress.get())


@_step("interpret", "interpret shard {index}")
def _interpret(folder: str, index: int) -> None:
    interpret_shard(_opened(folder), index, _progress.get())


@_step("findings")
def _findings(folder: str) -> None:
    tell_doubts(_opened(folder), _progress.get())


@_step("merge")
def _merge(folder: str) -> AuditSummary:
    return merge(_opened(folder), _progress.get())


@lru_cache(maxsize=1)
def _opened(folder: str) -> Plan:
    """Tasks get the plan's folder, which any process can open; each process opens it once."""
    return load_plan(folder)
