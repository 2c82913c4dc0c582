"""Datasets at URLs: what is listed and read, what is refused, and that passwords stay in memory."""

from __future__ import annotations

import base64
import json
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import pytest

from gradattn_core.audit.run import audit_images
from gradattn_core.cli import main
from gradattn_core.config import AuditConfig
from gradattn_core.dataset.address import absolute
from gradattn_core.dataset.decoding import read_bytes, read_image
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.dataset.secrets import without_secrets
from gradattn_core.errors import GradattnError, UnreadableImageError
from tests.helpers import dataset_files as forms
from tests.helpers.dataset_files import reasons, refusal, rows
from tests.helpers.tiny import Tiny, make_tiny
from ui.audits import process

KITE, OWL = b"\x89PNG a kite", b"\x89PNG an owl"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp("tiny"), per_class=8, wrong_per_class=1)


@pytest.fixture
def memory(tmp_path: Path) -> str:
    """The URL of an empty folder in memory."""
    return f"memory://{tmp_path.name}"


class _Guarded(SimpleHTTPRequestHandler):
    """Serves whole files, no ranges, to whoever has the password or the token."""

    def send_head(self):  # type: ignore[no-untyped-def]
        known = base64.b64encode(b"ada:s3cret").decode()
        if self.headers.get("Authorization") != f"Basic {known}" and "token=s3cret" not in self.path:
            self.send_error(401)
            return None
        return super().send_head()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """Host and port of a web server over ``tmp_path / "site"``."""
    pytest.importorskip("aiohttp")
    (tmp_path / "site").mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Guarded, directory=str(tmp_path / "site")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def put(url: str, files: dict[str, bytes]) -> None:
    fs, path = fsspec.core.url_to_fs(url)
    for name, content in files.items():
        fs.pipe_file(f"{path}/{name}", content)


def test_a_class_folder_at_a_url_follows_the_rules_of_a_folder(memory: str) -> None:
    put(memory, {"kite/a/1.png": KITE, "owl/2.JPG": OWL, "owl/.3.png": OWL, "owl/notes.txt": b"x", "4.png": KITE})
    listing = list_dataset(f"{memory}/")
    assert (listing.root, len(listing.skipped)) == (memory, 3)
    assert rows(listing) == [("kite/a/1.png", "kite"), ("owl/2.JPG", "owl")]
    assert read_bytes(listing.root, "kite/a/1.png") == KITE
    put(memory, {"splits/train/kite/1.png": KITE, "splits/val/owl/1.png": OWL})
    assert "choose one with --split train" in refusal(f"{memory}/splits")


def test_a_manifest_at_a_url_names_files_beside_it_and_urls_anywhere(memory: str, tmp_path: Path) -> None:
    (tmp_path / "own.png").write_bytes(KITE)
    listed = {
        "1.png": "kite",
        "../img/2.png": "owl",
        f"{memory}/img/3.png": "owl",
        "gone.png": "owl",
        str(tmp_path / "own.png"): "kite",
        f"file://{tmp_path}/own.png": "kite",
        f"zip://own.png::{tmp_path}/own.zip": "kite",
        "../../../elsewhere.png": "owl",
    }
    text = "path,label\n" + "".join(f"{path},{label}\n" for path, label in listed.items())
    put(memory, {"lists/all.csv": text.encode(), "lists/1.png": KITE, "img/2.png": OWL, "img/3.png": OWL})
    listing = list_dataset(f"{memory}/lists/all.csv")
    found = [(f"{memory}/img/2.png", "owl"), (f"{memory}/img/3.png", "owl")]
    assert sorted(rows(listing)) == sorted([("1.png", "kite"), *found])
    assert [read_bytes(listing.root, image.path) for image in listing.images].count(OWL) == 2
    refused = reasons(listing)
    assert "does not exist" in refused["gone.png"] and len(listing.failures) == 5
    assert sum("it is not opened" in failure.reason for failure in listing.failures) == 4
    with pytest.raises(UnreadableImageError, match="leads out of the dataset"):
        read_bytes(listing.root, "../img/2.png")


def test_a_manifest_of_this_machine_may_name_urls_and_members_of_archives(memory: str, tmp_path: Path) -> None:
    put(memory, {"a b/1.png": KITE, "a b/2.png": OWL})
    archive = forms.write_members(tmp_path / "x.tar", {"deep/3.png": OWL})
    listed = {f"{memory}/a b/1.png": "kite", f"tar://deep/3.png::{archive}": "owl", f"{memory}/9.png": "owl"}
    lines = [json.dumps({"path": path, "label": label}) for path, label in listed.items()]
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    listing = list_dataset(tmp_path / "m.jsonl")
    assert {read_bytes(listing.root, image.path): image.label for image in listing.images} == {KITE: "kite", OWL: "owl"}
    assert set(reasons(listing)) == {f"{memory}/9.png"}


