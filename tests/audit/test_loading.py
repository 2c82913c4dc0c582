"""Pictures on their way to the model: decoded no larger than needed, in threads or processes, in batches that fit."""

from __future__ import annotations

import gc
import http.server
import io
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from operator import methodcaller
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gradattn_core.audit.loading import (
    Batch,
    _in_processes,
    _in_threads,
    _Pictures,
    _process_loader,
    audit_model,
)
from gradattn_core.audit.plan import make_plan, survey_dataset
from gradattn_core.audit.sweep import sweep_shard
from gradattn_core.dataset.decoding import decode_image
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.dataset.secrets import remember
from gradattn_core.errors import GradattnError
from gradattn_core.model import forward as passes
from gradattn_core.model.forward import Forward, _forward, forward, sweep_precision
from gradattn_core.model.preprocessing import Preprocessing
from gradattn_core.records import ImageRecord
from tests.helpers.tiny import Tiny, make_tiny


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    found = make_tiny(tmp_path_factory.mktemp("tiny"), per_class=8)
    (found.dataset / "red" / "broken.png").write_bytes(b"\x89PNG broken")
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (60, 90, 3), np.uint8))
    noise.save(found.dataset / "blue" / "a plain.jpg")
    noise.convert("CMYK").save(found.dataset / "blue" / "a print.jpg")
    whole = (found.dataset / "blue" / "a plain.jpg").read_bytes()
    (found.dataset / "blue" / "a damaged.jpg").write_bytes(whole[:2000] + b"\0\0\0" + whole[2000:])
    return found


@pytest.fixture(autouse=True)
def no_process_stays() -> Iterator[None]:
    yield
    _process_loader.cache_clear()
    gc.collect()


def test_processes_bring_the_batches_that_threads_bring_and_stay_for_the_next_shard(tiny: Tiny, tmp_path: Path) -> None:
    records = list(list_dataset(tiny.dataset).images)
    preprocessing = Preprocessing.of(audit_model(tiny.config(tmp_path)))
    pictures = _Pictures(str(tiny.dataset), preprocessing)
    shards = [[records[start : start + 5] for start in range(first, first + 10, 5)] for first in (0, 10)]
    for batches in shards:
        threads, processes = list(_in_threads(pictures, batches, 2)), list(_in_processes(pictures, batches, 2))
        assert [len(batch) for batch in processes] == [len(batch) for batch in batches]
        assert [seen(batch) for batch in processes] == [seen(batch) for batch in threads]
        assert all(torch.equal(one.pixels, two.pixels) for one, two in zip(processes, threads, strict=True))
    # One epoch may be all shards: batches are asked for as they are loaded, two at most for a process and one to come.
    asked: list[int] = []

    def many() -> Iterator[list[ImageRecord]]:
        for number, record in enumerate(records[:12]):
            asked.append(number)
            yield [record]

    ahead = [len(asked) - done for done, _ in enumerate(_in_processes(pictures, many(), 2), 1)]
    assert max(ahead) <= 4 and ahead[-1] == 0 and len(asked) == 12


def test_processes_read_with_the_signature_that_this_process_was_given(tiny: Tiny, tmp_path: Path) -> None:
    picture = (tiny.dataset / "red" / "red-03.png").read_bytes()

    class Guarded(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = "signature=s3cret" in self.path
            self.send_response(200 if allowed else 403)
            self.send_header("Content-Length", str(len(picture) if allowed else 0))
            self.end_headers()
            if allowed and self.command == "GET":
                self.wfile.write(picture)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Guarded) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/red.png"
        assert remember(f"{url}?signature=s3cret") == url
        pictures = _Pictures("/nowhere", Preprocessing.of(audit_model(tiny.config(tmp_path))))
        (batch,) = _in_processes(pictures, [[ImageRecord(url, "red", 1)]], 1)
        server.shutdown()
    assert not batch.failed and len(batch.images) == 1


def seen(batch: Batch) -> tuple[object, object]:
    return batch.images, batch.failed


