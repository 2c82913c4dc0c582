"""The tasks of the audit flow: each computes one part of a stage, here, in a GPU's process, or on a Ray cluster.

A task gets the audit's folder and the number of its part, and leaves files there.
"""

from __future__ import annotations

import atexit
import logging
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache, lru_cache, partial
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import Any, ParamSpec, TypeVar

from prefect import State, Task, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.exceptions import CancelledRun, FailedRun
from prefect.futures import PrefectFuture
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.artifacts import track
from flows.cluster import Share, join_cluster, plan_on_node
from flows.exchange import Exchange
from gradattn_core.audit.loading import release_model
from gradattn_core.audit.plan import Plan, load_plan
from gradattn_core.audit.stages import STAGES, Stage
from gradattn_core.audit.workers import Workers, local_workers
from gradattn_core.dataset.address import join
from gradattn_core.errors import GradattnError
from gradattn_core.progress import Progress, silent

P = ParamSpec("P")
R = TypeVar("R")

# Where the tasks tell how far they are: the terminal of run_as_flow, nobody in a served run.
listener: ContextVar[Progress] = ContextVar("listener", default=silent)
# The processes that tasks hand their parts to, where this machine has several GPUs.
_workers: ContextVar[Workers | None] = ContextVar("workers", default=None)
_VISIBLE_SECONDS = 90.0


def audit_task(name: str, run_name: str | None = None) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a function a task that is tried again where that may help; its result is a file, Prefect keeps none.

    What the user must change is not tried again, and Prefect's log has the sentence, not where in the code it arose.
    """
    return task(
        name=name,
        task_run_name=run_name or name,
        retries=3,
        retry_delay_seconds=[1, 10, 60],
        retry_condition_fn=_may_recover,
        cache_policy=NO_CACHE,
        persist_result=False,
    )


def in_one_sentence(record: logging.LogRecord) -> bool:
    """A filter of logs: of what the user must change there is a sentence, not where in the code it arose."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, GradattnError):
        record.exc_info = None
    # That a run ended as its flow said, the line before says, with the sentence.
    return not isinstance(error, FailedRun | CancelledRun)


for _of in ("prefect.task_runs", "prefect.flow_runs", "prefect.engine"):
    logging.getLogger(_of).addFilter(in_one_sentence)


@contextmanager
def computing(plan: Plan, devices: Sequence[str] | None = None) -> Iterator[Callable[[Stage], None]]:
    """Yield what computes every missing part of a stage, where the plan's configuration says.

    Args:
        plan: the audit; the context belongs to a flow run.
        devices: of this machine, in place of those of the configuration.

    Raises:
        GradattnError: a worker was lost too often, or the cluster cannot be used; what was finished is kept.
    """
    with ExitStack() as stack:
        if plan.config.runner == "ray":
            yield stack.enter_context(_on_cluster(plan))
        elif (workers := stack.enter_context(local_workers(plan, devices))) is not None:
            yield stack.enter_context(_on_devices(plan, workers))
        else:
            yield partial(compute_here, plan)


def compute_here(plan: Plan, stage: Stage) -> None:
    """Parts run one after the other: they share one model, and it keeps the machine busy."""
    if not stage.part:
        _task(stage)(stage.name, str(plan.folder), 0)
        return
    missing, parts = stage.missing(plan), stage.parts(plan)
    stage.tell(plan, len(missing), listener.get())
    for index in track(stage.name, f"{stage.part}s", parts, missing, parts - len(missing)):
        _task(stage)(stage.name, str(plan.folder), index)


def compute_part(
    stage_name: str, folder: str, index: int, share: Share | None = None, exchange: Exchange | None = None
) -> None:
    """Compute a part of a stage: as a node's share of the cluster, in a GPU's process, or here."""
    stage, workers = STAGES[stage_name], _workers.get()
    if share is not None and exchange is not None:
        own = own_folder(exchange.url)
        exchange.join_in(own, stage)
        plan = plan_on_node(str(own), share, is_own=True)
        stage.run(plan, index, listener.get())
        files = stage.files(plan, index)
        exchange.send(files)
        for file in files:
            file.unlink()
    elif share is not None:
        stage.run(plan_on_node(folder, share), index, listener.get())
    elif workers is not None and stage.part:
        workers.run(stage, index)
    else:
        stage.run(plan_in(folder), index, listener.get())


@lru_cache(maxsize=1)
def plan_in(folder: str) -> Plan:
    """The plan of an audit's folder; a process reads it once."""
    return load_plan(folder)


