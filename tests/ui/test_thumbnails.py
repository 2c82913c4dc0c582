"""Small pictures: made once, bounded, safe against what files and names can be."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import streamlit as st
from PIL import Image

from gradattn_core.store.store import Store
from tests.helpers import pictured_audit, sample_audit
from tests.helpers.pictured_audit import AUDIT_ID, MISSING, path_of
from ui import thumbnails
from ui.api import makers


@pytest.fixture
def store(tmp_path: Path, show: Callable[[Store], Store]) -> Store:
    return show(pictured_audit.pictured_store(tmp_path))


def hostile(tmp_path: Path, names: list[str]) -> Store:
    """An audit of one picture filed under each of these names that the file system takes."""
    root, out = tmp_path / "pictures", tmp_path / "out"
    out.mkdir()
    for position, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (position, 0, 0)).save(root / name, "PNG")
    store = Store(out)
    store.audits.merge(sample_audit.audit_row(root=str(root)), sample_audit.tables(names, suspects=len(names)))
    return store


def test_a_thumbnail_is_a_small_jpeg_below_the_output_folder_and_made_once(store: Store) -> None:
    file = thumbnails.thumbnail(AUDIT_ID, path_of(0))
    assert file is not None and file.is_relative_to(store.directory / "cache" / "thumbnails")
    with Image.open(file) as image:
        assert (image.format, image.size) == ("JPEG", (256, 192))
    before = file.stat().st_mtime_ns
    assert thumbnails.thumbnail(AUDIT_ID, path_of(0)) == file
    assert file.stat().st_mtime_ns == before


def test_evidence_is_drawn_in_the_chosen_colours_each_kept_by_itself(store: Store) -> None:
    plain = thumbnails.thumbnail(AUDIT_ID, path_of(0))
    red = thumbnails.thumbnail(AUDIT_ID, path_of(0), evidence=True)
    st.session_state["colour_blind"] = True
    try:
        orange = thumbnails.thumbnail(AUDIT_ID, path_of(0), evidence=True)
    finally:
        del st.session_state["colour_blind"]
    assert plain and red and orange and len({plain, red, orange}) == 3

    def against(file: Path) -> tuple[int, ...]:
        """The colour in the middle of the part that speaks for the other class."""
        with Image.open(file) as image:
            return tuple(image.convert("RGB").getpixel((106, 96)))  # type: ignore[arg-type]

    blue, purple = against(red), against(orange)
    assert blue[2] > 2 * blue[0] and purple[0] > 60 and against(plain)[0] > 200


def test_broken_and_missing_files_and_strangers_say_why_and_spoil_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "pictures" / path_of(1)).write_bytes(b"no picture")
    asked = [path_of(0), path_of(1), MISSING, "../../../etc/passwd", "never listed.png"]
    found = thumbnails.thumbnails(AUDIT_ID, asked)
    assert list(found) == asked
    assert found[path_of(0)].file is not None
    assert "is not an image" in found[path_of(1)].problem
    assert "does not exist" in found[MISSING].problem
    assert all("has no image" in found[path].problem for path in asked[3:])
    assert [path for path in asked if found[path].file] == asked[:1]
    assert thumbnails.thumbnail(AUDIT_ID, MISSING) is None


def test_no_name_leads_out_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [
        "a/..b/x.png",
        "<img src=x onerror=alert(1)>.png",
        "line\nbreak.png",
        "=cmd().png",
        "c:\\d.png",
        "'; --.png",
    ]
    store = hostile(tmp_path, names)
    monkeypatch.setenv("GRADATTN_OUT", str(store.directory))
    found = thumbnails.thumbnails("first", names)
    cache = store.directory / "cache" / "thumbnails"
    assert len({thumbnail.file for thumbnail in found.values()}) == len(names)
    for thumbnail in found.values():
        assert thumbnail.file and thumbnail.file.parents[1] == cache and thumbnail.file.name[:-4].isalnum()


def test_a_picture_that_was_shown_once_is_shown_again_where_its_file_has_moved(store: Store, tmp_path: Path) -> None:
    first = thumbnails.thumbnail(AUDIT_ID, path_of(0))
    shutil.move(tmp_path / "pictures", tmp_path / "elsewhere")
    assert thumbnails.thumbnail(AUDIT_ID, path_of(0)) == first
    assert thumbnails.thumbnail(AUDIT_ID, path_of(1)) is None


def test_below_a_folder_named_on_the_page_only_the_audited_content_is_shown(store: Store, tmp_path: Path) -> None:
    for index in (0, 1):
        (tmp_path / "moved" / path_of(index)).parent.mkdir(parents=True, exist_ok=True)
        # The first is what the audit saw, the second another picture under its name.
        shutil.copy(tmp_path / "pictures" / path_of(0), tmp_path / "moved" / path_of(index))
    st.session_state["data-root"] = str(tmp_path / "moved")
    try:
        found = thumbnails.thumbnails(AUDIT_ID, [path_of(0), path_of(1)])
    finally:
        del st.session_state["data-root"]
    assert found[path_of(0)].file is not None
    assert "another picture" in found[path_of(1)].problem


def test_the_oldest_go_where_the_cache_exceeds_its_bound(tmp_path: Path) -> None:
    for position in range(10):
        file = tmp_path / f"{position:02d}" / "x.jpg"
        file.parent.mkdir()
        file.write_bytes(b"x" * 100)
        os.utime(file, (1000 - position, 1000 - position))
    assert makers.prune(tmp_path, 1000) == 1000
    assert makers.prune(tmp_path, 999) == 800
    assert sorted(file.parent.name for file in tmp_path.glob("*/x.jpg")) == [f"{position:02d}" for position in range(8)]


def test_what_is_written_counts_towards_the_bound(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnails, "LIMIT", 12_000)
    files = [thumbnails.thumbnail(AUDIT_ID, path_of(index)) for index in range(12) if path_of(index) != MISSING]
    assert all(files)
    kept = [file.stat().st_size for file in (store.directory / "cache" / "thumbnails").rglob("*.jpg")]
    assert 0 < len(kept) < len(files) and sum(kept) <= 12_000


def test_many_sessions_at_once_make_each_thumbnail_whole(store: Store) -> None:
    paths = [path_of(index) for index in range(40) if path_of(index) != MISSING]
    with ThreadPoolExecutor(8) as sessions:
        all_found = list(sessions.map(lambda _: thumbnails.thumbnails(AUDIT_ID, paths), range(8)))
    assert all(found == all_found[0] for found in all_found)
    for thumbnail in all_found[0].values():
        assert thumbnail.file is not None
        with Image.open(thumbnail.file) as image:
            image.load()
    assert not list((store.directory / "cache").rglob(".*"))


def test_where_nothing_may_be_written_a_folder_of_the_process_serves(store: Store) -> None:
    (store.directory / "cache").write_text("a file where the folder should be")
    file = thumbnails.thumbnail(AUDIT_ID, path_of(0))
    assert file is not None and file.exists() and not file.is_relative_to(store.directory)


def test_a_page_does_not_wait_for_pictures_that_take_long(store: Store) -> None:
    known = store.candidates.page(AUDIT_ID)
    asked = thumbnails.requests(AUDIT_ID, dict(zip(known["path"], known["content_hash"], strict=True)))
    at_once = thumbnails.make(asked, patience=0)
    assert any(thumbnail.pending for thumbnail in at_once.values())
    assert not any(thumbnail.pending for thumbnail in thumbnails.make(asked).values())
