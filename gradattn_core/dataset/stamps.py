"""The stamps of images that are named one by one: of each its size and time, or why it is not there."""

from __future__ import annotations

import os
import posixpath
import stat
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from gradattn_core.dataset import storage
from gradattn_core.dataset.address import Member, file_name, is_url, is_web, member, parent
from gradattn_core.dataset.archives import open_archive
from gradattn_core.dataset.storage import Stamp, stamp_of
from gradattn_core.dataset.text import cause, shown
from gradattn_core.errors import DatasetError

ABSENT = "the file does not exist"
NOT_IN = "not in"
"""So begins the reason where a container has no such member."""
_THREADS = 16


def stamps(addresses: Iterable[str]) -> dict[str, Stamp | str]:
    """The stamp of each image, or why it cannot be read.

    Folders of an object store are listed, one call each; web servers are asked image by image; of a container only its
    index is read.
    """
    result: dict[str, Stamp | str] = {}
    folders: defaultdict[str, list[str]] = defaultdict(list)
    containers: defaultdict[tuple[str, str], list[tuple[str, Member]]] = defaultdict(list)
    web: list[str] = []
    for address in dict.fromkeys(addresses):
        inner = member(address)
        if inner is not None:
            containers[inner.kind, inner.outer].append((address, inner))
        elif not is_url(address):
            result[address] = _local_stamp(address)
        elif is_web(address):
            web.append(address)
        else:
            folders[parent(address)].append(address)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="list") as pool:
        for group in pool.map(_folder_stamps, folders.items()):
            result |= group
        for group in pool.map(_container_stamps, containers.items()):
            result |= group
        return result | dict(zip(web, pool.map(_web_stamp, web), strict=True))


def _local_stamp(path: str) -> Stamp | str:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return ABSENT
    except (OSError, ValueError) as error:
        return f"cannot be read: {cause(error)}"
    if not stat.S_ISREG(status.st_mode):
        return "a folder, not a file" if stat.S_ISDIR(status.st_mode) else "not a regular file"
    return stamp_of(status)


def _web_stamp(url: str) -> Stamp | str:
    try:
        return storage.stamp(url)
    except DatasetError as error:
        return str(error).rstrip(".")
    except OSError as error:
        return _problem(error)


def _folder_stamps(item: tuple[str, list[str]]) -> dict[str, Stamp | str]:
    folder, files = item
    try:
        there: dict[str, Stamp] = dict(storage.files_in(folder))
    except DatasetError as error:  # no such storage, or its package is not installed
        return dict.fromkeys(files, str(error).rstrip("."))
    except OSError as error:
        return dict.fromkeys(files, _problem(error))
    return {file: there.get(file_name(file), ABSENT) for file in files}


def _container_stamps(item: tuple[tuple[str, str], list[tuple[str, Member]]]) -> dict[str, Stamp | str]:
    (kind, outer), members = item
    container = shown(posixpath.basename(outer))
    try:
        if kind == "parquet":
            return dict.fromkeys((address for address, _ in members), storage.open_file(outer, fresh=True).stamp)
        archive, _ = open_archive(kind, outer, fresh=True)
    except DatasetError as error:
        return dict.fromkeys((address for address, _ in members), str(error).rstrip("."))
    except OSError as error:
        return dict.fromkeys((address for address, _ in members), f"{container}: {_problem(error)}")
    return {
        address: archive.stamps.get(inner.inside) or archive.problems.get(inner.inside, f"{NOT_IN} {container}")
        for address, inner in members
    }


def _problem(error: OSError) -> str:
    return ABSENT if isinstance(error, FileNotFoundError) else f"cannot be read: {cause(error)}"
