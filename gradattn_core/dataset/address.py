"""Addresses: text that names one image or one folder anywhere, and how a root and a path make one.

An address is a path of this machine, a URL, or a member of a container, written as fsspec chains them:

    /data/photos/kite/1.jpg                         a file
    s3://bucket/photos/kite/1.jpg                   an object
    zip://kite/1.jpg::/data/photos.zip              a member of a zip, likewise tar://
    parquet://image/000017::hf://…/train.parquet    a cell: column and row
    boxes://0.1/12,40,300,220::/data/kite/1.jpg     a part of a picture, with a margin: left, top, width and height

The root of a dataset is the address of a folder or of a container with the part before ``::`` cut short:
``zip://photos::/data/photos.zip``, ``parquet://image::/data``, ``boxes://0.1::/data``; ``webdataset://::/data/shards``
is a folder of tars. What a part is cut from may itself lie in a zip or tar.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from gradattn_core.errors import DatasetError, UnreadableImageError
from gradattn_core.files import user_path

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+://")
_MEMBER = re.compile(r"(zip|tar|webdataset|parquet|boxes)://(.*?)::(.+)", re.DOTALL)
_CHAIN = re.compile(r"[A-Za-z]\w+::.*://")
_SHARD = re.compile(r"(.*?\.(?:tar|tar\.gz|tgz))/(.+)", re.DOTALL | re.IGNORECASE)
_CELL = re.compile(r"(.+)#(\d+)", re.DOTALL)
_BOX = re.compile(r"(.+)#([^#@/]*)@(\d+,\d+,\d+,\d+)", re.DOTALL)
BOXES = "boxes"
"""Kind of the root of annotated boxes, each of which is a picture."""


class Member(NamedTuple):
    """A place in a container of the kind zip, tar, webdataset, parquet or boxes, whose own address is ``outer``."""

    kind: str
    inside: str
    outer: str


def is_url(address: str) -> bool:
    """Whether the address is more than a path of this machine."""
    return _URL.match(address) is not None


def is_web(address: str) -> bool:
    """Whether it is read by HTTP."""
    return address.lower().startswith(("http://", "https://"))


def member(address: str) -> Member | None:
    """The parts of an address in a container; None for any other."""
    parts = _MEMBER.fullmatch(address)
    if parts is None:
        return None
    kind, inside, outer = parts.groups()
    return Member(kind, inside.replace("%3A", ":").replace("%25", "%"), outer)


def outermost(address: str) -> str:
    """The file, folder or URL that an address starts from: of what lies in an archive the archive, else itself."""
    inner = member(address)
    return address if inner is None else outermost(inner.outer) if inner.kind == BOXES else inner.outer


def whole_picture(address: str) -> str:
    """The address of the picture that a part is cut from, or the root of such pictures; any other address itself."""
    inner = member(address)
    return inner.outer if inner is not None and inner.kind == BOXES else address


class BoxPath(NamedTuple):
    """The path of an annotated box: the picture's own, the annotation's id, and ``left,top,width,height`` in pixels."""

    picture: str
    annotation: str
    box: str


def box_path(path: str) -> BoxPath | None:
    """The parts of the path of an annotated box, ``photo.jpg#1768@236,142,26,71``; None for any other path."""
    parts = _BOX.fullmatch(path)
    return None if parts is None else BoxPath(*parts.groups())


def member_address(kind: str, inside: str, outer: str) -> str:
    """The inverse of :func:`member`. Colons are escaped, so that the first ``::`` ends the inner part."""
    return f"{kind}://{inside.replace('%', '%25').replace(':', '%3A')}::{outer}"


def is_local(address: str) -> bool:
    """Whether nothing beyond this machine is read: a path, or a container that lies at one."""
    inner = member(address)
    return is_local(inner.outer) if inner else not is_url(address)


def is_plain_file(root: str, path: str) -> bool:
    """Whether the image is a file of this machine that anybody can open by its path."""
    return not is_url(path) and not is_url(root)


def join(root: str, path: str) -> str:
    """The address of the image that a dataset with this root lists under ``path``.

    Raises:
        UnreadableImageError: the path leads out of a root that is not a folder of this machine.
    """
    inner = member(root)
    if inner is not None and inner.kind == BOXES:
        part = box_path(path)
        if part is None:
            return join(inner.outer, path)
        return member_address(BOXES, f"{inner.inside}/{part.box}", join(inner.outer, part.picture))
    if is_url(path):
        return path
    if not is_url(root):
        return os.path.join(root, path)
    if leads_out(path):
        raise UnreadableImageError(f"{path!r} leads out of the dataset and is not opened.")
    if inner is None:
        # in a web address these two would end the path
        name = quote(path, safe="/%:@!$&'()*+,;=~ ") if is_web(root) else path
        return f"{root}{'' if root.endswith('/') else '/'}{name}"
    if inner.kind == "webdataset":
        shard = _SHARD.fullmatch(path)
        if shard is None:
            raise UnreadableImageError(f"{path!r} names no sample of a tar.")
        return member_address("tar", shard[2], join(inner.outer, shard[1]))
    if inner.kind == "parquet":
        cell = _CELL.fullmatch(path)
        if cell is None:
            raise UnreadableImageError(f"{path!r} names no row of a Parquet file.")
        return member_address("parquet", f"{inner.inside}/{cell[2]}", join(inner.outer, cell[1]))
    return member_address(inner.kind, posixpath.join(inner.inside, path), inner.outer)


