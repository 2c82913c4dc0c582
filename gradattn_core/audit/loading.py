"""Gets the audit's model and its pictures into memory: the model once per process, the pictures ahead of their use."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from gradattn_core.audit.config import AuditConfig
from gradattn_core.dataset import decode_image, read_bytes
from gradattn_core.errors import UnreadableImageError
from gradattn_core.model import ModelSpec, Preprocessing, load_model, pick_device
from gradattn_core.records import Failure, ImageRecord

_AHEAD = 3


@dataclass(frozen=True)
class LoadedImage:
    """A decoded, preprocessed picture; ``pixels`` is [channels, H, W], ``width`` and ``height`` are the original's."""

    record: ImageRecord
    pixels: Tensor
    content_hash: str
    width: int
    height: int


def audit_model(config: AuditConfig, num_classes: int | None = None) -> nn.Module:
    """The audit's model on its device; a process that runs many shards loads it once."""
    spec = config.spec
    arguments = json.dumps(spec.arguments, sort_keys=True)
    device = str(pick_device(config.device))
    return _cached_model(spec.name, spec.checkpoint, arguments, spec.from_scratch, num_classes, device)


def load_batches(
    root: str, images: list[ImageRecord], preprocessing: Preprocessing, config: AuditConfig
) -> Iterator[tuple[list[LoadedImage], list[Failure]]]:
    """Decode in threads, a few batches ahead of the model; a picture that cannot be read comes as a failure."""
    workers = config.workers or os.cpu_count() or 1
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        waiting: deque[list[Future[LoadedImage | Failure]]] = deque()
        try:
            for start in range(0, len(images), config.batch_size):
                batch = images[start : start + config.batch_size]
                waiting.append([pool.submit(_load, root, record, preprocessing) for record in batch])
                if len(waiting) > _AHEAD:
                    yield _collect(waiting.popleft())
            while waiting:
                yield _collect(waiting.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def stack(images: Iterable[LoadedImage], device: torch.device) -> Tensor:
    """[B, channels, H, W] on the device."""
    return torch.stack([image.pixels for image in images]).to(device)


def _load(root: str, record: ImageRecord, preprocessing: Preprocessing) -> LoadedImage | Failure:
    try:
        decoded = decode_image(read_bytes(root, record.path), os.path.basename(record.path))
        pixels = preprocessing(decoded.image)
    except UnreadableImageError as error:
        return Failure(record.path, "decode", str(error))
    return LoadedImage(record, pixels, decoded.content_hash, decoded.width, decoded.height)


def _collect(futures: list[Future[LoadedImage | Failure]]) -> tuple[list[LoadedImage], list[Failure]]:
    results = [future.result() for future in futures]
    loaded = [result for result in results if isinstance(result, LoadedImage)]
    return loaded, [result for result in results if isinstance(result, Failure)]


@lru_cache(maxsize=1)
def _cached_model(
    name: str, checkpoint: str | None, arguments: str, from_scratch: bool, num_classes: int | None, device: str
) -> nn.Module:
    spec = ModelSpec(name, checkpoint, json.loads(arguments), from_scratch)
    return load_model(spec, num_classes=num_classes, device=device)
