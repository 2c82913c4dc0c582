"""Datasets in every form that they can have, what a test asks of their listing, and a server of objects."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradattn_core.dataset.listing import list_dataset
from gradattn_core.errors import DatasetError
from gradattn_core.records import Listing

SHARDS = 3
BUCKET = "pictures"


def touch(root: Path, *paths: str) -> Path:
    """Empty files: listing never opens an image."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def rows(listing: Listing) -> list[tuple[str, str]]:
    return [(image.path, image.label) for image in listing.images]


def reasons(listing: Listing) -> dict[str, str]:
    assert all(failure.stage == "list" for failure in listing.failures)
    return {failure.path: failure.reason for failure in listing.failures}


def refusal(source: Path | str, **options: Any) -> str:
    with pytest.raises(DatasetError) as caught:
        list_dataset(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def pictures(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.png"))


def write_pictures(folder: Path, count: int) -> Path:
    """Files of two classes that differ in content and only begin as PNGs do."""
    for number in range(count):
        file = folder / ("kite" if number % 2 else "owl") / f"{number:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"\x89PNG" + bytes([number]) * 999)
    return folder


def write_zip(folder: Path, target: Path, wrapper: str = "photos/") -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        for picture in pictures(folder):
            file.write(picture, wrapper + picture.relative_to(folder).as_posix())
    return target


def write_tar(folder: Path, target: Path) -> Path:
    with tarfile.open(target, "w:gz" if target.suffix == ".gz" else "w") as file:
        file.add(folder, ".")
    return target


def write_members(target: Path, members: dict[str, bytes]) -> Path:
    """A tar of these files, all of the same time."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, "w") as file:
        for name, content in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            file.addfile(header, io.BytesIO(content))
    return target


def write_shards(folder: Path, target: Path) -> str:
    """WebDataset in the order of the pictures' paths; returns the pattern of its tars."""
    every = pictures(folder)
    size = -(-len(every) // SHARDS)
    for shard in range(SHARDS):
        members: dict[str, bytes] = {}
        for number, picture in enumerate(every[shard * size : (shard + 1) * size]):
            members[f"{number:06d}.png"] = picture.read_bytes()
            members[f"{number:06d}.cls"] = picture.parent.name.encode()
        write_members(target / f"train-{shard:03d}.tar", members)
    return f"{target}/train-{{000..{SHARDS - 1:03d}}}.tar"


def write_tables(folder: Path, target: Path, *, split: str = "train") -> Path:
    """Parquet as Hugging Face writes it, in two files with several row groups each; returns their folder."""
    every = pictures(folder)
    names = sorted({picture.parent.name for picture in every})
    half = len(every) // 2
    (target / "data").mkdir(parents=True, exist_ok=True)
    for number, part in enumerate((every[:half], every[half:])):
        pq.write_table(table(part, names), target / f"data/{split}-{number:05d}-of-00002.parquet", row_group_size=10)
    return target


def table(files: list[Path], names: list[str]) -> pa.Table:
    features = {"label": {"names": names, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    schema = pa.schema(
        [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    cells = [{"bytes": picture.read_bytes(), "path": picture.name} for picture in files]
    return pa.table({"image": cells, "label": [names.index(file.parent.name) for file in files]}, schema=schema)


def upload(source: Path, url: str) -> str:
    """Copy a file or folder to a URL; returns it."""
    fs, path = fsspec.core.url_to_fs(url)
    for file in [source] if source.is_file() else [file for file in source.rglob("*") if file.is_file()]:
        inside = "" if source.is_file() else f"/{file.relative_to(source).as_posix()}"
        fs.pipe_file(path.rstrip("/") + inside, file.read_bytes())
    return url


@contextmanager
def object_store() -> Iterator[str]:
    """The URL of a bucket on a server of this machine, which the environment names for the time of the block."""
    for package in ("moto", "flask", "s3fs"):
        if find_spec(package) is None:
            pytest.skip(f"no S3 to test with: {package} is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
            patch.setenv("AWS_ACCESS_KEY_ID", "test")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            _wait_for(os.environ["AWS_ENDPOINT_URL"], server)
            fsspec.filesystem("s3", skip_instance_cache=True).mkdir(BUCKET)
            yield f"s3://{BUCKET}"
    finally:
        server.terminate()
        server.wait(timeout=30)


def _wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{address}/moto-api/", timeout=1).close()
            return
        except OSError:
            assert server.poll() is None, "the server ended"
            time.sleep(0.2)
    raise AssertionError("the server does not answer")