def test_a_broken_picture_is_a_failure_of_its_batch_and_takes_no_place_in_it(tiny: Tiny, tmp_path: Path) -> None:
    pictures = _Pictures(str(tiny.dataset), Preprocessing.of(audit_model(tiny.config(tmp_path))))
    names = ["red/red-03.png", "red/broken.png", "red/nowhere.png", "red/red-04.png"]
    (batch,) = _in_threads(pictures, [[ImageRecord(name, "red", 1) for name in names]], 2)
    assert [image.record.path for image in batch.images] == [names[0], names[3]]
    assert [failure.path for failure in batch.failed] == names[1:3] and batch.pixels.shape == (2, 3, 32, 32)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_photograph_is_decoded_small_and_seen_the_same(tiny: Tiny, tmp_path: Path, orientation: int) -> None:
    width, height = 1600, 1200
    across, down = np.meshgrid(np.linspace(0, 6, width), np.linspace(0, 4, height))
    smooth = np.stack([np.sin(across), np.cos(down), np.sin(across + down)], -1) * 100 + 128
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = io.BytesIO()
    Image.fromarray(smooth.astype(np.uint8)).save(data, "JPEG", quality=95, exif=exif)
    preprocessing = Preprocessing.of(audit_model(tiny.config(tmp_path)))
    whole = decode_image(data.getvalue(), "photo.jpg")
    small = decode_image(data.getvalue(), "photo.jpg", suffices=preprocessing.suffices)
    assert (small.width, small.height) == whole.image.size == (whole.width, whole.height)
    assert small.content_hash == whole.content_hash
    # The short side becomes 32, so an eighth of 1200 is still twice what is needed.
    assert small.image.size == tuple(side // 8 for side in whole.image.size)
    difference = (preprocessing(small.image) - preprocessing(whole.image)).abs().max()
    assert difference < 0.03, "of a range of 2, two grey levels of 256"


def test_half_precision_sees_nearly_the_same(tiny: Tiny, tmp_path: Path) -> None:
    model = audit_model(tiny.config(tmp_path))
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    exact, half = forward(model, images), forward(model, images, "bfloat16")
    for name in ("logits", "readout", "features"):
        one, two = getattr(exact, name), getattr(half, name)
        assert two.dtype == torch.float32 and not torch.equal(one, two)
        assert float((one - two).norm() / one.norm()) < 0.02
    assert sweep_precision("auto", torch.device("cuda")) == "float16"


def test_what_is_too_large_for_half_precision_is_computed_in_full(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = audit_model(tiny.config(tmp_path))
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    weight = model.get_parameter("blocks.0.mlp.fc2.weight")
    before = weight.detach().clone()
    try:
        weight.mul_(1e7)
        exact = forward(model, images)
        assert not bool(_forward(model, images, "float16")().features.isfinite().all())
        run: list[str] = []

        def counted(model: nn.Module, images: Tensor, precision: str, by_copy: bool) -> Callable[[], Forward]:
            run.append(precision)
            return _forward(model, images, precision, by_copy)

        monkeypatch.setattr(passes, "_forward", counted)
        for _ in range(5):
            found = forward(model, images, "float16")
            assert torch.equal(found.features, exact.features) and found.precision == "float32"
        assert run == ["float16", *["float32"] * 5], "it is found out once"
    finally:
        weight.copy_(before)
        passes._too_narrow.pop(model, None)


def test_a_number_that_no_precision_has_is_not_taken_for_one_that_is_too_large(tiny: Tiny, tmp_path: Path) -> None:
    model = audit_model(tiny.config(tmp_path))
    broken = torch.full((1, 3, 32, 32), torch.nan)
    assert not forward(model, broken, "float16").is_finite and model not in passes._too_narrow
    assert forward(model, torch.zeros(1, 3, 32, 32), "float16").precision == "float16"


def test_a_pin_thread_works_for_the_gpu_that_computes(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pretended: CUDA's current device is a thread's own, and the first one where nobody has chosen."""
    here, seen, accelerator = threading.local(), [], torch.accelerator

    def choose(index: int) -> None:
        seen.append((threading.current_thread().name.startswith("ThreadPool"), index))
        here.index = index

    monkeypatch.setattr(accelerator, "is_available", lambda: True)
    monkeypatch.setattr(accelerator, "current_device_index", lambda: getattr(here, "index", 0))
    monkeypatch.setattr(accelerator, "set_device_index", choose)
    monkeypatch.setattr(accelerator, "current_accelerator", lambda *_, **__: torch.device("cuda"))
    monkeypatch.setattr(Tensor, "pin_memory", lambda self, *_: self)
    records = list(list_dataset(tiny.dataset).images[:2])
    pictures = _Pictures(str(tiny.dataset), Preprocessing.of(audit_model(tiny.config(tmp_path))))
    for index in (1, 2):
        seen.clear()
        list(_in_processes(pictures, [records], 1, torch.device("cuda", index)))
        assert seen == [(True, index), (False, index)], "chosen where the loader begins, and by its pin thread"


def test_a_lost_decoding_process_is_one_sentence_and_the_next_shard_has_new_ones(tiny: Tiny, tmp_path: Path) -> None:
    pictures = _Pictures(str(tiny.dataset), Preprocessing.of(audit_model(tiny.config(tmp_path))))
    records = [image for image in list_dataset(tiny.dataset).images for _ in range(8)]
    batches = [records[start : start + 8] for start in range(0, len(records), 8)]
    coming = _in_processes(pictures, batches, 1)
    next(coming)
    for child in multiprocessing.active_children():
        child.kill()
    with pytest.raises(GradattnError, match="a process that decodes pictures was lost"):
        list(coming)
    (batch,) = _in_processes(pictures, batches[:1], 1)
    assert len(batch) == 8


def test_an_error_inside_a_decoding_process_is_not_taken_for_its_loss(tiny: Tiny, tmp_path: Path) -> None:
    right = Preprocessing.of(audit_model(tiny.config(tmp_path)))
    asking = "asks a picture for its sixth frame"
    wrong = replace(right, settings=asking, interpolation="lanczos", transform=methodcaller("seek", 5))
    one = list(list_dataset(tiny.dataset).images[:1])
    with pytest.raises(EOFError, match="in DataLoader worker process"):
        list(_in_processes(_Pictures(str(tiny.dataset), wrong), [one], 1))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_sweeps_what_a_cpu_sweeps(tiny: Tiny, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    rows = []
    for device in ("cpu", "cuda"):
        config = tiny.config(tmp_path / device, device=device)
        plan = make_plan(config, survey_dataset(config))
        rows.append(pq.read_table(sweep_shard(plan, 0)).to_pandas())
    assert list(rows[0]["content_hash"]) == list(rows[1]["content_hash"])
    one, two = (np.stack(frame["readout"].tolist()) for frame in rows)
    assert np.linalg.norm(one - two) / np.linalg.norm(one) < 0.01
