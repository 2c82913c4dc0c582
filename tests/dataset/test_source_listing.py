"""What archives, WebDataset tars and Parquet files list, and what they are refused for; no dataset lies on a server."""

from __future__ import annotations

import json
import random
import struct
import tarfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradattn_core.dataset import storage
from gradattn_core.dataset.decoding import content_hash, read_bytes
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.errors import UnreadableImageError
from tests.helpers import dataset_files as forms
from tests.helpers.dataset_files import reasons, refusal, rows, touch

KITE, OWL = b"\x89PNG a kite", b"\x89PNG an owl"


def test_a_sample_is_labelled_by_its_class_its_json_or_its_text_in_this_order(tmp_path: Path) -> None:
    forms.write_members(
        tmp_path / "a.tar",
        {
            "1.png": KITE,
            "1.cls": b"kite\n",
            "1.txt": b"a caption",
            "2.jpg": OWL,
            "2.json": b'{"label": 7, "species": "bubo"}',
            "2.txt": b"a caption",
            "3.JPEG": OWL,
            "3.txt": " Ünïcode ".encode(),
            "deep/4.png": KITE,
            "deep/4.seg.png": OWL,
            "deep/4.cls": b"kite",
            "5.png": KITE,
            "6.cls": b"no picture",
            "7.png": KITE,
            "7.json": b'{"other": 1}',
        },
    )
    listing = list_dataset(tmp_path / "a.tar")
    assert rows(listing) == [
        ("a.tar/1.png", "kite"),
        ("a.tar/2.jpg", "7"),
        ("a.tar/3.JPEG", "Ünïcode"),
        ("a.tar/deep/4.png", "kite"),
    ]
    assert set(reasons(listing)) == {"a.tar/5.png", "a.tar/7.png"}
    assert {each.path: each.reason for each in listing.skipped} == {
        "a.tar/6.cls": "the sample has no picture",
        "a.tar/deep/4.seg.png": "another picture of its sample",
    }
    assert read_bytes(listing.root, "a.tar/deep/4.png") == KITE


