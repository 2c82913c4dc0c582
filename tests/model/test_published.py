"""Published weights come from the cache where they are there; a hub that cannot be used is told of soon."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import timm
from safetensors.torch import load_file, save_model

from gradattn_core.model.published import source_of

MODEL = "test_vit.r160_in1k"
PROGRAM = """
import json, sys, time
from gradattn_core.config import ModelSpec
from gradattn_core.errors import ModelError
from gradattn_core.model import published
from gradattn_core.model.backbone import fetch_weights, load_model
published.PATIENCE = 5.0
for line in sys.stdin:
    told, began = [], time.monotonic()
    try:
        spec = ModelSpec(line.strip())
        fetch_weights(spec, lambda step, done, total: told.append([step, done, total]))
        said = str(load_model(spec).patch_embed.proj.weight.sum().item())
    except ModelError as error:
        said = str(error)
    print(json.dumps([said, told, time.monotonic() - began]), flush=True)
"""


@dataclass
class Hub:
    """A hub with one model; ``way`` is how it behaves."""

    folder: Path
    way: str = "well"
    asked: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(f"{request.command} {request.path}")
        file = self.folder / request.path.rpartition("/")[2]
        if self.way == "silent":
            self.released.wait(60)
            return
        if not file.is_file() or self.way == "empty":
            request.send_response(404)
            request.send_header("X-Error-Code", "EntryNotFound")
            request.end_headers()
            return
        content = file.read_bytes()
        request.send_response(200)
        for name, value in {
            **{"ETag": '"' + "ab" * 20 + file.suffix.strip(".") + '"', "X-Repo-Commit": "cd" * 20},
            "Content-Length": str(len(content)),
        }.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(content[: len(content) // 2 if self.way == "stalls" else None])
            request.wfile.flush()
            if self.way == "stalls":
                self.released.wait(60)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, str]]:
    found = Hub(tmp_path_factory.mktemp("hub"))
    model = timm.create_model(MODEL)
    save_model(model, str(found.folder / "model.safetensors"))
    config = {"architecture": "test_vit", "num_classes": model.num_classes, "pretrained_cfg": {}}
    (found.folder / "config.json").write_text(json.dumps(config), "utf-8")

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            found.answer(self)

        do_GET = do_HEAD

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield found, f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            found.released.set()
            server.shutdown()


def test_a_hub_is_asked_once_and_one_that_cannot_be_used_is_told_of_soon(hub: tuple[Hub, str], tmp_path: Path) -> None:
    served, address = hub
    own = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path), "HF_HUB_ETAG_TIMEOUT": "1", "HF_HUB_DISABLE_XET": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **own},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:

        def load(name: str, way: str) -> tuple[str, list[list[object]], float]:
            assert process.stdin is not None and process.stdout is not None
            served.way = way
            process.stdin.write(f"{name}\n")
            process.stdin.flush()
            said, told, seconds = json.loads(process.stdout.readline())
            return said, told, seconds

        # Another model, as the fetching that stalls goes on holding the place of its file in the cache.
        for name, way in ((MODEL, "silent"), (MODEL, "empty"), ("test_vit2.r160_in1k", "stalls")):
            said, _, seconds = load(name, way)
            assert said.startswith(f"model '{name}': its published weights could not be had ({address}"), said
            assert said.endswith("or set HF_ENDPOINT or a proxy that this machine reaches") and "\n" not in said
            assert seconds < 30
        file = served.folder / "model.safetensors"
        expected = float(load_file(file)["patch_embed.proj.weight"].sum())
        said, told, _ = load(MODEL, "well")
        assert float(said) == pytest.approx(expected)
        assert told[-1] == ["weights", file.stat().st_size, file.stat().st_size] and {step for step, *_ in told} == {
            "weights"
        }
        said, _, _ = load("hf-hub:timm/test_vit.r160_in1k", "well")
        assert float(said) == pytest.approx(expected)
        # What is in the cache asks nobody, under either name.
        served.asked.clear()
        for name in (MODEL, "hf-hub:timm/test_vit.r160_in1k"):
            said, told, _ = load(name, "silent")
            assert float(said) == pytest.approx(expected) and not told
        assert not served.asked
        process.kill()


def test_where_a_models_files_are() -> None:
    source = source_of("vit_small_patch16_224.augreg_in21k_ft_in1k")
    assert source is not None and source.repository == "timm/vit_small_patch16_224.augreg_in21k_ft_in1k"
    assert source.weights == ("model.safetensors", "pytorch_model.bin") and not source.is_named_by_hub
    named = source_of("hf-hub:someone/birds@v2")
    assert named is not None and (named.repository, named.revision) == ("someone/birds", "v2")
    assert source_of("local-dir:/models/birds") is None