def test_what_is_not_there_or_not_known_is_one_sentence(
    bucket: str, memory: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "'s3://no-such-bucket/photos' does not exist." in refusal("s3://no-such-bucket/photos")
    assert "does not exist" in refusal(f"{bucket}/nowhere.zip")
    assert "does not exist" in refusal(f"zip://::{bucket}/nowhere.zip")
    assert "is no known storage" in refusal("gopher://x/photos")
    for chain in ("simplecache::s3://x/a", "zip://a::simplecache::s3://x/a", "zip://a::zip://b::c.zip", "zip://a.zip"):
        assert "is no chain" in refusal(chain)
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    assert refusal("gs://b/photos") == "gs:// needs the package gcsfs, which is not installed: pip install gcsfs."
    assert main(["audit", "s3://no-such-bucket/photos", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said == "gradattn: 's3://no-such-bucket/photos' does not exist.\n"


def test_a_picture_that_went_away_or_has_no_bytes_is_a_failure_that_names_it(bucket: str) -> None:
    put(f"{bucket}/going", {"kite/1.png": KITE, "owl/2.png": OWL, "owl/empty.png": b""})
    listing = list_dataset(f"{bucket}/going")
    fsspec.filesystem("s3").rm(f"{bucket}/going/kite/1.png")
    for path, reason in (("kite/1.png", "'1.png' does not exist"), ("owl/empty.png", "'empty.png' is empty")):
        with pytest.raises(UnreadableImageError, match=reason):
            read_bytes(listing.root, path)


def test_a_record_changes_with_its_object_and_a_folder_is_listed_anew(bucket: str) -> None:
    put(f"{bucket}/changing", {"kite/1.png": KITE, "owl/2.png": OWL})
    before = list_dataset(f"{bucket}/changing").images
    assert list_dataset(f"{bucket}/changing").images == before
    put(f"{bucket}/changing", {"kite/1.png": KITE[::-1], "owl/3.png": OWL})
    after = {image.path: image for image in list_dataset(f"{bucket}/changing").images}
    assert after["kite/1.png"].size == before[0].size and after["kite/1.png"].modified != before[0].modified
    assert after["owl/2.png"] == before[1] and "owl/3.png" in after


@pytest.mark.parametrize("secret", ["http://ada:s3cret@{}/photos.zip", "http://{}/photos.zip?token=s3cret"])
def test_a_password_opens_the_dataset_and_is_stored_nowhere(secret: str, site: str, tiny: Tiny, tmp_path: Path) -> None:
    forms.write_zip(tiny.dataset, tmp_path / "site" / "photos.zip")
    out = tmp_path / "out"
    config = tiny.config(out, dataset=secret.format(site))
    assert config.dataset == f"http://{site}/photos.zip"
    assert audit_images(config).images == 24
    assert "no permission" in refusal(f"http://{site.replace('127.0.0.1', 'localhost')}/photos.zip")
    for file in out.rglob("*"):
        assert file.is_dir() or b"s3cret" not in file.read_bytes()


def test_messages_and_names_have_no_secrets(site: str) -> None:
    said = refusal(f"http://ada:wrong@{site}/photos.zip?sig=hush&x=1")
    assert site in said and not any(secret in said for secret in ("ada", "wrong", "hush"))
    assert AuditConfig(dataset="https://t0ken@host/a.zip?X-Amz-Signature=1").dataset == "https://host/a.zip"
    assert without_secrets("zip://a::https://u:p@h/x.zip?token=1") == "zip://a::https://h/x.zip"
    assert without_secrets("https://h/a b.zip?x=1&sig=2#part") == "https://h/a b.zip"
    assert without_secrets("403 for 'https://u:p@h/x?sig=2', again") == "403 for 'https://h/x', again"
    assert "hush" not in refusal("simplecache::https://ada:hush@host/x.zip")
    for harmless in ("https://h/x.zip?download=1", "s3://b/a@b/c", "hf://datasets/u/n@main/x", "sftp://me@h/x"):
        assert without_secrets(harmless) == harmless


def test_one_dataset_has_one_name_however_it_is_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("S3://b/photos/") == absolute("s3://b/photos") == "s3://b/photos"
    assert absolute("photos") == absolute(f"file://{tmp_path}/photos") == str(tmp_path / "photos")
    assert absolute("zip://a::x.zip") == f"zip://a::{tmp_path}/x.zip"


def test_one_picture_at_a_url_is_explained_like_a_file(tiny: Tiny, memory: str) -> None:
    file = forms.pictures(tiny.dataset)[0]
    put(memory, {"a.png": file.read_bytes()})
    assert read_image(f"{memory}/a.png").content_hash == read_image(file).content_hash
    with pytest.raises(UnreadableImageError, match=r"'b.png' does not exist"):
        read_image(f"{memory}/b.png")


def test_a_page_of_links_on_a_web_server_is_a_class_folder(site: str, tmp_path: Path) -> None:
    for name, content in (("kite/1 a%.png", KITE), ("owl/2.png", OWL)):
        (tmp_path / "site" / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / "set" / name).write_bytes(content)
    source = f"http://ada:s3cret@{site}/set/"
    listing = list_dataset(source)
    assert {read_bytes(listing.root, image.path): image.label for image in listing.images} == {KITE: "kite", OWL: "owl"}
    assert list_dataset(source) == listing
    (tmp_path / "site" / "set" / "owl" / "2.png").write_bytes(OWL * 2)
    changed = {image.path: image.size for image in list_dataset(source).images}
    assert changed["owl/2.png"] == 2 * len(OWL)


def test_the_page_starts_audits_of_urls_but_takes_no_passwords_into_its_log(tmp_path: Path) -> None:
    for source in ("s3://bucket/photos", "zip://a::s3://bucket/photos.zip", "/data/{a,b}.tar"):
        assert process.arguments(tmp_path, source, {})[1] == source
    with pytest.raises(GradattnError, match="leave the password"):
        process.arguments(tmp_path, "https://u:p@host/photos.zip", {})