@lru_cache(maxsize=1)
def own_folder(url: str) -> Path:
    """This process's own copy of an audit's work folder, gone when the process ends."""
    folder = tempfile.TemporaryDirectory(prefix="gradattn-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def completed_parts(
    what: str, indices: Iterable[int], submit: Callable[[int], PrefectFuture[None]], width: Callable[[], int]
) -> Iterator[int]:
    """Submit parts, at most ``width()`` at a time, and yield each once it is done, whichever is first.

    Raises:
        GradattnError: Ray gave up on a part, called ``what`` and its index.
        Exception: what the first failed part raised.
    """
    finished: SimpleQueue[tuple[int, PrefectFuture[None]]] = SimpleQueue()
    running = 0
    for index in indices:
        while running >= width():
            yield _completed(what, *finished.get())
            running -= 1
        future = submit(index)
        future.add_done_callback(lambda future, index=index: finished.put((index, future)))  # type: ignore[misc]
        running += 1
    for _ in range(running):
        yield _completed(what, *finished.get())


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


def _may_recover(_task: object, _run: object, state: State[Any]) -> bool:
    """A disk or a device may; what the user must change will not."""
    return not isinstance(state.data, GradattnError)


@cache
def _task(stage: Stage) -> Task[..., None]:
    name = f"{stage.name} {stage.part} {{index}}" if stage.part else stage.name
    return audit_task(stage.name, name)(compute_part)


@contextmanager
def _on_devices(plan: Plan, workers: Workers) -> Iterator[Callable[[Stage], None]]:
    width = len(workers.devices)
    token = _workers.set(workers)
    try:
        runner: TaskRunner[Any]
        with ThreadPoolTaskRunner(max_workers=width) as runner:
            try:
                yield lambda stage: _spread(plan, stage, _submitter(plan, stage, runner), lambda: width)
            except BaseException:
                # Leaving the runner waits for its threads, which wait for the processes.
                workers.stop()
                raise
    finally:
        _workers.reset(token)


@contextmanager
def _on_cluster(plan: Plan) -> Iterator[Callable[[Stage], None]]:
    context = FlowRunContext.get()
    if context is None:
        raise RuntimeError("a cluster is shared out in a flow run only")
    server = PREFECT_API_URL.value()
    # Without its address each worker would start a temporary server of its own.
    reached = nullcontext() if server else temporary_settings({PREFECT_API_URL: str(context.client.api_url)})
    with reached, join_cluster(plan.config, server) as share:
        release_model()
        # Optional packages are imported by name, so that types can be checked where they are not installed.
        remote_options = import_module("prefect_ray.context").remote_options
        runner_type = import_module("prefect_ray.task_runners").RayTaskRunner
        storage = plan.config.ray_storage
        exchange = None if storage is None else Exchange(join(storage, plan.audit_id))

        def compute(stage: Stage) -> None:
            if exchange is not None:
                exchange.begin(plan, stage)
            submit = _submitter(plan, stage, runner, share=share, exchange=exchange)
            # With the next task at hand no slot waits for the driver; a cluster that can grow sees that there is more.
            _spread(plan, stage, submit, lambda: 2 * share.slots(), exchange)

        with runner_type() as runner, remote_options(**share.options):
            yield compute
        if exchange is not None:
            try:
                exchange.remove()
            except GradattnError as error:
                get_run_logger().warning(f"what was exchanged is left behind: {error}")


def _submitter(
    plan: Plan, stage: Stage, runner: TaskRunner[Any], **arguments: object
) -> Callable[[int], PrefectFuture[None]]:
    task, where = _task(stage), {"stage_name": stage.name, "folder": str(plan.folder)}
    return lambda index: runner.submit(task, {**where, "index": index, **arguments})


def _spread(
    plan: Plan,
    stage: Stage,
    submit: Callable[[int], PrefectFuture[None]],
    width: Callable[[], int],
    exchange: Exchange | None = None,
) -> None:
    """Compute the missing parts elsewhere; those whose file is there cost no task."""
    if not stage.part:
        compute_here(plan, stage)
        return
    missing, parts = stage.missing(plan), stage.parts(plan)
    done = parts - len(missing)
    stage.tell(plan, len(missing), listener.get())
    completed = completed_parts(f"{stage.name} {stage.part}", missing, submit, width)
    for index in track(stage.name, f"{stage.part}s", parts, completed, done):
        if exchange is not None:
            exchange.fetch(stage.files(plan, index))
        _wait_for(stage.file(plan, index))
        done += 1
        stage.tell(plan, parts - done, listener.get())


def _completed(what: str, index: int, future: PrefectFuture[None]) -> int:
    try:
        future.result()
    except Exception as error:
        if type(error).__module__.split(".")[0] != "ray":
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise GradattnError(
            f"Ray gave up on {what} {index} ({reason}); what was finished is kept, the same command continues"
        ) from error
    return index


def _wait_for(path: Path) -> None:
    """A network file system may show late what another machine has written."""
    deadline = time.monotonic() + _VISIBLE_SECONDS
    while not path.exists():
        if time.monotonic() > deadline:
            raise GradattnError(
                f"{path} was written on another machine and cannot be seen here: the output folder must lie on "
                "storage that every node has under the same path"
            )
        time.sleep(1)
