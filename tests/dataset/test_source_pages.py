"""The page over a dataset that is no folder: pictures from their previews, evidence in its place."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradattn_core import outfolder
from gradattn_core.audit.run import audit_images
from gradattn_core.errors import StoreError
from gradattn_core.store.store import Store
from tests.helpers import dataset_files as forms
from tests.helpers import pictured_audit, sample_audit
from tests.helpers.app_pages import choose, opened, pictures, suspect
from tests.helpers.tiny import make_tiny
from ui import thumbnails
from ui.pictures import Subject, View, evidence_overlay, original


@pytest.fixture
def audited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A finished audit of ``photos.zip``."""
    tiny = make_tiny(tmp_path, per_class=8, wrong_per_class=1)
    archive = forms.write_zip(tiny.dataset, tmp_path / "photos.zip")
    audit_images(tiny.config(tmp_path / "out", dataset=str(archive)))
    monkeypatch.setenv("GRADATTN_OUT", str(tmp_path / "out"))
    monkeypatch.setenv("GRADATTN_REVIEWER", "Ada")
    return Store(tmp_path / "out")


def test_suspects_of_a_zip_are_reviewed_even_after_it_is_gone(audited: Store, tmp_path: Path) -> None:
    (tmp_path / "photos.zip").unlink()
    audit = audited.audits.latest_id()
    first = audited.candidates.page(audit, top=1).iloc[0]
    app = opened("review")
    assert suspect(app) == first["path"] and len(pictures(app)) == 2 and not app.warning
    app.toggle(key="regions").set_value(True).run()
    assert len(pictures(app)) == 2 and not app.exception
    small = thumbnails.thumbnails(audit, list(audited.candidates.page(audit)["path"]), evidence=True)
    assert all(thumbnail.file for thumbnail in small.values())


def test_a_picture_without_a_preview_is_read_where_it_lies_and_its_absence_is_said(
    audited: Store, tmp_path: Path
) -> None:
    audit = audited.audits.latest_id()
    ranked = audited.candidates.page(audit, min_suspicion=0.0)
    for content_hash in ranked["content_hash"][:2]:
        outfolder.preview(audited.directory, content_hash).unlink()
    shown = Subject(str(audited.directory), audit, *ranked.iloc[0][["path", "content_hash"]])
    assert Image.open(io.BytesIO(original(shown))).size == (800, 600)
    (tmp_path / "photos.zip").unlink()
    app = opened("review", path=ranked.iloc[1]["path"])
    assert app.warning[0].value == "The picture cannot be shown. You can still decide."


def test_previews_are_small_and_written_once(audited: Store, tmp_path: Path) -> None:
    previews = {file: file.stat().st_mtime_ns for file in (audited.directory / "previews").rglob("*.webp")}
    assert previews and max(file.stat().st_size for file in previews) < 30_000
    tiny = make_tiny(tmp_path, per_class=8, wrong_per_class=1)
    audit_images(tiny.config(tmp_path / "out", dataset=str(tmp_path / "photos.zip"), restart=True))
    assert {file: file.stat().st_mtime_ns for file in previews} == previews


def test_evidence_lies_where_it_lies_on_the_original_though_a_preview_is_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = pictured_audit.pictured_store(tmp_path)
    monkeypatch.setenv("GRADATTN_OUT", str(store.directory))
    audit, path = pictured_audit.AUDIT_ID, pictured_audit.path_of(3 + 4)
    row = store.candidates.one(audit, path)
    evidence = store.images.evidence(audit, path)
    assert row is not None and evidence is not None and (row.width, row.height) == (600, 200)
    remote = Store(tmp_path / "remote")
    remote.directory.mkdir()
    frame = {"path": [path], "content_hash": [row.content_hash], "given_label": ["kite"]}
    tables = sample_audit.tables([path], suspects=1)
    tables["images"] = tables["images"].assign(**frame, width=600, height=200)
    remote.audits.merge(sample_audit.audit_row(root="s3://nowhere/photos"), tables)
    kept = outfolder.preview(remote.directory, row.content_hash)
    kept.parent.mkdir(parents=True)
    with Image.open(tmp_path / "pictures" / path) as picture:
        picture.convert("RGB").resize((300, 100)).save(kept, "WEBP", quality=90)

    view = View(opacity=1.0, smooth=True, palette="red-blue", regions=True)
    local = Subject(str(store.directory), audit, path, row.content_hash)
    far = Subject(str(remote.directory), "first", path, row.content_hash)
    drawn = [Image.open(io.BytesIO(evidence_overlay(each, evidence, view))).convert("RGB") for each in (local, far)]
    assert drawn[0].size == drawn[1].size
    difference = np.abs(np.asarray(drawn[0], float) - np.asarray(drawn[1], float))
    assert difference.mean() < 4


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


def test_the_grid_shows_what_is_no_suspect_from_the_archive_itself(audited: Store) -> None:
    audit = audited.audits.latest_id()
    every = audited.candidates.page(audit, min_suspicion=0.0)["path"]
    found = thumbnails.thumbnails(audit, list(every))
    assert len(found) == 24 and all(thumbnail.file for thumbnail in found.values())
    app = opened("grid")
    assert not app.exception and not app.error
    choose(app, "Decision", "All")
