"""Whether the images that a manifest names are there, and what tells them from a changed one."""

from __future__ import annotations

import os
import posixpath
import stat
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from gradattn_core.dataset import remote
from gradattn_core.dataset.address import Member, is_url, is_web, member, name, parent
from gradattn_core.dataset.archives import open_archive
from gradattn_core.dataset.cells import cause
from gradattn_core.dataset.ranges import blob
from gradattn_core.dataset.remote import State
from gradattn_core.dataset.wording import shown

_AT_ONCE = 16
_ABSENT = "the file does not exist"


def states(addresses: Iterable[str]) -> dict[str, State | str]:
    """The state of each image, or why it cannot be read.

    Folders of an object store are listed, one call each; web servers are asked image by image; of a container only its
    index is read.
    """
    distinct = list(dict.fromkeys(addresses))
    found: dict[str, State | str] = {}
    folders: defaultdict[str, list[str]] = defaultdict(list)
    containers: defaultdict[tuple[str, str], list[tuple[str, Member]]] = defaultdict(list)
    web: list[str] = []
    for each in distinct:
        inner = member(each)
        if inner is not None:
            containers[inner.kind, inner.outer].append((each, inner))
        elif not is_url(each):
            found[each] = local_state(each)
        elif is_web(each):
            web.append(each)
        else:
            folders[parent(each)].append(each)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="list") as pool:
        for group in pool.map(_of_folder, folders.items()):
            found |= group
        for group in pool.map(_of_container, containers.items()):
            found |= group
        return found | dict(zip(web, pool.map(_of_web, web), strict=True))


def local_state(path: str) -> State | str:
    """The state of a file of this machine."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return _ABSENT
    except (OSError, ValueError) as error:
        return f"cannot be read: {cause(error)}"
    if not stat.S_ISREG(status.st_mode):
        return "a folder, not a file" if stat.S_ISDIR(status.st_mode) else "not a regular file"
    return State(status.st_size, status.st_mtime_ns)


def _of_web(url: str) -> State | str:
    try:
        return remote.state(url)
    except OSError as error:
        return _reason(error)


def _of_folder(item: tuple[str, list[str]]) -> dict[str, State | str]:
    folder, files = item
    try:
        there: dict[str, State] = dict(remote.children(folder))
    except OSError as error:
        return dict.fromkeys(files, _reason(error))
    return {file: there.get(name(file), _ABSENT) for file in files}


def _of_container(item: tuple[tuple[str, str], list[tuple[str, Member]]]) -> dict[str, State | str]:
    (kind, outer), members = item
    try:
        if kind == "parquet":
            state = blob(outer, fresh=True).state
            return {each: state for each, _ in members}
        archive, _ = open_archive(kind, outer, fresh=True)
    except OSError as error:
        return dict.fromkeys((each for each, _ in members), f"{shown(posixpath.basename(outer))}: {_reason(error)}")
    missing = f"not in {shown(posixpath.basename(outer))}"
    return {
        each: archive.states.get(inner.inside) or archive.problems.get(inner.inside, missing) for each, inner in members
    }


def _reason(error: OSError) -> str:
    return _ABSENT if isinstance(error, FileNotFoundError) else f"cannot be read: {cause(error)}"
