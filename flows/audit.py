"""The audit as a Prefect flow: plan ─► sweep ─► (fine-tune folds) ─► judge ─► interpret ─► findings ─► merge.

Each step is a task whose result is a file in the audit's work folder, so Prefect keeps no results of its own, and a run
that is stopped at any point continues where it stopped.
"""

# Annotations are evaluated here: Prefect sends a served flow to its process without the names they would need there.

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.logging.configuration import setup_logging
from prefect.settings import PREFECT_API_URL

from flows.artifacts import publish_summary
from flows.cluster import prepared
from flows.parts import computing
from flows.steps import listener, opened, step
from gradattn_core.audit import (
    AuditConfig,
    Progress,
    finish,
    finished_audit,
    is_stored,
    judge,
    make_plan,
    merge,
    output_folder,
    output_lock,
    survey_dataset,
    tell_doubts,
    write_previews,
)
from gradattn_core.audit.config import DEFAULT_MODEL
from gradattn_core.audit.progress import silent
from gradattn_core.audit.stages import FINETUNE, INTERPRET, SWEEP
from gradattn_core.errors import GradattnError
from gradattn_core.model import FineTuning
from gradattn_core.records import AuditSummary, News


def run_as_flow(config: AuditConfig, progress: Progress = silent) -> AuditSummary:
    """Audit as a Prefect flow: on the server that Prefect is set to use, else on a temporary one.

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
    _require_server()
    token = listener.set(progress)
    try:
        with interrupts_stay_interrupts():
            values = audit_flow(**{item.name: getattr(config, item.name) for item in fields(config)})
    finally:
        listener.reset(token)
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
) -> dict[str, Any]:
    """Find the wrong labels of an image dataset and show why.

    Paths are those of the machine that runs the audit.

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

    Returns:
        the fields of :class:`~gradattn_core.records.AuditSummary` as plain JSON values.
    """
    config = prepared(AuditConfig(**(locals() | {"model_arguments": model_arguments or {}})))
    with output_lock(config.out):
        summary = _audit(config)
    publish_summary(summary, config.dataset)
    return {**asdict(summary), "database": str(summary.database), "candidates": str(summary.candidates)}


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
    survey = survey_dataset(config)
    finished = finished_audit(config, survey)
    return ("", finished) if finished is not None else (str(make_plan(config, survey).folder), None)


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


def _require_server() -> None:
    """Fail with one sentence, before there is a run, where Prefect's server cannot be reached or started."""
    try:
        with _interrupts_spare_children(), get_client(sync_client=True) as client:
            problem = client.api_healthcheck()
    except (OSError, RuntimeError, ValueError) as error:
        problem = error
    if problem is not None:
        address = PREFECT_API_URL.value()
        where = f"server at {address} does not answer" if address else "temporary server did not start"
        raise GradattnError(f"Prefect's {where} ({problem}); check PREFECT_API_URL, or run without --flow") from problem


@contextmanager
def _interrupts_spare_children() -> Iterator[None]:
    """A process started in here does not hear Ctrl-C: the temporary server must outlive the run that reports to it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def interrupts_stay_interrupts() -> Iterator[None]:
    """Ctrl-C in the midst of pydantic comes out as an error of pydantic's own; here it becomes Ctrl-C again."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    heard = False

    def hear(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        heard = True
        before(number, frame)

    signal.signal(signal.SIGINT, hear)
    try:
        yield
    except Exception as error:
        if heard:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, before)
