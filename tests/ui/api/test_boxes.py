"""Annotated boxes on the page: the box alone, the picture around it, and what Review is told."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from gradattn_core.audit.run import audit_images
from gradattn_core.dataset.address import box_path
from gradattn_core.interchange.handed import handed, picture_of
from gradattn_core.store.store import Store
from tests.helpers.annotated import HEIGHT, WIDTH, things, write_voc
from tests.helpers.own_routes import Client
from tests.helpers.tiny import Tiny, write_tiny_vit
from ui.api import token
from ui.server import ROUTES


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    folder = tmp_path_factory.mktemp("boxes")
    root = write_voc(folder / "set", things())
    tiny = Tiny(root, write_tiny_vit(folder / "tiny.safetensors"), frozenset())
    summary = audit_images(tiny.config(folder / "out"))
    return Store(folder / "out"), summary.audit_id


@pytest.fixture
def boxes(audited: tuple[Store, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("GRADATTN_OUT", str(audited[0].directory))
    monkeypatch.setenv("GRADATTN_LEARNING", "0")
    with TestClient(Starlette(routes=ROUTES)) as http:
        yield Client(http, token.issue(None))


def test_review_shows_a_box_names_its_annotation_and_has_the_picture_around_it(
    boxes: Client, audited: tuple[Store, str]
) -> None:
    store, audit = audited
    row = store.candidates.page(audit, top=1).iloc[0]
    path, part = row["path"], box_path(row["path"])
    assert part is not None
    left, top, width, height = map(int, part.box.split(","))
    suspect = boxes.get("suspect", audit=audit, path=path)
    assert suspect["annotation"] == part.annotation and suspect["problem"] == suspect["changed"] == ""
    query = {"audit": audit, "path": path, "token": boxes.pictures, "v": row["content_hash"]}
    for kind in ("stage", "small", "original"):
        cut = Image.open(io.BytesIO(boxes.http.get(f"/picture/{kind}", params=query).content))
        assert cut.size == (suspect["width"], suspect["height"])
        assert width <= cut.width <= width * 1.25 and height <= cut.height <= height * 1.25
    [shared] = handed(store, audit, store.candidates.page(audit, top=1))
    assert Image.open(io.BytesIO(picture_of(shared)[0])).size == cut.size
    around = Image.open(io.BytesIO(boxes.http.get("/picture/around", params=query).content)).convert("RGB")
    assert around.size == (WIDTH, HEIGHT)
    pixels = np.asarray(around).astype(int)
    # The line stands around the box and not in it.
    assert pixels[max(top - 2, 0), left + width // 2].min() > 150
    assert abs(pixels[top + 8 : top + height - 8, left + 8 : left + width - 8].mean(axis=(0, 1)).max() - 200) < 40
