"""Pictures at the sizes of the page: of the audit's own images only, in a form that every browser shows."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gradattn_core import outfolder
from gradattn_core.dataset.decoding import read_image
from gradattn_core.errors import StoreBusyError
from gradattn_core.store.store import Store
from tests.helpers import sample_audit
from tests.helpers.own_routes import Client
from tests.helpers.pictured_audit import AUDIT_ID, MISSING, path_of
from ui.api import makers, renditions, token
from ui.api.renditions import SIDES, Kind, fitting


def hash_of(store: Store, path: str) -> str:
    [place] = store.images.places(AUDIT_ID, [path])
    return place.content_hash


def asked(client: Client, kind: str, path: str, given: str | None = None, **more: str) -> Any:
    query = {"audit": AUDIT_ID, "path": path, "token": given or client.pictures} | more
    return client.http.get(f"/picture/{kind}", params=query)


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize("kind", [*SIDES, "original"])
def test_a_picture_is_sent_once_and_kept_for_good(client: Client, store: Store, kind: Kind) -> None:
    path = path_of(0)
    answer = asked(client, kind, path, v=hash_of(store, path))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    picture = opened(answer.content)
    assert f"image/{str(picture.format).lower()}" == answer.headers["content-type"]
    [file] = store.images.files(AUDIT_ID, [path])
    truth = read_image(file).image
    if kind == "original" or max(truth.size) <= SIDES[kind]:
        # What is small enough is sent as it is.
        assert answer.content == file.read_bytes()
    else:
        assert max(picture.size) == SIDES[kind]
        # A photograph that was made smaller is none of pixels.
        assert picture.format == "JPEG"


@pytest.mark.parametrize(
    ("size", "side", "fits"),
    [((4000, 3000), 1600, (1600, 1200)), ((300, 9000), 800, (27, 800)), ((32, 32), 1600, (32, 32)),
     ((1, 100_000), 280, (1, 280)), ((1600, 1600), 1600, (1600, 1600))],
)  # fmt: skip
def test_nothing_is_enlarged_and_nothing_vanishes(size: tuple[int, int], side: int, fits: tuple[int, int]) -> None:
    assert fitting(*size, side) == fits


def test_around_a_whole_picture_there_is_none(client: Client) -> None:
    assert asked(client, "around", path_of(0), probe="1").json() == {
        "problem": "This picture is no box of another one."
    }


def test_without_its_content_in_the_address_nothing_is_kept(client: Client) -> None:
    assert asked(client, "small", path_of(0)).headers["cache-control"] == "no-store"


def test_another_content_than_the_audit_saw_is_not_there(client: Client) -> None:
    answer = asked(client, "small", path_of(0), v="0" * 32)
    assert answer.status_code == 404 and "another picture" in answer.json()["error"]


def test_only_the_audits_own_images_are_sent(client: Client) -> None:
    places = ("../out/gradattn.duckdb", "../../../../etc/passwd", "/etc/passwd", "", ".", "a\0b", "owl/../kite/0.png")
    for path in (*places, "x" * 9000):
        for kind in ("small", "original"):
            for answer in (asked(client, kind, path), asked(client, kind, path, v="0" * 32)):
                assert answer.status_code in (404, 409) and answer.json()["error"], path


def missing(client: Client, answer: Any, path: str, given: str | None = None, **more: str) -> str:
    """Why a picture that cannot be read is not there, and that a drawing comes instead, which nobody keeps."""
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")
    assert answer.headers["cache-control"] == "no-store" and b'width="283" height="283"' in answer.content
    return str(asked(client, "stage", path, given, probe="1", **more).json()["problem"])


def test_a_missing_file_is_drawn_and_said_without_its_folder(client: Client, store: Store) -> None:
    for _ in range(2):
        known = hash_of(store, MISSING)
        problem = missing(client, asked(client, "stage", MISSING, v=known), MISSING, v=known)
        assert "gone.png" in problem and str(store.directory.parent) not in problem
    assert asked(client, "stage", path_of(0), probe="1").json() == {"problem": ""}


def test_there_is_no_other_form(client: Client) -> None:
    assert asked(client, "huge", path_of(0)).status_code == 404
    assert asked(client, "small", path_of(0), given="x").status_code == 403


def test_a_picture_that_was_shown_once_is_shown_where_its_file_is_gone(
    client: Client, store: Store, tmp_path: Path
) -> None:
    path = path_of(1)
    known = hash_of(store, path)
    content = asked(client, "large", path, v=known).content
    nowhere = token.issue(None, root=str(tmp_path / "nowhere"), scope="pictures")
    assert asked(client, "large", path, nowhere, v=known).content == content
    assert missing(client, asked(client, "stage", path, nowhere, v=known), path, nowhere, v=known)
    assert list(outfolder.thumbnails(store.directory).rglob("*.large"))


def test_names_that_nobody_can_trust_are_pictures_like_any_other(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["a/..b/x.png", "<img src=x onerror=alert(1)>.png", "line\nbreak.png", "=cmd().png", "c:\\d.png"]
    root, out = tmp_path / "odd", tmp_path / "odd out"
    out.mkdir()
    for position, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (position, 0, 0)).save(root / name, "PNG")
    store = Store(out)
    store.audits.merge(sample_audit.audit_row(root=str(root)), sample_audit.tables(names, suspects=len(names)))
    monkeypatch.setenv("GRADATTN_OUT", str(out))
    for position, name in enumerate(names):
        answer = asked(client, "small", name, audit="first")
        assert opened(answer.content).getpixel((0, 0)) == (position, 0, 0)


def test_the_oldest_go_where_the_cache_exceeds_its_bound(tmp_path: Path) -> None:
    for position in range(10):
        file = tmp_path / f"{position:02d}" / "x.small"
        file.parent.mkdir()
        file.write_bytes(b"x" * 100)
        os.utime(file, (1000 - position, 1000 - position))
    assert makers.prune(tmp_path, 1000) == 1000
    assert makers.prune(tmp_path, 999) == 800
    assert sorted(file.parent.name for file in tmp_path.glob("*/*")) == [f"{position:02d}" for position in range(8)]


def test_what_is_written_counts_towards_the_bound(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(makers, "LIMIT", 12_000)
    paths = [path_of(number) for number in range(12) if path_of(number) != MISSING]
    for path in paths:
        assert asked(client, "small", path, v=hash_of(store, path)).status_code == 200
    kept = [file.stat().st_size for file in outfolder.thumbnails(store.directory).rglob("*.small")]
    assert 0 < len(kept) < len(paths) and sum(kept) <= 12_000


def test_many_pages_at_once_get_each_picture_whole(client: Client, store: Store) -> None:
    paths = [path_of(number) for number in range(12) if path_of(number) != MISSING]
    known = {path: hash_of(store, path) for path in paths}
    with ThreadPoolExecutor(8) as pages:
        found = list(pages.map(lambda path: asked(client, "large", path, v=known[path]).content, paths * 4))
    for number, content in enumerate(found):
        opened(content).load()
        assert content == found[number % len(paths)]
    assert not list((store.directory / "cache").rglob(".*"))


def test_where_nothing_may_be_written_a_folder_of_the_process_serves(client: Client, store: Store) -> None:
    (store.directory / "cache").write_text("a file where the folder should be")
    for _ in range(2):
        answer = asked(client, "small", path_of(0), v=hash_of(store, path_of(0)))
        assert answer.status_code == 200 and "immutable" in answer.headers["cache-control"]


class TestMoved:
    """Pictures that somebody says have moved."""

    @pytest.fixture
    def elsewhere(self, store: Store, tmp_path: Path) -> Path:
        [file] = store.images.files(AUDIT_ID, [path_of(0)])
        folder = tmp_path / "elsewhere"
        (folder / path_of(0)).parent.mkdir(parents=True)
        (folder / path_of(0)).write_bytes(file.read_bytes())
        (folder / path_of(1)).parent.mkdir(exist_ok=True)
        (folder / path_of(1)).write_bytes(b"secret")
        return folder

    def test_a_folder_with_the_very_picture_is_taken(self, client: Client, elsewhere: Path) -> None:
        answer = client.post("data-root", path=path_of(0), folder=f" {elsewhere} ")
        session = token.read(answer["root"], "all")
        assert session is not None and session.root == str(elsewhere)
        given = token.issue(None, root=session.root, scope="pictures")
        assert asked(client, "small", path_of(0), given).status_code == 200
        # There is a file, but not the one that the audit saw.
        for kind in ("small", "original"):
            refused = asked(client, kind, path_of(1), given)
            assert "another picture" in missing(client, refused, path_of(1), given) and b"secret" not in refused.content

    @pytest.mark.parametrize("path", [path_of(1), path_of(2), MISSING])
    def test_any_other_folder_is_not(self, client: Client, elsewhere: Path, path: str) -> None:
        answer = client.posted("data-root", path=path, folder=str(elsewhere))
        says = f"That folder does not have this picture: it is looked for at {path}"
        assert (answer.status_code, answer.json()["error"]) == (400, says)

    @pytest.mark.parametrize("folder", ["", "\0", "/etc", "x" * 4097])
    def test_nor_is_what_is_none(self, client: Client, folder: str) -> None:
        assert client.posted("data-root", path=path_of(0), folder=folder).status_code == 400


def test_what_a_browser_would_show_otherwise_is_decoded_here(tmp_path: Path) -> None:
    half = Image.fromarray(np.full((4, 5, 4), (10, 20, 30, 128), np.uint8), "RGBA")
    deep = Image.fromarray(np.full((4, 5), 30_000, np.uint16))
    frames = [Image.new("P", (5, 4), colour) for colour in (3, 9)]
    film: dict[str, Any] = {"save_all": True, "append_images": frames[1:]}
    for name, picture, options in (
        ("half.png", half, {}), ("deep.png", deep, {}), 
        ("film.gif", frames[0], film),
        ("print.tif", Image.new("CMYK", (5, 4), (9, 99, 0, 0)), {}),
    ):  # fmt: skip
        picture.save(tmp_path / name, **options)
        assert not renditions._is_shown_by_browsers((tmp_path / name).read_bytes(), None), name
    Image.new("RGB", (5, 4)).save(tmp_path / "plain.jpg")
    plain = (tmp_path / "plain.jpg").read_bytes()
    assert [renditions._is_shown_by_browsers(plain, side) for side in (None, 5, 4)] == [True, True, False]


def begun(pool: makers.Makers) -> None:
    """Wait until a thread has taken what was asked."""
    deadline = time.monotonic() + 5
    while pool._waiting and time.monotonic() < deadline:
        time.sleep(0.001)


def test_what_was_asked_last_is_made_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(makers, "_THREADS", 1)
    pool, made, gate = makers.Makers(), [], threading.Event()

    def make(number: int) -> Callable[[], tuple[bytes, str]]:
        def work() -> tuple[bytes, str]:
            gate.wait(5)
            made.append(number)
            return b"", ""

        return work

    works = [pool.start("first", make(0))]
    begun(pool)
    works += [pool.start(number, make(number)) for number in (1, 2, 3)]
    # Asked for again, and made once.
    assert pool.start(1, make(1)) is works[1]
    gate.set()
    for work in works:
        work.result(5)
    assert made == [0, 1, 3, 2]
    pool.stop()


def test_at_the_end_nobody_waits_for_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(makers, "_THREADS", 1)
    pool, gate = makers.Makers(), threading.Event()
    running = pool.start("running", lambda: (b"", str(gate.wait(0.2))))
    begun(pool)
    waiting = pool.start("waiting", lambda: (b"", ""))
    pool.stop()
    assert running.result(5) == (b"", "False")
    for late in (waiting, pool.start("late", lambda: (b"", ""))):
        with pytest.raises(StoreBusyError):
            late.result(5)
