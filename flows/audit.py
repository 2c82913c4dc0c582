"""The audit as a Prefect flow: plan ─► sweep ─► (fine-tune folds) ─► judge ─► interpret ─► findings ─► merge.

Each step is a task whose result is a file in the audit's work folder, so Prefect keeps no results of its own, and a run
that is stopped at any point continues where it stopped.
"""

# Annotations are evaluated here: Prefect sends a served flow to its process without the names they would need there.

import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal

from httpx import HTTPError
from prefect import State, flow, get_run_logger, runtime
from prefect.logging.configuration import setup_logging
from prefect.states import Cancelled, Failed

from flows.artifacts import TOP_SUSPECTS, publish
from flows.cluster import prepared
from flows.notify import page_address, tell
from flows.server import preferred, require_server
from flows.tasks import computing, interrupts_stay_interrupts, listener, opened, step
from gradattn_core.audit.findings import tell_doubts
from gradattn_core.audit.merge import finish, is_stored, merge
from gradattn_core.audit.plan import output_folder
from gradattn_core.audit.previews import write_previews
from gradattn_core.audit.rank import judge
from gradattn_core.audit.run import output_lock, plan_audit
from gradattn_core.audit.stages import FINETUNE, INTERPRET, SWEEP
from gradattn_core.config import DEFAULT_MODEL, AuditConfig
from gradattn_core.errors import GradattnError, OutputBusyError
from gradattn_core.model.training import FineTuning
from gradattn_core.progress import Progress, silent
from gradattn_core.records import AuditSummary, News
from gradattn_core.store.store import Store


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
    config = prepared(config)
    # The terminal belongs to progress and result; Prefect's own lines go to its page.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    setup_logging()
    with preferred():
        require_server(", or run without --flow")
        token = listener.set(progress)
        try:
            with interrupts_stay_interrupts():
                values = audit_flow(**{item.name: getattr(config, item.name) for item in fields(config)})
        finally:
            listener.reset(token)
    assert isinstance(values, dict)
    return AuditSummary(
        **{
            **values,
            "class_pairs": tuple(values["class_pairs"]),
            "database": Path(values["database"]),
            "candidates": Path(values["candidates"]),
            "warnings": tuple(values["warnings"]),
            "news": values["news"] and News(**values["news"]),
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
    in_sample: Literal["auto", "yes", "no"] = "auto",
    interpret: Literal["suspects", "all"] = "suspects",
    threshold: float = 0.25,
    objective: Literal["difference", "ratio", "quotient", "normalised"] = "difference",
    correction: Literal["complete", "centred"] = "complete",
    precision: Literal["auto", "float32", "float16", "bfloat16"] = "auto",
    batch_size: int = 0,
    shard_size: int = 0,
    path_column: str = "path",
    label_column: str = "label",
    split_column: str = "split",
    split: str | None = None,
    finetuning: FineTuning = FineTuning(),  # noqa: B008 - frozen
    seed: int = 0,
    device: str = "auto",
    workers: int = 0,
    restart: bool = False,
    runner: Literal["local", "ray"] = "local",
    ray_address: str | None = None,
    ray_storage: str | None = None,
    notify_above: int | None = None,
    page_url: str | None = None,
) -> dict[str, Any] | State[Any]:
    """Find the wrong labels of an image dataset and show why.

    Paths are those of the machine that runs the audit, and absolute where a schedule runs it.

    Args:
        dataset: Folder root/<label>/**/image, archive, WebDataset tars, or manifest; a path, URL or pattern.
        out: Output folder; nothing is written elsewhere. One audit at a time works there.
        model: Name of a timm Vision Transformer.
        checkpoint: Safetensors file, or torch file of plain tensors; the published weights without it.
        model_arguments: Further arguments of timm.create_model, such as {"img_size": 384}.
        from_scratch: Begin fine-tuning from random weights.
        head: Who judges: the model's own classifier (as-is), a K-fold linear probe, K-fold fine-tuning; auto takes
            as-is where the class names match, else the probe.
        class_map: JSON or CSV file that says which output of the model speaks for which class (as-is).
        folds: K of the cross-validation.
        in_sample: Whether the model was trained on these very labels; then it has no vote. auto finds out.
        interpret: Which images get a map of the evidence.
        threshold: Suspicion from which an image is a suspect although the model agrees with its label, 0 to 1.
        objective: What is differentiated for the map.
        correction: How the gradient weights attention in the map.
        precision: Of the sweep's matrix products; auto is float16 on a GPU and float32 on a CPU.
        batch_size: Images per forward pass; 0 is what suits the device.
        shard_size: Images per task; what a finished task computed is kept when the audit is interrupted. 0 is 1,024
            on a CPU and 16,384 on a GPU.
        path_column: Manifest column with the image's path.
        label_column: Manifest column with the label.
        split_column: Manifest column with the split.
        split: Only rows of this split.
        finetuning: How the folds are trained (finetune).
        seed: Of everything random.
        device: auto, cpu, cuda, cuda:1 …
        workers: That decode; 0 is one per core.
        restart: Begin anew instead of continuing an interrupted audit or keeping a finished one.
        runner: Where the shards run: local is every GPU of this machine, else its CPU; ray a Ray cluster.
        ray_address: HOST:PORT of the Ray cluster's head, or auto for the one that this machine is part of; without it
            that of RAY_ADDRESS, else one of this machine alone is started.
        ray_storage: URL of a folder over which nodes exchange files; without it out lies on storage that all share.
        notify_above: Tell when more suspects than this are new; an automation passes the event on.
        page_url: Address of the review page that the run links to; else what GRADATTN_PAGE_URL says.

    Returns:
        the fields of :class:`~gradattn_core.records.AuditSummary` as plain JSON values; of a deployment's run whose
        output folder is in use, the state Skipped.
    """
    given = locals()
    parameters = {item.name: given[item.name] for item in fields(AuditConfig)}
    try:
        config = prepared(AuditConfig(**(parameters | {"model_arguments": model_arguments or {}})))
        page = page_address(page_url or os.environ.get("GRADATTN_PAGE_URL"))
        if runtime.deployment.id:
            require_absolute(config)
        with output_lock(config.out):
            summary = _audit(config)
            _publish(summary, config.dataset, page, notify_above)
    except OutputBusyError:
        if not runtime.deployment.id:
            raise
        # The lock ends with the process that holds it. Prefect's own limit on a deployment's runs is a lease: a dead
        # run keeps it for minutes, and a living one is ended when the server cannot be reached to renew it.
        sentence = f"output folder {out}: another audit is at work there, so this run is left out"
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
    suspects = store.candidates.page(summary.audit_id, top=TOP_SUSPECTS)
    try:
        publish(summary, dataset, suspects, page)
        if notify_above is not None:
            tell(summary, dataset, page, above=notify_above)
    except HTTPError as error:
        get_run_logger().warning(f"the audit is finished, but Prefect's server did not take what it found: {error}")


def _audit(config: AuditConfig) -> AuditSummary:
    folder, finished = _plan(config)
    if finished is not None:
        return finish(output_folder(config.out), finished)
    plan = opened(folder)
    if not is_stored(plan):
        with computing(plan) as compute:
            compute(SWEEP)
            if plan.head == "finetune":
                compute(FINETUNE)
            _judge(folder)
            compute(INTERPRET)
        _findings(folder)
        _previews(folder)
    return _merge(folder)


@step("plan")
def _plan(config: AuditConfig) -> tuple[str, str | None]:
    """The folder of the plan to work on, or ("", id of the finished audit)."""
    plan = plan_audit(config, listener.get())
    if isinstance(plan, str):
        return "", plan
    # It may be one that this process has opened before, with the settings of then.
    opened.cache_clear()
    return str(plan.folder), None


@step("judge")
def _judge(folder: str) -> None:
    judge(opened(folder), listener.get())


@step("findings")
def _findings(folder: str) -> None:
    tell_doubts(opened(folder), listener.get())


@step("previews")
def _previews(folder: str) -> None:
    write_previews(opened(folder), listener.get())


@step("merge")
def _merge(folder: str) -> AuditSummary:
    return merge(opened(folder), listener.get())
