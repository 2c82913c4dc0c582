"""Places of pictures: looked up together, of the audit's own images, and not believed for ever."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from gradattn_core.errors import StoreError
from gradattn_core.store.store import Store
from tests.helpers.pictured_audit import AUDIT_ID, path_of
from ui.api import whereabouts
from ui.api.whereabouts import Whereabouts


def test_what_is_expected_is_there_once_one_of_it_was_asked_for(store: Store) -> None:
    places, paths = Whereabouts(), [path_of(number) for number in (0, 3, 25, 31)]
    truth = store.images.places(AUDIT_ID, paths)
    places.expect(store, AUDIT_ID, paths)
    assert places.of(store, AUDIT_ID, paths[2]) == truth[2]
    # Nobody asks the database any more.
    store.database.write_bytes(b"gone")
    assert [places.of(store, AUDIT_ID, path) for path in paths] == truth
    with pytest.raises(StoreError):
        places.of(store, AUDIT_ID, path_of(1))


def test_a_path_that_is_none_of_the_audits_spoils_no_other(store: Store) -> None:
    places = Whereabouts()
    places.expect(store, AUDIT_ID, ["../secret", path_of(1)])
    assert places.of(store, AUDIT_ID, path_of(0)) == store.images.places(AUDIT_ID, [path_of(0)])[0]
    for path in ("../secret", "/etc/passwd"):
        with pytest.raises(StoreError, match="has no image"):
            places.of(store, AUDIT_ID, path)


def test_each_folder_has_places_of_its_own(store: Store, tmp_path: Path) -> None:
    places, moved = Whereabouts(), Store(store.directory, data_root=tmp_path / "moved")
    here = places.of(store, AUDIT_ID, path_of(0)).address
    there = places.of(moved, AUDIT_ID, path_of(0)).address
    assert here != there == str(tmp_path / "moved" / path_of(0))


def test_a_place_is_looked_up_again_after_a_while(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    places = Whereabouts()
    places.of(store, AUDIT_ID, path_of(0))
    store.database.write_bytes(b"gone")
    places.of(store, AUDIT_ID, path_of(0))
    monkeypatch.setattr(whereabouts, "SECONDS", 0.0)
    with pytest.raises(StoreError):
        places.of(store, AUDIT_ID, path_of(0))


def test_many_who_ask_at_once_get_each_their_own(store: Store) -> None:
    places, paths = Whereabouts(), [path_of(number) for number in range(12)]
    places.expect(store, AUDIT_ID, paths)
    found: dict[str, str] = {}

    def ask(path: str) -> None:
        found[path] = places.of(store, AUDIT_ID, path).content_hash

    threads = [threading.Thread(target=ask, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {
        path: place.content_hash for path, place in zip(paths, store.images.places(AUDIT_ID, paths), strict=True)
    }
