"""Gets the audit's model and its pictures into memory: the model once per process, the pictures ahead of their use."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import lru_cache

import torch
from cachetools import LRUCache, cached
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from gradattn_core.config import AuditConfig
from gradattn_core.dataset.address import is_url, whole_picture
from gradattn_core.dataset.decoding import decode_image, read_bytes
from gradattn_core.dataset.pixels import FULL_WHITE
from gradattn_core.dataset.plain_jpeg import plain_jpeg
from gradattn_core.dataset.secrets import Secrets, add_secrets, current_secrets
from gradattn_core.errors import GradattnError, UnreadableImageError
from gradattn_core.model.backbone import load_model
from gradattn_core.model.device import pick_device
from gradattn_core.model.preprocessing import Preprocessing
from gradattn_core.records import Failure, ImageRecord

_AHEAD = 3
_CPU = torch.device("cpu")
# A GPU's batches are halved where its memory does not suffice, and travel through shared memory: 10 MB at 224 pixels.
# A sweep puts several of them through the model at once: of 64 images NVIDIA's fastest wait for the next kernel.
_BATCH_ON_CPU, _BATCH_ON_GPU, _SWEPT_ON_CUDA = 32, 64, 256
# A process weighs half a gigabyte and has two batches under way.
_MOST_PROCESSES = 16
# The one that this process holds.
_models: LRUCache[str, nn.Module] = LRUCache(1)


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """What is known of a picture once it is decoded; ``width`` and ``height`` are the original's."""

    record: ImageRecord
    content_hash: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Some pictures in the order they were asked for.

    Attributes:
        pixels: [len(images), channels, H, W] uint8 on the CPU, as :meth:`Preprocessing.pixels` makes them.
        failed: the pictures that could not be read.
    """

    images: list[LoadedImage]
    pixels: Tensor
    failed: list[Failure]

    def __len__(self) -> int:
        return len(self.images) + len(self.failed)

    def pin_memory(self) -> Batch:
        """In memory that a GPU can fetch from by itself; what torch's loader calls."""
        return replace(self, pixels=self.pixels.pin_memory())


def _model_key(config: AuditConfig, num_classes: int | None = None) -> str:
    return json.dumps([asdict(config.spec), num_classes, str(pick_device(config.device))], sort_keys=True)


@cached(_models, key=_model_key)
def audit_model(config: AuditConfig, num_classes: int | None = None) -> nn.Module:
    """The audit's model on its device; a process that runs many shards loads it once."""
    return load_model(config.spec, num_classes=num_classes, device=pick_device(config.device), needs_maps=False)


def release_model() -> None:
    """Let go of the model that this process holds: where others compute, it would only take memory of a GPU."""
    _models.clear()
    torch.cuda.empty_cache()


def load_batches(
    root: str,
    images: Sequence[ImageRecord],
    preprocessing: Preprocessing,
    config: AuditConfig,
    device: torch.device,
    white: int = FULL_WHITE,
) -> Iterator[Batch]:
    """Some images in batches; see :func:`stream_batches`."""
    size = config.batch_size or (_BATCH_ON_CPU if device.type == "cpu" else _BATCH_ON_GPU)
    batches = (list(images[start : start + size]) for start in range(0, len(images), size))
    return stream_batches(root, batches, preprocessing, config, device, white)


