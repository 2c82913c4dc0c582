"""Changed means changed: files of one size and time that change places, and what is no change though times say so."""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gradattn_core.audit.changes import _can_lie, keep_files, settled
from gradattn_core.audit.plan import survey_dataset
from gradattn_core.audit.run import audit_images
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.outfolder import AuditFolder, listed
from gradattn_core.store.store import Store
from tests.helpers.tiny import Tiny

MOMENT = 1_700_000_000


def write_bitmaps(folder: Path, count: int = 6) -> Path:
    """Pictures of two classes, all of one size and one time, as an archive unpacks them."""
    rng = np.random.default_rng(0)
    for number in range(count):
        for name, colour in (("blue", (40, 60, 200)), ("red", (200, 50, 40))):
            file = folder / name / f"{number}.bmp"
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.clip(np.array(colour) + rng.normal(0, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(file)
            os.utime(file, (MOMENT, MOMENT))
    return folder


def swap(one: Path, other: Path) -> None:
    """As a person corrects two labels: by moving the files."""
    aside = one.with_suffix(".aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def replaced(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    os.utime(file, (MOMENT, MOMENT))


def contents(out: Path, audit_id: str) -> dict[str, str]:
    """Content hash by path of all that an audit has swept."""
    tables = [pq.read_table(file) for file in AuditFolder(out / "features" / audit_id).sweep_files()]
    return {
        path: content
        for table in tables
        for path, content in zip(*(table[name].to_pylist() for name in ("path", "content_hash")), strict=True)
    }


def in_a_tar(folder: Path) -> Path:
    """All members of one size and time, and the tar's own time set too."""
    target = folder.parent / "set.tar"
    with tarfile.open(target, "w") as file:
        file.add(folder, ".")
    os.utime(target, (MOMENT, MOMENT))
    return target


def in_a_zip(folder: Path) -> Path:
    target = folder.parent / "set.zip"
    with zipfile.ZipFile(target, "w") as file:
        for picture in sorted(folder.rglob("*.bmp")):
            file.writestr(zipfile.ZipInfo(picture.relative_to(folder).as_posix()), picture.read_bytes())
    os.utime(target, (MOMENT, MOMENT))
    return target


@pytest.mark.parametrize("packed", [lambda folder: folder, in_a_tar, in_a_zip], ids=["folder", "tar", "zip"])
def test_two_files_of_one_size_and_time_that_change_places_are_audited_anew(
    tiny: Tiny, tmp_path: Path, packed: Callable[[Path], Path]
) -> None:
    folder, out = write_bitmaps(tmp_path / "set"), tmp_path / "out"
    swap(folder / "blue" / "0.bmp", folder / "red" / "0.bmp")
    first = audit_images(tiny.config(out, dataset=str(packed(folder)), folds=2))
    again = audit_images(tiny.config(out, dataset=str(packed(folder)), folds=2))
    assert again.audit_id == first.audit_id
    hashes = contents(out, first.audit_id)
    swap(folder / "blue" / "0.bmp", folder / "red" / "0.bmp")
    with pytest.warns(UserWarning, match="a new audit begins"):
        second = audit_images(tiny.config(out, dataset=str(packed(folder)), folds=2))
    assert second.audit_id != first.audit_id
    assert contents(out, second.audit_id) == hashes | {
        "blue/0.bmp": hashes["red/0.bmp"],
        "red/0.bmp": hashes["blue/0.bmp"],
    }
    assert "12 images were taken over from earlier audits, 0 were swept anew." in second.warnings


def test_a_content_replaced_under_the_same_size_and_time_is_another_file(tiny: Tiny, tmp_path: Path) -> None:
    folder = write_bitmaps(tmp_path / "set")
    config = tiny.config(tmp_path / "out", dataset=str(folder), folds=2)
    first = audit_images(config)
    file = folder / "red" / "3.bmp"
    replaced(file, file.read_bytes()[:-1] + b"\x07")
    with pytest.warns(UserWarning, match="a new audit begins"):
        assert audit_images(config).audit_id != first.audit_id


def test_touched_copied_and_restored_files_are_the_same_audit_and_are_not_read_for_ever(
    tiny: Tiny, tmp_path: Path
) -> None:
    folder = write_bitmaps(tmp_path / "set")
    config = tiny.config(tmp_path / "out", dataset=str(folder), folds=2)
    first = audit_images(config)
    for file in folder.rglob("*.bmp"):
        file.chmod(0o600)
    shutil.copytree(folder, tmp_path / "backup")
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "backup", folder)  # other inodes and change times, as from a backup
    assert audit_images(config).audit_id == first.audit_id
    kept = listed(tmp_path / "out").read_bytes()
    assert audit_images(config).audit_id == first.audit_id
    assert listed(tmp_path / "out").read_bytes() == kept


def test_an_audit_of_a_version_that_knew_no_change_times_is_not_all_changed(tiny: Tiny, tmp_path: Path) -> None:
    folder = write_bitmaps(tmp_path / "set")
    config = tiny.config(tmp_path / "out", dataset=str(folder), folds=2)
    first = audit_images(config)
    for damaged in (None, b"", b"PAR1 nonsense"):
        listed(tmp_path / "out").unlink()
        if damaged is not None:
            listed(tmp_path / "out").write_bytes(damaged)
        assert audit_images(config).audit_id == first.audit_id


def test_two_that_changed_places_and_back_are_what_they_were(tiny: Tiny, tmp_path: Path) -> None:
    folder = write_bitmaps(tmp_path / "set")
    config = tiny.config(tmp_path / "out", dataset=str(folder), folds=2)
    first = audit_images(config)
    for _ in range(2):
        swap(folder / "blue" / "1.bmp", folder / "red" / "1.bmp")
        last = survey_dataset(config)
        keep_files(last.files, last.listing, tmp_path / "out")
    assert last.fingerprint == Store(tmp_path / "out").audits.all().iloc[0]["fingerprint"]
    assert first.audit_id == Store(tmp_path / "out").audits.all().iloc[0]["audit_id"]


def test_only_files_that_may_have_changed_are_read(tiny: Tiny, tmp_path: Path) -> None:
    folder, out = write_bitmaps(tmp_path / "set"), tmp_path / "out"
    audit_images(tiny.config(out, dataset=str(folder), folds=2))
    swap(folder / "blue" / "0.bmp", folder / "red" / "0.bmp")
    listing = list_dataset(folder)
    changed = [
        seen.path
        for seen, image in zip(settled(listing, out).images, listing.images, strict=True)
        if seen.modified != image.modified
    ]
    assert changed == ["blue/0.bmp", "red/0.bmp"]


MOUNTS = r"""22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
31 22 0:41 / /mnt/share rw - cifs //server/share rw
32 22 0:42 / /mnt/my\040disk rw - vfat /dev/sdb1 rw
33 31 8:2 / /mnt/share/local rw - ext4 /dev/sdc1 rw
34 22 0:43 / /home/ada/cloud rw - fuse.rclone remote: rw"""


@pytest.mark.parametrize(
    ("root", "lies"),
    [
        ("/data/set", False),
        ("/mnt/share/set", True),
        ("/mnt/shared", False),
        ("/mnt/my disk/set", True),
        ("/mnt/share/local/set", False),
        ("zip://::/home/ada/cloud/set.zip", True),
        ("s3://bucket/set", False),
    ],
)
def test_file_systems_that_make_their_numbers_up_are_known(root: str, lies: bool) -> None:
    assert _can_lie(root, MOUNTS.splitlines()) == lies
