"""Published weights: from the hub's cache where they are there, which asks nobody; else fetched once, with progress.

timm would ask the hub of a cached file too, and wait for one that swallows packets for minutes, without a word.
The hub's own library fetches, so ``HF_ENDPOINT``, ``HF_HUB_OFFLINE``, ``HF_HOME``, tokens and proxies are obeyed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from timm.models import get_pretrained_cfg, parse_model_name
from tqdm import tqdm

from gradattn_core.errors import ModelError
from gradattn_core.progress import Progress, silent

STEP = "weights"
"""What progress is told under, in bytes."""
PATIENCE = 40.0
"""Seconds in which a hub has to send something."""
_SOMETHING = 65_536
_CONFIG, _WEIGHTS = "config.json", "pytorch_model.bin"
_SAFE = {_WEIGHTS: "model.safetensors", "open_clip_pytorch_model.bin": "open_clip_model.safetensors"}


@dataclass(frozen=True)
class Source:
    """Where on the hub a model's files are.

    Attributes:
        weights: names that the file of the weights may have, the best one first.
        is_named_by_hub: the model's name is an address of the hub, whose configuration says what to build.
    """

    repository: str
    revision: str | None
    weights: tuple[str, ...]
    is_named_by_hub: bool


@dataclass
class _Fetching:
    """What the thread that fetches leaves for the one that waits for it."""

    bytes: int = 0
    total: int = 0
    path: str = ""
    error: BaseException | None = None
    done: threading.Event = field(default_factory=threading.Event)


def source_of(name: str) -> Source | None:
    """Where a timm model's files are published; None where that is not on the hub, or nowhere."""
    kind, identity = parse_model_name(name)
    if kind == "hf-hub":
        repository, _, revision = identity.partition("@")
        return Source(repository, revision or None, _candidates(None), is_named_by_hub=True)
    if kind is not None:
        return None
    config = get_pretrained_cfg(identity, allow_unregistered=True)
    if config is None or not config.hf_hub_id or config.file:
        return None
    repository, _, revision = config.hf_hub_id.partition("@")
    return Source(repository, revision or None, _candidates(config.hf_hub_filename), is_named_by_hub=False)


def located(name: str, *, pretrained: bool, progress: Progress = silent) -> tuple[str, dict[str, object]]:
    """What to call ``timm.create_model`` with so that it asks nobody: a name, and further arguments.

    Args:
        name: as the user gave it; the answer is the same where it is not published on the hub.
        pretrained: whether the weights are needed, beside what the hub says of an ``hf-hub:`` model.
        progress: told ``weights`` in bytes while something is fetched.

    Raises:
        ModelError: it cannot be fetched: the hub is out of reach, does not answer, or has no such file.
    """
    source = source_of(name)
    if source is None:
        return name, {}
    if not source.is_named_by_hub:
        if not pretrained:
            return name, {}
        # The hub's file is one of timm's own, also where the cfg's other address holds a foreign format.
        file = _file(source, source.weights, name, progress)
        return name, {"pretrained_cfg_overlay": {"file": file, "custom_load": False}}
    folder = Path(_file(source, (_CONFIG,), name, progress)).parent
    if pretrained:
        _file(source, source.weights, name, progress)
    return f"local-dir:{folder}", {}


def _candidates(filename: str | None) -> tuple[str, ...]:
    file = filename or _WEIGHTS
    return (_SAFE[file], file) if file in _SAFE else (file,)


def _file(source: Source, names: Sequence[str], model: str, progress: Progress) -> str:
    """The path of the first of these files that is in the cache, else of the first that the hub has."""
    for name in names:
        cached = try_to_load_from_cache(source.repository, name, revision=source.revision)
        if isinstance(cached, str):
            return cached
    fetching = _Fetching()
    # A daemon: a request that hangs in the system cannot be called back, and must not hold the process at its end.
    threading.Thread(target=_fetch, args=(source, names, fetching), name="weights", daemon=True).start()
    _wait(fetching, progress)
    if fetching.path:
        return fetching.path
    raise ModelError(
        f"model {model!r}: its published weights could not be had ({_reason(fetching.error)}); give --checkpoint FILE, "
        "or set HF_ENDPOINT or a proxy that this machine reaches"
    ) from fetching.error


def _wait(fetching: _Fetching, progress: Progress) -> None:
    """Until it is done, or nothing to speak of has come for ``PATIENCE`` seconds."""
    heard, last = -1, time.monotonic()
    while not fetching.done.wait(0.2):
        # Its answer is something too, and so are the last bytes.
        came = fetching.bytes - heard
        if fetching.total and came > 0 and (heard < 0 or came >= min(_SOMETHING, fetching.total - heard)):
            heard, last = fetching.bytes, time.monotonic()
            progress(STEP, min(fetching.bytes, fetching.total), fetching.total)
        elif time.monotonic() - last > PATIENCE:
            fetching.error = TimeoutError(f"{constants.ENDPOINT} has sent nothing for {PATIENCE:.0f} s")
            return
    if fetching.total and fetching.path:
        progress(STEP, fetching.total, fetching.total)


def _fetch(source: Source, names: Sequence[str], fetching: _Fetching) -> None:
    class Counter(tqdm):  # type: ignore[misc]
        """Counts what comes, draws nothing."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*arguments, **options | {"disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            fetching.bytes += int(n or 0)
            return None

    try:
        for name in names:
            try:
                fetching.total = _size(source, name)
                fetching.path = hf_hub_download(source.repository, name, revision=source.revision, tqdm_class=Counter)
                return
            except LocalEntryNotFoundError:
                raise
            except EntryNotFoundError as error:
                fetching.error = error
    except BaseException as error:  # whatever it is, the thread that waits tells of it
        fetching.error = error
    finally:
        fetching.done.set()


def _size(source: Source, name: str) -> int:
    """Bytes of a file of the hub, asked once: the library's own download asks again for minutes.

    Raises:
        Exception: of many kinds; the hub is out of reach, or has no such file.
    """
    if constants.HF_HUB_OFFLINE:
        return 0  # its download says what is missing
    address = hf_hub_url(source.repository, name, revision=source.revision)
    return get_hf_file_metadata(address, timeout=constants.HF_HUB_ETAG_TIMEOUT, retry_on_errors=False).size or 0


def _reason(error: BaseException | None) -> str:
    if constants.HF_HUB_OFFLINE:
        return f"they are not in {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE is set"
    text = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return text if constants.ENDPOINT in text else f"{constants.ENDPOINT}: {text}"
