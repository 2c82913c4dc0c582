"""The Ray cluster that parts of an audit are spread over: connected to or started here, checked, and shared out."""

from __future__ import annotations

import ipaddress
import os
import re
import signal
import socket
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import torch

from flows.exchange import checkpoint_name
from gradattn_core.audit.computing import no_engine_for, swept_by
from gradattn_core.audit.plan import Plan, load_plan
from gradattn_core.config import AuditConfig
from gradattn_core.dataset.decoding import read_bytes
from gradattn_core.dataset.secrets import without_secrets
from gradattn_core.errors import GradattnError, ModelError, UnreadableImageError
from gradattn_core.files import user_path
from gradattn_core.outfolder import AuditFolder

# Ray asks for at least 75 MiB to pass objects in; the results of an audit are files.
_OBJECT_STORE_BYTES = 100 * 2**20
_RETRIES = 3
_LOOKED_FOR = 20
_ANSWER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster that is alive: its host's name and address, and what it offers."""

    host: str
    address: str
    cpus: float
    gpus: float


@dataclass(frozen=True)
class Share:
    """What one task may use of a node.

    Attributes:
        device: ``cuda``, the GPU that Ray gives it, or ``cpu``.
        cores: CPU cores that are kept for it.
        threads: torch computes with; as many as the driver would, because training depends on it in the last digits.
    """

    device: str
    cores: int
    threads: int

    @property
    def options(self) -> dict[str, int]:
        """For Ray: what a task occupies, whether its process is kept for the next one, and that a lost one is repeated.

        A process sees the GPU that it began with for good, whichever one Ray gives its later tasks: two of them would
        share one while another idles. So each task on a GPU has a process of its own.
        """
        return {
            "num_cpus": self.cores,
            "num_gpus": int(self.device == "cuda"),
            "max_calls": int(self.device == "cuda"),
            "max_retries": _RETRIES,
        }

    def slots(self) -> int:
        """How many tasks the cluster can run at a time, as it is now; at least 1."""
        return max(1, sum(int(node.cpus // self.cores if self.device == "cpu" else node.gpus) for node in _nodes()))


def for_runner(config: AuditConfig) -> AuditConfig:
    """The configuration as its runner needs it, once it is clear that Ray is here and can be asked for this.

    Raises:
        GradattnError: Ray is not installed, or the device or the address is one that a cluster cannot use.
    """
    if config.runner != "ray":
        return config
    if any(find_spec(name) is None for name in ("ray", "prefect_ray")):
        raise GradattnError("runner 'ray' needs packages that are not installed; pip install 'gradattn[ray]' adds them")
    if config.device not in ("auto", "cpu", "cuda"):
        raise GradattnError(
            f"device {config.device!r} is one of this machine; on a Ray cluster auto, cpu and cuda work"
        )
    address = _address(config)
    if address is not None and address != "auto" and not re.fullmatch(r"[^\s/]+:\d+", address):
        raise GradattnError(
            f"Ray address {address!r} is not HOST:PORT of the cluster's head, such as 10.0.0.5:6379, nor auto"
        )
    # A node's own folder is not the one that a relative path was meant from.
    checkpoint = config.checkpoint and str(user_path(config.checkpoint).resolve())
    storage = config.ray_storage
    if storage is not None and "://" not in storage:
        raise GradattnError(
            f"ray_storage {storage!r} is no URL, such as s3://bucket/folder; a folder is what --out names"
        )
    if storage is not None and without_secrets(storage) != storage:
        raise GradattnError(
            f"ray_storage {without_secrets(storage)} came with a password, which the other machines would not know; "
            "give credentials in the environment of every node"
        )
    return replace(config, checkpoint=checkpoint)


@contextmanager
def join_cluster(config: AuditConfig, server: str | None) -> Iterator[Share]:
    """Be part of a cluster: that of the configuration, else one of this machine alone, which ends with the context.

    Args:
        config: a prepared one.
        server: address of Prefect's server; ``None`` is one that only this machine reaches.

    Raises:
        GradattnError: no cluster answers, it cannot do what is asked, or its nodes cannot report to the server.
    """
    address = _address(config)
    ray = _connect(address) if address is not None else _start()
    try:
        nodes = _nodes()
        require_reachable(server, sorted({node.host for node in nodes} - {socket.gethostname()}))
        yield share_of(nodes, config, torch.get_num_threads())
    finally:
        ray.shutdown()


def share_of(nodes: Sequence[Node], config: AuditConfig, threads: int) -> Share:
    """A GPU and its part of the cores for each task, else ``threads`` cores.

    Raises:
        GradattnError: ``cuda`` is asked for and there is no GPU, or there is one that the engine does not compute on.
    """
    with_gpu = [node for node in nodes if node.gpus >= 1]
    if config.device == "cuda" and not with_gpu:
        raise GradattnError("device 'cuda': no node of the Ray cluster has a GPU; auto or cpu work")
    if with_gpu and config.device != "cpu":
        if config.engine != "torch":
            raise no_engine_for(config, "the GPUs of the Ray cluster")
        return Share("cuda", max(1, min(int(node.cpus // node.gpus) for node in with_gpu)), threads)
    # The smallest node takes part too; a head without CPUs is there to lead only.
    smallest = min((int(node.cpus) for node in nodes if node.cpus >= 1), default=1)
    return Share("cpu", min(threads, smallest), threads)


def require_reachable(server: str | None, others: Collection[str]) -> None:
    """Fail where tasks on other machines could not report to Prefect's server.

    Args:
        server: its address; ``None`` is one that only this machine reaches.
        others: names of the cluster's other machines.
    """
    host = urlsplit(server or "").hostname or "localhost"
    here = host == "localhost"
    with suppress(ValueError):
        here = ipaddress.ip_address(host).is_loopback
    if others and here:
        what = f"Prefect's server at {server}" if server else "a temporary Prefect server"
        raise GradattnError(
            f"the Ray cluster has other machines ({', '.join(islice(others, 3))}), which cannot reach {what}; set "
            "PREFECT_API_URL to a server that every node reaches"
        )


@lru_cache(maxsize=1)
def plan_on_node(folder: str, share: Share, is_own: bool = False) -> Plan:
    """The plan, in a worker process of the cluster, which opens it once.

    Args:
        folder: where it lies.
        is_own: whether the folder is this process's own, to which the checkpoint came too, not one that all share.

    Raises:
        GradattnError: this node cannot see the audit's files, or lacks what its sweep is computed by.
    """
    torch.set_num_threads(share.threads)
    _require_visible(AuditFolder(Path(folder)).plan.exists(), folder)
    plan = load_plan(folder)
    checkpoint = plan.config.checkpoint
    if is_own and checkpoint is not None:
        checkpoint = str(Path(folder, checkpoint_name(checkpoint)))
    _require_visible(checkpoint is None or os.path.exists(checkpoint), str(checkpoint))
    # Pictures that are not there would otherwise be taken for broken ones.
    some = islice(plan.listing["path"], _LOOKED_FOR)
    _require_visible(any(_is_there(plan.root, path) for path in some), plan.root)
    workers = plan.config.workers or share.cores
    config = replace(plan.config, device=share.device, workers=workers, checkpoint=checkpoint)
    try:
        swept_by(config, plan.precision)
    except ModelError as error:
        raise ModelError(f"node {socket.gethostname()}: {error}") from error
    return replace(plan, config=config)


def _is_there(root: str, path: str) -> bool:
    """Whether this node can get at an image; one in a store of objects has to be read to know."""
    address = os.path.join(root, path)
    if "://" not in address:
        return os.path.exists(address)
    try:
        return bool(read_bytes(root, path))
    except UnreadableImageError:
        return False


def _require_visible(is_visible: bool, path: str) -> None:
    if not is_visible:
        raise GradattnError(
            f"node {socket.gethostname()} cannot see {path}: output folder, images and checkpoint must lie on storage "
            "that every node has under the same path"
        )


def _address(config: AuditConfig) -> str | None:
    return config.ray_address or os.environ.get("RAY_ADDRESS") or None


def _connect(address: str) -> ModuleType:
    if address != "auto":
        # Ray itself takes a minute to notice that nobody is there.
        host, port = address.rsplit(":", 1)
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise GradattnError(f"Ray cluster at {address}: nobody answers there ({error})") from error
    try:
        return _init(address)
    except Exception as error:
        # Ray raises many kinds here: nobody there, another version of Ray or Python, no token, this machine no node.
        reason = " ".join(str(error).split())
        raise GradattnError(f"Ray cluster at {address}: this machine cannot take part ({reason})") from error


def _start() -> ModuleType:
    """A cluster of this machine alone, that listens to this machine alone."""
    # Ray reads these when it is imported; the first makes it stay on the loopback address.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    ray = _init("local", include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES)
    exposed = [node.address for node in _nodes()]
    if exposed != ["127.0.0.1"]:
        ray.shutdown()
        raise GradattnError(
            f"Ray would listen on {', '.join(exposed)}, not on this machine alone: something imported it before; set "
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0"
        )
    return ray


def _init(address: str, **arguments: Any) -> ModuleType:
    """Import Ray and connect, without its taking over the program's logging and handling of SIGTERM."""
    ray = _ray()
    before = signal.getsignal(signal.SIGTERM)
    ray.init(address, configure_logging=False, log_to_driver=False, **arguments)
    with suppress(ValueError):  # not in the main thread, where Ray sets none either
        signal.signal(signal.SIGTERM, before)
    return ray


def _ray() -> ModuleType:
    """An optional package, imported by name so that types can be checked where it is not installed."""
    return import_module("ray")


def _nodes() -> list[Node]:
    return [
        Node(
            host=str(node["NodeManagerHostname"]),
            address=str(node["NodeManagerAddress"]),
            cpus=float(node["Resources"].get("CPU", 0)),
            gpus=float(node["Resources"].get("GPU", 0)),
        )
        for node in _ray().nodes()
        if node["Alive"]
    ]
