"""Spreads the parts of a stage over the devices of this machine: one process per device, each with its own model."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType

import torch

from gradattn_core.audit.loading import release_model
from gradattn_core.audit.plan import Plan, add_note, load_plan
from gradattn_core.audit.stages import STAGES, Stage
from gradattn_core.dataset.secrets import Secrets, add_secrets, current_secrets
from gradattn_core.errors import GradattnError, ModelError
from gradattn_core.model.device import pick_device
from gradattn_core.progress import Progress, silent

_FAREWELL_SECONDS = 10


def local_devices(name: str) -> tuple[str, ...]:
    """What an audit asked for this device computes on: every GPU for ``auto`` and ``cuda``, else the one it names.

    Raises:
        ModelError: it is not usable here.
    """
    # Once a kernel has run, the count is CUDA's own; before, it is the driver's, which may see more.
    is_spread = name in ("auto", "cuda") and pick_device(name).type == "cuda"
    count = torch.cuda.device_count() if is_spread else 0
    return tuple(f"cuda:{index}" for index in range(count)) if count > 1 else (name,)


@contextmanager
def local_workers(plan: Plan, devices: Sequence[str] | None = None) -> Iterator[Workers | None]:
    """Processes for these devices, those of :func:`local_devices` by default; None for one, which needs no other."""
    devices = local_devices(plan.config.device) if devices is None else devices
    if len(devices) < 2 or not plan.config.has_model:
        yield None
        return
    release_model()
    with Workers(plan, devices) as workers:
        yield workers


def run_stage(plan: Plan, stage: Stage, workers: Workers | None, progress: Progress = silent) -> None:
    """Compute every missing part of a stage, in this process where ``workers`` is None or there is one part only.

    Raises:
        GradattnError: a worker process was lost; what was finished is kept.
    """
    if workers is None or not stage.part:
        if stage.together is not None:
            stage.together(plan, progress)
            return
        for index in range(stage.parts(plan)):
            stage.run(plan, index, progress)
        return
    missing = stage.missing(plan)
    stage.tell(plan, len(missing), progress)
    with ThreadPoolExecutor(len(workers.devices), thread_name_prefix=stage.name) as pool:
        try:
            futures = [pool.submit(workers.run, stage, index) for index in missing]
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                stage.tell(plan, len(missing) - done, progress)
        except BaseException:
            # The threads wait for their processes, and leaving the pool waits for its threads.
            pool.shutdown(wait=False, cancel_futures=True)
            workers.stop()
            raise


@dataclass(frozen=True, slots=True)
class _Worker:
    device: str
    process: BaseProcess
    connection: Connection


class Workers:
    """One process per device, for as long as the context is entered; each loads the audit's model once.

    A device on which no kernel runs gets no work, which is noted; ``devices`` are the others once it is entered.

    They compute with as many threads as this process would, so that their results are its results, to the bit on
    devices of one kind. The processes are spawned: a program that audits on several GPUs needs the usual
    ``if __name__ == "__main__":``.
    """

    def __init__(self, plan: Plan, devices: Sequence[str]) -> None:
        self.devices = tuple(devices)
        self._folder = plan.folder
        decoders = plan.config.workers or max(1, (os.cpu_count() or 1) // len(self.devices))
        self._limits = (torch.get_num_threads(), decoders)
        self._workers: list[_Worker] = []
        self._idle: SimpleQueue[_Worker] = SimpleQueue()

    def __enter__(self) -> Workers:
        context = multiprocessing.get_context("spawn")
        try:
            for device in self.devices:
                ours, theirs = context.Pipe()
                arguments = (theirs, self._folder, device, *self._limits, current_secrets())
                # No daemon: it has children of its own where processes decode.
                process = context.Process(target=_work, args=arguments, name=f"gradattn {device}")
                process.start()
                # With the other end open here too, the loss of the process would go unnoticed.
                theirs.close()
                self._workers.append(_Worker(device, process, ours))
            self._keep_usable()
        except BaseException:
            self.stop()
            raise
        return self

    def _keep_usable(self) -> None:
        """Wait for every process to say whether it can begin.

        Raises:
            GradattnError: none can, or one was lost on its way.
        """
        reasons = {}
        for worker in self._workers:
            try:
                refusal = worker.connection.recv()
            except (EOFError, OSError) as error:
                worker.process.join()
                raise GradattnError(
                    f"the worker process on {worker.device} was lost before its work (exit code "
                    f"{worker.process.exitcode}; memory may have run out)"
                ) from error
            if refusal is None:
                self._idle.put(worker)
            elif isinstance(refusal, ModelError):
                reasons[worker] = str(refusal)
            else:
                raise refusal
        if len(reasons) == len(self._workers):
            raise GradattnError("; ".join(dict.fromkeys(reasons.values())))
        for worker, reason in reasons.items():
            warnings.warn(f"{reason}; the other devices do its part", stacklevel=2)
            add_note(self._folder, f"{worker.device} did not take part: {reason}.")
            worker.process.join()
        self._workers = [worker for worker in self._workers if worker not in reasons]
        self.devices = tuple(worker.device for worker in self._workers)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            for worker in self._workers:
                with suppress(OSError):
                    worker.connection.send(None)
            for worker in self._workers:
                worker.process.join(_FAREWELL_SECONDS)
        self.stop()

    def stop(self) -> None:
        """End every process at once; safe at any moment, since a result is a whole file or none."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()

    def run(self, stage: Stage, index: int) -> None:
        """Have the next idle process compute a part, and wait for it; meant for as many threads as devices.

        Raises:
            GradattnError: the process was lost.
            Exception: what the part raised.
        """
        worker = self._idle.get()
        try:
            worker.connection.send((stage.name, index))
            answer = worker.connection.recv()
        except (EOFError, OSError) as error:
            worker.process.join()
            raise GradattnError(
                f"the worker process on {worker.device} was lost at {stage.name} {stage.part} {index} (exit code "
                f"{worker.process.exitcode}; memory may have run out); what was finished is kept, the same command "
                "continues"
            ) from error
        finally:
            self._idle.put(worker)
        if isinstance(answer, Exception):
            raise answer


def _work(connection: Connection, folder: Path, device: str, threads: int, decoders: int, secrets: Secrets) -> None:
    """What a worker process does until it is told None, or nobody is there to tell it anything."""
    # Ctrl-C reaches every process of the terminal; the audit's own decides what becomes of the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The model was loaded by the audit's own process first, which has said what there is to say about it.
    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    add_secrets(secrets)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        if pick_device(device).type == "cuda":
            # Else pinned memory would open a context on the first GPU too.
            torch.cuda.set_device(torch.device(device))
        plan = load_plan(folder)
        plan = replace(plan, config=replace(plan.config, device=device, workers=decoders))
    except Exception as error:
        connection.send(_as_sent(error))
        return
    with suppress(EOFError, BrokenPipeError):
        connection.send(None)
        while (part := connection.recv()) is not None:
            stage, index = part
            connection.send(_outcome(plan, STAGES[stage], index))


def _end_with_parent() -> None:
    """Whoever waits for this process is gone once its parent is, and a part may take an hour."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _outcome(plan: Plan, stage: Stage, index: int) -> Exception | None:
    """Compute a part; an error is returned, with the place where it happened as a note."""
    try:
        stage.run(plan, index, silent)
    except Exception as error:
        return _as_sent(error)
    return None


def _as_sent(error: Exception) -> Exception:
    """An error as it can travel to another process, with the place where it happened as a note."""
    error.add_note(traceback.format_exc())
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