def listed_path(root: str, path: str) -> str | None:
    """One spelling per image, which :func:`join` takes back: relative to the root where it lies below, else absolute.

    None for a path that may not be opened: of this machine though the root is elsewhere, or one that leads out of it.
    """
    if is_url(path):
        return None if is_local(path) and not is_local(root) else relative(path, root)
    if not is_url(root):
        below = os.path.join(root, "")
        return os.path.normpath(os.path.join(below, path)).removeprefix(below).replace(os.sep, "/")
    if path.startswith("/"):
        return None
    if member(root) is not None:
        inside = posixpath.normpath(path)
        return None if leads_out(inside) else inside
    scheme, place = root.split("://", 1)
    whole = posixpath.normpath(f"{place}/{path}")
    if whole.split("/")[0] != place.split("/")[0] or leads_out(whole):
        return None
    return relative(f"{scheme}://{whole}", root)


def canonical(source: str) -> str:
    """One spelling of a dataset's name: a path or URL as it was typed, without what does not count.

    Raises:
        DatasetError: it is a chain of URLs of an unknown kind.
    """
    if source.lower().startswith("file://"):
        source = source[len("file://") :]
    if not is_url(source):
        if _CHAIN.match(source):
            raise _no_chain(source)
        return source
    scheme, rest = source.split("://", 1)
    place = f"{scheme.lower()}://{rest}"
    inner = member(place)
    if inner is not None:
        outer = canonical(inner.outer)
        if member(outer) is not None and inner.kind != BOXES:
            raise _no_chain(source)
        return member_address(inner.kind, inner.inside, outer if is_url(outer) else os.path.abspath(outer))
    if "::" in place or scheme.lower() in ("zip", "tar", "parquet", "webdataset", BOXES):
        raise _no_chain(source)
    return place.rstrip("/") if rest.strip("/") else place


def absolute(source: str) -> str:
    """:func:`canonical`, with a path of this machine made absolute: equal texts name the same dataset."""
    place = canonical(source)
    return place if is_url(place) else str(user_path(place).resolve())


def relocate(root: str, folder: Path) -> str:
    """The root of the same dataset once its files lie below ``folder`` of this machine."""
    inner = member(root)
    if inner is not None and inner.kind == BOXES:
        return member_address(BOXES, inner.inside, relocate(inner.outer, folder))
    if inner is not None and inner.kind in ("webdataset", "parquet"):
        return member_address(inner.kind, inner.inside, folder.as_posix())
    return folder.as_posix()


def leads_out(path: str) -> bool:
    """Whether a name from an archive or a listing is no path below it: absolute, with ``..``, or with a drive."""
    parts = path.replace("\\", "/").split("/")
    return parts[0] == "" or ".." in parts or re.fullmatch("[A-Za-z]:", parts[0]) is not None or "\0" in path


def parent(address: str) -> str:
    """The folder of a file, be it a path or a URL."""
    above = address.rstrip("/").rpartition("/")[0] or "/"
    return f"{above}/" if above.endswith(":/") else above


def file_name(address: str) -> str:
    """What messages call a file or member: the last part of its path, without a web address's query."""
    inner = member(address)
    if inner is not None and inner.kind == BOXES:
        return file_name(inner.outer)
    if inner is not None:
        last = file_name(inner.inside)
        return f"{file_name(inner.outer)}#{last}" if inner.kind == "parquet" else last
    bare = address.split("?")[0].split("#")[0] if is_web(address) else address
    return bare.rstrip("/").rpartition("/")[2]


def relative(address: str, folder: str) -> str:
    """The path of an address below a folder's; the address itself where it lies elsewhere."""
    return address.removeprefix(folder if folder.endswith("/") else f"{folder}/")


def common_folder(addresses: Sequence[str]) -> str | None:
    """The deepest folder that holds all the files; None where they are not of one storage."""
    parts = [parent(address).split("/") for address in addresses]
    shared = list(takewhile(lambda column: len(set(column)) == 1, zip(*parts, strict=False)))
    if is_url(addresses[0]) and len(shared) < 3:  # scheme, nothing, host
        return None
    return "/".join(column[0] for column in shared) or "/"


def _no_chain(source: str) -> DatasetError:
    return DatasetError(f"{source!r} is no chain that can be read; write zip://::ARCHIVE or tar://folder::ARCHIVE.")