def swept_at_once(config: AuditConfig, device: torch.device) -> tuple[int, int]:
    """Of how many images a sweep's batches are as they are loaded, and how many of them the model takes at once."""
    if device.type == "cpu":
        return config.batch_size or _BATCH_ON_CPU, 1
    asked = config.batch_size or (_SWEPT_ON_CUDA if device.type == "cuda" else _BATCH_ON_GPU)
    together = -(-asked // _BATCH_ON_GPU)
    return -(-asked // together), together


def stream_batches(
    root: str,
    batches: Iterable[list[ImageRecord]],
    preprocessing: Preprocessing,
    config: AuditConfig,
    device: torch.device,
    white: int = FULL_WHITE,
) -> Iterator[Batch]:
    """Read and decode a few batches ahead of the model, in their order; ``white`` as in ``decode_image``.

    The batches are asked for as far ahead as they are loaded, by whichever thread asks for the next result.

    On a CPU, which the model shares with them, threads decode: they cost nothing to start and share the model's cores.
    They wait for Python's lock about a third of the time, so what feeds a GPU from plain files is processes; an archive
    would be opened, and where it is compressed unpacked, by each of them.

    Raises:
        GradattnError: a decoding process was lost.
    """
    pictures = _Pictures(root, preprocessing, white)
    workers = config.workers or os.cpu_count() or 1
    if device.type == "cpu" or is_url(whole_picture(root)):
        yield from _in_threads(pictures, batches, workers)
    else:
        yield from _in_processes(pictures, batches, min(workers, _MOST_PROCESSES), device)


def read_facts(
    root: str, images: Sequence[ImageRecord], workers: int, white: int = FULL_WHITE
) -> Iterator[LoadedImage | Failure]:
    """What is known of pictures that no model looks at; those that cannot be read are found out all the same."""

    def read(record: ImageRecord) -> LoadedImage | Failure:
        try:
            # The least that a JPEG can be decoded at.
            decoded = decode_image(
                read_bytes(root, record.path), os.path.basename(record.path), suffices=lambda *size: (1, 1), white=white
            )
        except UnreadableImageError as error:
            return Failure(record.path, "decode", str(error), record.label)
        return LoadedImage(record, decoded.content_hash, decoded.width, decoded.height)

    with ThreadPoolExecutor(workers or os.cpu_count(), thread_name_prefix="read") as pool:
        try:
            yield from pool.map(read, images)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class _Pictures(Dataset[list[LoadedImage]]):
    """What a record shows, decoded; it travels to worker processes, whose standard error nobody reads."""

    def __init__(self, root: str, preprocessing: Preprocessing, white: int = FULL_WHITE, unheard: bool = False) -> None:
        self.root, self.preprocessing, self.white = root, preprocessing, white
        # Both decoders have one picture of a file; only one of them can be kept from writing to the terminal.
        self._by_torchvision = unheard and preprocessing.input_size[0] == 3 and preprocessing.resizes_tensors

    def __reduce__(self) -> tuple[Callable[..., _Pictures], tuple[str, Preprocessing, int, Secrets]]:
        # A process that is started to read from a URL does not know the password that was typed into this one.
        return _unpickled, (self.root, self.preprocessing, self.white, current_secrets())

    def load(self, record: ImageRecord) -> tuple[LoadedImage, Tensor] | Failure:
        try:
            data = read_bytes(self.root, record.path)
            suffices = self.preprocessing.suffices
            plain = plain_jpeg(data, suffices) if self._by_torchvision else None
            if plain is not None:
                seen = LoadedImage(record, plain.content_hash, plain.width, plain.height)
                return seen, self.preprocessing.pixels(plain.pixels)
            decoded = decode_image(data, os.path.basename(record.path), suffices=suffices, white=self.white)
            seen = LoadedImage(record, decoded.content_hash, decoded.width, decoded.height)
            return seen, self.preprocessing.pixels(decoded.image)
        except UnreadableImageError as error:
            return Failure(record.path, "decode", str(error), record.label)

    def __getitems__(self, records: list[ImageRecord]) -> Batch:
        return self.collect([self.load(record) for record in records])

    def collect(self, results: list[tuple[LoadedImage, Tensor] | Failure]) -> Batch:
        loaded = [result for result in results if not isinstance(result, Failure)]
        pixels = torch.empty((len(loaded), *self.preprocessing.input_size), dtype=torch.uint8)
        for row, (_, picture) in enumerate(loaded):
            pixels[row] = picture
        failed = [result for result in results if isinstance(result, Failure)]
        return Batch([image for image, _ in loaded], pixels, failed)


def _unpickled(root: str, preprocessing: Preprocessing, white: int, secrets: Secrets) -> _Pictures:
    add_secrets(secrets)
    return _Pictures(root, preprocessing, white, unheard=True)


def _in_threads(pictures: _Pictures, batches: Iterable[list[ImageRecord]], workers: int) -> Iterator[Batch]:
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        waiting: deque[list[Future[tuple[LoadedImage, Tensor] | Failure]]] = deque()
        try:
            for batch in batches:
                waiting.append([pool.submit(pictures.load, record) for record in batch])
                if len(waiting) > _AHEAD:
                    yield pictures.collect([future.result() for future in waiting.popleft()])
            while waiting:
                yield pictures.collect([future.result() for future in waiting.popleft()])
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _in_processes(
    pictures: _Pictures, batches: Iterable[list[ImageRecord]], workers: int, device: torch.device = _CPU
) -> Iterator[Batch]:
    loader, sampler = _process_loader(pictures.root, pictures.preprocessing, pictures.white, workers, device)
    sampler.batches = batches
    try:
        # In the main thread torch would install a handler for the signal of a dead child, and that raises anywhere,
        # also after the loss was told here. Without it a loss is found where the batch is missed.
        with ThreadPoolExecutor(1) as elsewhere:
            loaded = elsewhere.submit(_begun, loader, device).result()
        yield from loaded
    except (RuntimeError, OSError, EOFError) as error:
        # A loader that has lost a process brings nothing any more; the next stage gets another.
        _process_loader.cache_clear()
        reason = " ".join(str(error).split())
        # What was raised inside a process comes as "Caught …"; the others are how a dead one shows when it is asked.
        if reason.startswith("Caught ") or (
            isinstance(error, RuntimeError) and not reason.startswith("DataLoader worker")
        ):
            raise
        raise GradattnError(
            f"a process that decodes pictures was lost ({reason[:200] or type(error).__name__}; memory, or shared "
            "memory in /dev/shm, may have run out): --workers 4 needs less of both, and the same command continues"
        ) from error


def _begun(loader: DataLoader[Batch], device: torch.device) -> Iterator[Batch]:
    """Its iterator, whose thread pins memory for the device that is the current one of the thread that asks."""
    if device.type == "cuda" and device.index is not None:
        torch.accelerator.set_device_index(device.index)
    return iter(loader)


class _Sampler:
    """The batches that the loader is to bring next; they change from stage to stage, its processes stay."""

    def __init__(self) -> None:
        self.batches: Iterable[list[ImageRecord]] = ()

    def __iter__(self) -> Iterator[list[ImageRecord]]:
        return iter(self.batches)


@lru_cache(maxsize=1)
def _process_loader(
    root: str, preprocessing: Preprocessing, white: int, workers: int, device: torch.device
) -> tuple[DataLoader[Batch], _Sampler]:
    sampler = _Sampler()
    loader: DataLoader[Batch] = DataLoader(
        _Pictures(root, preprocessing, white),  # type: ignore[arg-type]
        batch_sampler=sampler,
        collate_fn=_as_it_is,  # type: ignore[arg-type]
        num_workers=workers,
        persistent_workers=True,
        worker_init_fn=_unheard,
        pin_memory=device.type == "cuda",
        # A forked child of a process with threads (DuckDB's, torch's) may wait for ever for a lock that nobody holds.
        multiprocessing_context="spawn",
    )
    return loader, sampler


def _unheard(worker: int) -> None:
    """Close standard error of a process that decodes: what Python has to say travels with the batches."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)


def _as_it_is(batch: Batch) -> Batch:
    return batch