def test_the_label_column_names_the_field_of_the_samples_json(tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    for number, species in enumerate(("milvus", "bubo", None)):
        members |= {
            f"{number}.png": KITE,
            f"{number}.cls": b"bird",
            f"{number}.json": json.dumps({"s": species}).encode(),
        }
    forms.write_members(tmp_path / "x-{0}.tar", members)
    listing = list_dataset(tmp_path / "x-{0}.tar", label_column="s")
    assert rows(listing) == [("x-{0}.tar/0.png", "milvus"), ("x-{0}.tar/1.png", "bubo")]
    assert reasons(listing) == {"x-{0}.tar/2.png": "the sample's .json has no field 's'"}


def test_a_tar_of_class_folders_with_notes_beside_the_pictures_is_a_class_folder(tmp_path: Path) -> None:
    forms.write_members(
        tmp_path / "a.tar", {"kite/1.png": KITE, "kite/1.json": b'{"label": "camera"}', "owl/2.png": OWL}
    )
    assert rows(list_dataset(tmp_path / "a.tar")) == [("kite/1.png", "kite"), ("owl/2.png", "owl")]


def test_a_folder_a_glob_and_braces_of_tars_are_one_dataset(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("val", 1)):
        for shard in range(count):
            members = {f"{shard}.png": KITE, f"{shard}.cls": str(shard % 2).encode(), "x.png": OWL, "x.cls": b"9"}
            forms.write_members(tmp_path / f"{split}-{shard:02d}.tar", members)
    assert len(list_dataset(tmp_path).images) == 8
    assert len(list_dataset(tmp_path, split="train").images) == 6
    assert len(list_dataset(tmp_path / "train-*.tar").images) == 6
    listing = list_dataset(tmp_path / "{train-{01..02},val-00}.tar")
    assert [image.path for image in listing.images][::2] == [
        "train-01.tar/1.png",
        "train-02.tar/2.png",
        "val-00.tar/0.png",
    ]
    assert "No tar in" in refusal(tmp_path, split="test")
    assert "No file matches" in refusal(tmp_path / "test-*.tar")
    assert "are not one dataset" in refusal(touch(tmp_path, "a.csv") / "{a.csv,val-00.tar}")


def test_a_missing_and_a_cut_tar_cost_no_more_than_themselves(tmp_path: Path) -> None:
    for shard in range(3):
        members = {f"{number}.png": KITE * 100 for number in range(4)}
        members |= {f"{number}.cls": str(number % 2).encode() for number in range(4)}
        forms.write_members(tmp_path / f"{shard}.tar", dict(sorted(members.items())))
    cut = (tmp_path / "1.tar").read_bytes()
    (tmp_path / "1.tar").write_bytes(cut[:5700])
    listing = list_dataset(tmp_path / "{0..3}.tar")
    found = reasons(listing)
    assert "damaged after" in found["1.tar"] and "No such file" in found["3.tar"]
    assert sum(image.path.startswith("1.tar/") for image in listing.images) == 1
    assert "The first of 1 problems: '3.tar'" in refusal(tmp_path / "{3..3}.tar")


def test_archives_that_are_cut_or_none_at_all_are_refused_in_one_sentence(tmp_path: Path) -> None:
    make = touch(tmp_path / "set")
    for number in range(20):
        (make / f"{number % 2}").mkdir(parents=True, exist_ok=True)
        (make / f"{number % 2}" / f"{number}.png").write_bytes(KITE * 500)
    for name, write in (("a.zip", forms.write_zip), ("a.tar", forms.write_tar), ("a.tar.gz", forms.write_tar)):
        write(make, tmp_path / name)
        assert len(list_dataset(tmp_path / name).images) == 20
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        assert any(word in refusal(tmp_path / name) for word in ("damaged", "no whole zip"))
        (tmp_path / name).write_bytes(b"something else")
        assert "cannot be read: no whole" in refusal(tmp_path / name)


def test_names_that_lead_out_of_an_archive_are_failures_and_never_opened(tmp_path: Path) -> None:
    outside = tmp_path / "outside.png"
    outside.write_bytes(OWL)
    names = ["../outside.png", str(outside), "kite/../../outside.png", "..\\outside.png", "C:\\outside.png"]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in ["kite/1.png", "owl/1.png", *names]:
            file.writestr(name, KITE)
    forms.write_members(tmp_path / "a.tar", dict.fromkeys(["kite/1.png", "owl/1.png", *names], KITE))
    with tarfile.open(tmp_path / "a.tar", "a") as tar:
        link = tarfile.TarInfo("kite/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, str(outside)
        tar.addfile(link)
    for archive in ("a.zip", "a.tar"):
        listing = list_dataset(tmp_path / archive)
        assert rows(listing) == [("kite/1.png", "kite"), ("owl/1.png", "owl")]
        refused = reasons(listing)
        assert len(refused) >= len(names) and all(
            "not opened" in refused[name] for name in refused if "outside" in name
        )
        assert archive == "a.zip" or "link" in refused["kite/link.png"]
        for name in ("../outside.png", "kite/link.png", str(outside), "never.png"):
            with pytest.raises(UnreadableImageError):
                read_bytes(listing.root, name)


def test_members_that_are_encrypted_lie_about_their_size_or_unpack_to_no_picture_are_failures(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in (
            ("a/1.png", KITE),
            ("b/1.png", OWL),
            ("a/bomb.png", bytes(2**27)),
            ("a/liar.png", KITE * 9),
        ):
            file.writestr(name, content)
        file.writestr("a/locked.png", KITE)
    raw = bytearray(archive.read_bytes())
    central = raw.index(b"PK\x01\x02")
    for entry_name, offset, value in (
        (b"a/locked.png", 8, struct.pack("<H", 1)),
        (b"a/liar.png", 24, struct.pack("<I", 12)),
    ):
        entry = raw.index(entry_name, central) - 46
        raw[entry + offset : entry + offset + len(value)] = value
    archive.write_bytes(raw)
    listing = list_dataset(archive)
    found = reasons(listing)
    assert "encrypted" in found["a/locked.png"] and "no picture does that" in found["a/bomb.png"]
    with pytest.raises(UnreadableImageError, match=r"'liar.png' is damaged"):
        read_bytes(listing.root, "a/liar.png")


def test_a_tar_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_MAX_UNPACKED", 2**20)
    forms.write_members(tmp_path / "a.tar", {"a/1.png": bytes(2**23), "b/1.png": KITE})
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as file:
        file.add(tmp_path / "a.tar", "a/1.png")
    assert "unpacks to more than 200 times its size" in refusal(tmp_path / "b.tar.gz")


def test_a_tar_that_leads_back_into_itself_is_refused(tmp_path: Path) -> None:
    forms.write_members(tmp_path / "a.tar", {"a/1.png": KITE, "b/2.png": OWL})
    raw = bytearray((tmp_path / "a.tar").read_bytes())
    header = raw[1024:1536]
    header[124:136] = b"\xff" * 11 + b"\x00"  # minus 256, in the notation for large numbers
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:]))
    (tmp_path / "a.tar").write_bytes(raw[:1024] + header + raw[1536:])
    assert "a member has a negative size" in refusal(tmp_path / "a.tar")


