"""A picture's file that has changed or gone since the audit: known by its content, read once, and said."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import pytest

from gradattn_core.dataset.decoding import content_hash
from gradattn_core.store.images import Place
from gradattn_core.store.store import Store
from tests.helpers.own_routes import Client
from tests.helpers.pictured_audit import AUDIT_ID, MISSING, path_of, pictured_store
from ui.api import freshness, renditions
from ui.api.freshness import CHANGED, GONE, state


@pytest.fixture
def store(tmp_path: Path, show: Callable[[Store], Store]) -> Store:
    """An audit whose pictures are this test's own."""
    return show(pictured_store(tmp_path))


def place_of(file: Path, **more: object) -> Place:
    content = file.read_bytes()
    place = Place(str(file), content_hash(content), None, 1, 1, since=time.time() + 60, size=len(content))
    return replace(place, **more)  # type: ignore[arg-type]


def test_a_file_that_is_older_than_the_audit_is_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "kite" / "1.png"
    file.parent.mkdir()
    file.write_bytes(b"what it was")
    seen = place_of(file)
    assert state(seen) == "same"
    assert state(replace(seen, since=time.time() - 60)) == "unknown", "newer: only its content tells"
    assert state(replace(seen, since=0.0)) == "unknown", "nobody knows when the audit began"
    assert state(replace(seen, size=7)) == "unknown", "of another size, whatever its time says"
    freshness.read_now(seen)
    monkeypatch.setattr(freshness, "read_address", None)
    assert state(replace(seen, since=0.0)) == "same", "its content is remembered"


@pytest.mark.parametrize("how", ["written", "same size and time", "replaced", "link"])
def test_another_content_is_found_however_it_came_there(tmp_path: Path, how: str) -> None:
    file = tmp_path / "kite" / "1.png"
    file.parent.mkdir()
    file.write_bytes(b"what it was")
    seen = replace(place_of(file), since=time.time() - 60)
    freshness.read_now(seen)
    assert state(seen) == "same"
    if how == "written":
        file.write_bytes(b"another, longer")
    elif how == "same size and time":
        before = file.stat()
        file.write_bytes(b"what it IS!")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif how == "replaced":
        other = tmp_path / "other"
        other.write_bytes(b"another, longer")
        other.replace(file)
    else:
        other = tmp_path / "other"
        other.write_bytes(b"another, longer")
        file.unlink()
        file.symlink_to(other)
    assert state(seen) == "unknown"
    freshness.read_now(seen)
    assert state(seen) == "changed"
    file.unlink()
    assert state(seen) == "gone"


def test_of_an_archive_its_members_are_told_apart(tmp_path: Path) -> None:
    archive = tmp_path / "photos.zip"

    def pack(second: bytes) -> None:
        with ZipFile(archive, "w") as packed:
            packed.writestr("1.png", b"stays")
            packed.writestr("2.png", second)

    pack(b"before")
    places = [
        Place(f"zip://{name}::{archive}", content_hash(content), None, 1, 1, since=time.time() - 60)
        for name, content in (("1.png", b"stays"), ("2.png", b"before"))
    ]
    pack(b"afterwards")
    for place in places:
        freshness.read_now(place)
    assert [state(place) for place in places] == ["same", "changed"]
    archive.unlink()
    assert [state(place) for place in places] == ["gone", "gone"]


def test_what_lies_elsewhere_is_the_same_until_it_was_fetched(tmp_path: Path) -> None:
    far = Place("https://photos.invalid/1.png", "0" * 32, tmp_path / "kept.png", 1, 1)
    assert state(far) == "same", "a copy is of what the audit saw"
    assert state(replace(far, preview=None)) == "unknown"


def test_review_and_cards_say_that_a_file_has_changed_once_it_was_fetched(client: Client, store: Store) -> None:
    path, other = path_of(0), path_of(1)
    [place] = store.images.places(AUDIT_ID, [path])
    shutil.copy(store.images.file(AUDIT_ID, other), place.address)
    before = client.get("suspect", path=path)
    assert (before["changed"], before["check"]) == ("", True)
    told = client.post("changed", paths=[path, other, "of no audit", MISSING])
    assert told == {"said": {path: CHANGED, MISSING: GONE}}
    after = client.get("suspect", path=path)
    assert (after["changed"], after["check"]) == (CHANGED, False)
    cards = {card["path"]: card for card in client.get("cards", **{"as": "card"})["suspects"]}
    assert (cards[path]["changed"], cards[other]["changed"], cards[other]["check"]) == (CHANGED, "", False)
    assert cards[path_of(2)]["check"], "nobody has fetched it yet"
    # A decision is allowed, and is about the picture that the audit saw.
    sent = {"id": "1", "path": path, "decision": "keep", "seen": before["seen"]}
    assert client.post("decisions", decisions=[sent])["results"][0]["status"] == "stored"
    decided = client.get("suspect", path=path)
    assert (decided["case"], decided["changed"]) == ("decided", CHANGED)
    assert store.decisions.page(top=1)["content_hash"].tolist() == [place.content_hash]


def test_fetching_a_picture_is_enough_to_know(client: Client, store: Store) -> None:
    path = path_of(0)
    [place] = store.images.places(AUDIT_ID, [path])
    shutil.copy(store.images.file(AUDIT_ID, path_of(1)), place.address)
    query = {"audit": AUDIT_ID, "path": path, "v": place.content_hash, "token": client.pictures}
    answer = client.http.get("/picture/stage", params=query)
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
    assert client.get("suspect", path=path)["changed"] == CHANGED
    assert client.get("list", list="spot check", path=path)["suspects"][0]["changed"] == CHANGED, "blind too"


def test_a_picture_whose_file_is_gone_is_shown_from_its_copy_or_called_missing(client: Client, store: Store) -> None:
    path = path_of(3)
    [place] = store.images.places(AUDIT_ID, [path])
    told = client.get("suspect", path=MISSING)
    assert told["problem"] == "This file is missing: 'gone.png'. You can skip it or name the folder."
    query = {"audit": AUDIT_ID, "path": path, "v": place.content_hash, "token": client.pictures}
    assert client.http.get("/picture/stage", params=query).status_code == 200
    assert renditions.is_kept(place.content_hash)
    Path(place.address).unlink()
    told = client.get("suspect", path=path)
    assert (told["problem"], told["changed"]) == ("", GONE)
    assert client.http.get("/picture/stage", params=query).headers["content-type"] != "image/svg+xml"
