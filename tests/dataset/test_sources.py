"""The same pictures give the same findings in whatever form they lie, and can be read again by any process."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gradattn_core.audit.run import audit_images
from gradattn_core.dataset.decoding import content_hash, read_bytes
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.export import encode
from gradattn_core.store.store import Store
from tests.helpers import dataset_files as forms
from tests.helpers import sample_audit
from tests.helpers.tiny import Tiny, make_tiny

FORMS = ("zip", "tar", "tar.gz", "webdataset", "parquet", "memory", "memory zip", "s3", "s3 webdataset", "s3 parquet")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp("tiny"), per_class=10, wrong_per_class=1)


@pytest.fixture
def source(tiny: Tiny, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Makes the tiny dataset in one of the forms and says what to type for it."""
    folder = tiny.dataset

    def made(form: str) -> str:
        store = request.getfixturevalue("bucket") if form.startswith("s3") else "memory:/"
        place = f"{store}/{tmp_path.name}/{form.replace(' ', '-')}"
        made_of: dict[str, Callable[[], Any]] = {
            "zip": lambda: forms.write_zip(folder, tmp_path / "photos.zip"),
            "tar": lambda: forms.write_tar(folder, tmp_path / "photos.tar"),
            "tar.gz": lambda: forms.write_tar(folder, tmp_path / "photos.tar.gz"),
            "webdataset": lambda: forms.write_shards(folder, tmp_path / "shards"),
            "parquet": lambda: forms.write_tables(folder, tmp_path / "tables"),
            "memory": lambda: forms.upload(folder, place),
            "memory zip": lambda: forms.upload(forms.write_zip(folder, tmp_path / "m.zip"), f"{place}/photos.zip"),
            "s3": lambda: forms.upload(folder, place) + "/",
            "s3 webdataset": lambda: forms.upload(Path(forms.write_shards(folder, tmp_path / "s3")).parent, place),
            "s3 parquet": lambda: forms.upload(forms.write_tables(folder, tmp_path / "t"), place) + "/data/*.parquet",
        }
        return str(made_of[form]())

    return made


@pytest.fixture(scope="module")
def of_folder(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """What the audit of the plain folder finds."""
    out = tmp_path_factory.mktemp("folder")
    audit_images(tiny.config(out))
    assert not (out / "previews").exists()
    return findings(out)


def findings(out: Path) -> pd.DataFrame:
    store = Store(out)
    found = store.candidates.page(store.audits.latest_id(), min_suspicion=0.0)
    return found[["rank", "content_hash", "given_label", "suggested_label", "suspicion", "width", "height", "kind"]]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_dataset_gives_the_same_findings(
    form: str, source: Callable[[str], str], tiny: Tiny, of_folder: pd.DataFrame, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    summary = audit_images(tiny.config(out, dataset=source(form)))
    assert (summary.images, summary.failures) == (30, 0)
    pd.testing.assert_frame_equal(findings(out), of_folder)
    assert list((out / "previews").rglob("*.webp"))


@pytest.mark.parametrize("form", ("zip", "tar.gz", "webdataset", "parquet", "s3", "s3 webdataset", "s3 parquet"))
def test_another_process_reads_what_was_listed_from_root_and_path_alone(
    form: str, source: Callable[[str], str], tiny: Tiny
) -> None:
    listing = list_dataset(source(form))
    asked = [image.path for image in listing.images[::7]]
    script = (
        "import json, sys; from gradattn_core.dataset.decoding import content_hash, read_bytes; "
        "root, paths = json.load(sys.stdin); "
        "print(json.dumps([content_hash(read_bytes(root, path)) for path in paths]))"
    )
    question = json.dumps([listing.root, asked])
    told = subprocess.run([sys.executable, "-c", script], input=question, capture_output=True, text=True, check=True)
    assert json.loads(told.stdout) == [content_hash(read_bytes(listing.root, path)) for path in asked]
    there = {content_hash(file.read_bytes()) for file in forms.pictures(tiny.dataset)}
    assert set(json.loads(told.stdout)) <= there


@pytest.mark.parametrize("form", FORMS)
def test_the_corrected_manifest_of_any_form_is_a_dataset_again(
    form: str, source: Callable[[str], str], tiny: Tiny, tmp_path: Path
) -> None:
    listing = list_dataset(source(form))
    rows = {image.path: image.label for image in listing.images}
    store = stored(tmp_path / "out", listing.root, rows)
    # The sample audit says that one more file of this machine could not be read.
    frame = store.review.corrected("first", folder=tmp_path, judged_only=True)
    manifest = tmp_path / "corrected.csv"
    manifest.write_bytes(encode("corrected", frame, "csv"))
    again = list_dataset(manifest)
    assert not again.failures
    assert content(again.root, {image.path: image.label for image in again.images}) == content(listing.root, rows)


def test_a_picture_that_changes_changes_its_record_and_no_other(
    source: Callable[[str], str], tiny: Tiny, tmp_path: Path
) -> None:
    copy = shutil.copytree(tiny.dataset, tmp_path / "copy")
    changed = forms.pictures(copy)[3]
    name = changed.relative_to(copy).as_posix()
    for again, where in (
        (lambda: forms.write_zip(copy, tmp_path / "c.zip"), str(tmp_path / "c.zip")),
        (lambda: forms.write_tar(copy, tmp_path / "c.tar"), str(tmp_path / "c.tar")),
        (lambda: forms.upload(changed, f"memory://changing/{name}"), "memory://changing"),
    ):
        if where.startswith("memory"):
            forms.upload(copy, where)
        again()
        before = {image.path: (image.size, image.modified) for image in list_dataset(where).images}
        assert before == {image.path: (image.size, image.modified) for image in list_dataset(where).images}
        content = bytearray(changed.read_bytes())
        content[-1] ^= 1
        changed.write_bytes(content)
        again()
        after = {image.path: (image.size, image.modified) for image in list_dataset(where).images}
        assert [path for path in before if before[path] != after[path]] == [name]


def stored(out: Path, root: str, labels: dict[str, str]) -> Store:
    out.mkdir()
    store = Store(out)
    tables = sample_audit.tables(list(labels), suspects=2, given=list(labels.values()))
    store.audits.merge(sample_audit.audit_row(root=root), tables)
    return store


def content(root: str, rows: dict[str, str]) -> list[tuple[str, str]]:
    return sorted((content_hash(read_bytes(root, path)), label) for path, label in rows.items())
