"""The page over a dataset that is no folder: pictures from previews, and where there are none from where they lie."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from gradattn_core import outfolder
from gradattn_core.audit.run import audit_images
from gradattn_core.errors import StoreError
from gradattn_core.store.store import Store
from tests.helpers import dataset_files as forms
from tests.helpers.tiny import make_tiny
from ui.api import token
from ui.server import ROUTES


@pytest.fixture
def audited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A finished audit of ``photos.zip``."""
    tiny = make_tiny(tmp_path, per_class=8, wrong_per_class=1)
    archive = forms.write_zip(tiny.dataset, tmp_path / "photos.zip")
    audit_images(tiny.config(tmp_path / "out", dataset=str(archive)))
    monkeypatch.setenv("GRADATTN_OUT", str(tmp_path / "out"))
    monkeypatch.setenv("GRADATTN_REVIEWER", "Ada")
    return Store(tmp_path / "out")


def shown(store: Store, path: str, kind: str) -> Image.Image | None:
    """The picture that the page sends; None where it sends a drawing of its absence."""
    with TestClient(Starlette(routes=ROUTES)) as http:
        query = {"audit": store.audits.latest_id(), "path": path, "token": token.issue(None, scope="pictures")}
        answer = http.get(f"/picture/{kind}", params=query)
    assert answer.status_code == 200
    return None if "svg" in answer.headers["content-type"] else Image.open(io.BytesIO(answer.content))


def test_suspects_of_a_zip_are_reviewed_even_after_it_is_gone(audited: Store, tmp_path: Path) -> None:
    (tmp_path / "photos.zip").unlink()
    for path in audited.candidates.page(audited.audits.latest_id())["path"]:
        assert all(shown(audited, path, kind) for kind in ("stage", "large", "small"))


def test_a_picture_without_a_preview_is_read_where_it_lies_and_its_absence_is_said(
    audited: Store, tmp_path: Path
) -> None:
    ranked = audited.candidates.page(audited.audits.latest_id(), min_suspicion=0.0)
    for content_hash in ranked["content_hash"][:2]:
        outfolder.preview(audited.directory, content_hash).unlink()
    first, second = ranked["path"][:2]
    [place] = audited.images.places(audited.audits.latest_id(), [first])
    for kind in ("stage", "original"):
        found = shown(audited, first, kind)
        assert found is not None and found.size == (place.width, place.height)
    (tmp_path / "photos.zip").unlink()
    assert shown(audited, second, "stage") is None


def test_previews_are_small_and_written_once(audited: Store, tmp_path: Path) -> None:
    previews = {file: file.stat().st_mtime_ns for file in (audited.directory / "previews").rglob("*.webp")}
    assert previews and max(file.stat().st_size for file in previews) < 30_000
    tiny = make_tiny(tmp_path, per_class=8, wrong_per_class=1)
    audit_images(tiny.config(tmp_path / "out", dataset=str(tmp_path / "photos.zip"), restart=True))
    assert {file: file.stat().st_mtime_ns for file in previews} == previews


def test_a_folder_that_was_named_wins_over_previews_and_the_remote_place(audited: Store, tmp_path: Path) -> None:
    audit = audited.audits.latest_id()
    path = str(audited.candidates.page(audit, top=1)["path"][0])
    [place] = audited.images.places(audit, [path])
    assert place.preview is not None and place.address.startswith("zip://photos/")
    with pytest.raises(StoreError, match="no file of its own"):
        audited.images.file(audit, path)
    moved = Store(audited.directory, data_root=tmp_path / "dataset")
    assert moved.images.file(audit, path) == tmp_path / "dataset" / path
    assert moved.images.places(audit, [path])[0].preview is None


def test_what_is_no_suspect_is_shown_from_the_archive_itself(audited: Store) -> None:
    every = audited.candidates.page(audited.audits.latest_id(), min_suspicion=0.0)["path"]
    assert len(every) == 24 and all(shown(audited, path, "small") for path in every)