def test_many_threads_read_one_archive_or_table_at_once(tmp_path: Path) -> None:
    folder = forms.write_pictures(tmp_path / "set", 60)
    there = {content_hash(file.read_bytes()) for file in forms.pictures(folder)}
    forms.write_tables(folder, tmp_path / "hf")
    for source in (
        forms.write_zip(folder, tmp_path / "a.zip"),
        forms.write_tar(folder, tmp_path / "a.tar.gz"),
        tmp_path / "hf",
    ):
        listing = list_dataset(source)
        paths = [image.path for image in listing.images] * 5
        with ThreadPoolExecutor(8) as pool:
            hashes = list(pool.map(lambda path, root=listing.root: content_hash(read_bytes(root, path)), paths))
        assert len(hashes) == 300 and set(hashes) == there


def test_reading_in_any_order_takes_time_in_proportion(tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    for number in range(4000):
        members |= {f"{number:05d}.png": b"%d" % number * 200, f"{number:05d}.cls": b"%d" % (number % 2)}
    forms.write_members(tmp_path / "a.tar", members)
    table = pa.table({"image": [b"%d" % number * 200 for number in range(4000)], "label": [0, 1] * 2000})
    pq.write_table(
        table.cast(pa.schema([("image", pa.binary()), ("label", pa.int64())])),
        tmp_path / "t.parquet",
        row_group_size=100,
    )
    for source in (tmp_path / "a.tar", tmp_path / "t.parquet"):
        listing = list_dataset(source)
        paths = [image.path for image in listing.images]
        random.Random(0).shuffle(paths)
        start = time.monotonic()
        sizes = [len(read_bytes(listing.root, path)) for path in paths]
        # Looking through the tar, or unpacking a row group, for each of them would take more than a minute.
        assert time.monotonic() - start < 10 and len(sizes) == 4000


def test_listing_a_tar_reads_its_headers_and_no_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forms.write_members(
        tmp_path / "a.tar", {f"{label}/{number}.png": bytes(2**20) for label in "ab" for number in range(8)}
    )
    sizes: list[int] = []
    real = storage._read_local

    def counted(address: str, start: int, end: int) -> bytes:
        sizes.append(end - start)
        return real(address, start, end)

    monkeypatch.setattr(storage, "_read_local", counted)
    assert len(list_dataset(tmp_path / "a.tar").images) == 16
    assert 0 < sum(sizes) < 2**20


def test_pictures_whose_names_have_dots_and_second_pictures_of_a_sample_are_named(tmp_path: Path) -> None:
    forms.write_members(
        tmp_path / "a.tar",
        {
            **{"1.png": KITE, "1.cls": b"kite", "1.jpg": OWL, "2.png": OWL, "2.cls": b"owl", "2.npy": b"x"},
            **{
                "img.v2.001.jpg": KITE,
                "img.v2.001.cls": b"kite",
                "img.v2.002.jpg": OWL,
                "3.svg": b"<svg/>",
                "3.cls": b"owl",
            },
        },
    )
    listing = list_dataset(tmp_path / "a.tar")
    assert rows(listing) == [("a.tar/1.jpg", "kite"), ("a.tar/2.png", "owl")]
    found = {each.path: each.reason for each in (*listing.failures, *listing.skipped)}
    assert found["a.tar/1.png"] == "another picture of its sample" and "no picture" in found["a.tar/2.npy"]
    assert "a dot before its ending" in found["a.tar/img.v2.001.jpg"] == found["a.tar/img.v2.002.jpg"]
    assert "not read" in found["a.tar/3.svg"]
    assert [each.given_label for each in listing.failures if each.path == "a.tar/3.svg"] == ["owl"]
