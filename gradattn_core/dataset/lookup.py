"""Where the pictures of a table lie: as its paths say, or as they meant before somebody moved or renamed the files.

Tables travel further than pictures. Their paths begin at another folder, on another machine, in the tool that wrote
them, or are mere ids. What is found otherwise than it is written is said in a sentence, and two files that could be
meant by one text are a failure, never a guess.
"""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from urllib.parse import unquote

from gradattn_core.dataset import storage
from gradattn_core.dataset.address import is_url, is_web, leads_out, listed_path, member
from gradattn_core.dataset.archives import open_archive
from gradattn_core.dataset.endings import is_hidden, is_image
from gradattn_core.dataset.selection import SPLIT_NAMES
from gradattn_core.dataset.text import shown
from gradattn_core.errors import DatasetError

_MOST_FILES = 2_000_000
_SUGGESTED = 50_000
"""Where more files than these lie near by, no folder is suggested."""

_ASKED = 20

# What labelling tools put before the path that a picture had when it was given to them.
_SERVED = re.compile(r".*/data/local-files/?\?d=(.+)", re.DOTALL)
_UPLOADED = re.compile(r".*/data/upload/(?:\d+/)?(.+)", re.DOTALL)
_HASHED = re.compile(r"((?:.*/)?)[0-9a-f]{8}-(.+)", re.DOTALL)
_WHOLE = re.compile(r"0*([0-9]+?)(?:\.0+)?", re.ASCII)
_ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+://|[A-Za-z]:(?=/)")


@dataclass(frozen=True)
class Finder:
    """Finds the pictures below a root that texts mean.

    Attributes:
        root: address of the folder or container.
        ending: of the pictures' names where the texts have none or several files differ only by it, such as ``.jpg``.
        most: files of this machine to search among; below a folder with more of them nothing is searched.
    """

    root: str
    ending: str | None = None
    most: int = _MOST_FILES

    def rewritten(self, text: str) -> str | None:
        """The path, as the listing spells it, of a text in another spelling; None where there is no such file.

        The other spellings keep all that says which file is meant: backslashes for slashes, escaped characters, what a
        labelling tool puts before a path, a path from the root on, and a name without its ending.
        """
        for spelling in _spellings(text):
            path = listed_path(self.root, spelling)
            if path is None or leads_out(path):
                continue
            folder, name = posixpath.split(path)
            names = self._names_in(folder)
            if self.ending is not None and name + self.ending in names.get(name, ()):
                return path + self.ending
            if name in names.get(posixpath.splitext(name)[0], ()):
                return path
            without_ending = [each for each in names.get(name, ()) if is_image(each)]
            if len(without_ending) == 1:
                return posixpath.join(folder, without_ending[0])
        return None

    def searched(self, text: str) -> list[str]:
        """The paths of the files that a text may mean by its name and the folders before it, the best alone if it is.

        Names are the same without regard to case and, where no file has the whole of it, without their ending, the
        numbers of whole-number names also without leading zeros.
        """
        best: list[str] = []
        for spelling in _spellings(text):
            parts = _folded(spelling).split("/")
            for name in _names(parts[-1]):
                found = [path for path in self._by_name.get(name, []) if not _of_other_splits(parts, path)]
                if self.ending is not None:
                    found = [path for path in found if path.casefold().endswith(self.ending.casefold())]
                if not found:
                    continue
                depths = [_shared(parts[:-1], _folded(path).split("/")[:-1]) for path in found]
                best = [path for path, depth in zip(found, depths, strict=True) if depth == max(depths)]
                if len(best) == 1:
                    return best
        return best

    def _names_in(self, folder: str) -> Mapping[str, Sequence[str]]:
        """The names in a folder, by what they are without their ending."""
        if not is_url(self.root) and folder not in self._folders:
            try:
                self._folders[folder] = _by_stem(os.listdir(os.path.join(self.root, folder)))
            except (OSError, ValueError):
                self._folders[folder] = {}
        return self._folders.get(folder, {})

    @cached_property
    def _folders(self) -> dict[str, Mapping[str, Sequence[str]]]:
        folders: defaultdict[str, list[str]] = defaultdict(list)
        for path in self.files if is_url(self.root) else ():
            folders[posixpath.dirname(path)].append(posixpath.basename(path))
        return {folder: _by_stem(names) for folder, names in folders.items()}

    @cached_property
    def files(self) -> Sequence[str]:
        """The pictures below the root, sorted; none where there is no list of them, or too long a one."""
        try:
            inner = member(self.root)
            if inner is not None:
                start = f"{inner.inside}/" if inner.inside else ""
                names = open_archive(inner.kind, inner.outer)[0].stamps
                every: Iterable[str] = [name.removeprefix(start) for name in names if name.startswith(start)]
            elif is_web(self.root):
                return ()
            elif is_url(self.root):
                every = [name for name, _ in storage.files_below(self.root)]
            else:
                every = _below(self.root, self.most)
        except (OSError, DatasetError):
            return ()
        return sorted(name for name in every if is_image(name) and not is_hidden(name))

    @cached_property
    def _by_name(self) -> Mapping[str, list[str]]:
        """Of each name, and of each name without ending and then without leading zeros: the paths that have it."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for path in self.files:
            name = _folded(posixpath.basename(path))
            stem = posixpath.splitext(name)[0]
            for key in dict.fromkeys((name, f"{stem}.", _number(stem))):
                if key:
                    found[key].append(path)
        return found


def folder_with(root: str, texts: Sequence[str]) -> str | None:
    """A folder near a local root, one beside it among them, that has most of the files that the texts name, or None."""
    if is_url(root):
        return None
    above = os.path.dirname(root.rstrip("/")) or root
    finder = Finder(above, most=_SUGGESTED)
    folders: Counter[str] = Counter()
    for text in texts[:_ASKED]:
        paths = finder.searched(text)
        if len(paths) == 1:
            depth = text.replace("\\", "/").strip("/").count("/") + 1
            folders[os.path.join(above, *paths[0].split("/")[:-depth])] += 1
    folder, count = max(folders.items(), key=lambda item: item[1], default=(None, 0))
    return folder if 2 * count > len(texts[:_ASKED]) else None


def _by_stem(names: Iterable[str]) -> dict[str, list[str]]:
    by_stem: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        by_stem[posixpath.splitext(name)[0]].append(name)
    return by_stem


def _below(root: str, most: int) -> list[str]:
    """The files below a folder of this machine; nothing where there are more than ``most``."""
    found: list[str] = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = os.path.relpath(folder, root).replace(os.sep, "/")
        found += names if inside == "." else [f"{inside}/{name}" for name in names]
        if len(found) > most:
            return []
    return found


def _spellings(text: str) -> list[str]:
    """Other ways to write a path that mean the same file, the one nearest to it first."""
    plain = text.strip().replace("\\", "/")
    # Macs decompose the letters of names (é is e and an accent), tables seldom do.
    spellings = [plain, *(unicodedata.normalize(form, plain) for form in ("NFC", "NFD") if not plain.isascii())]
    for tool in (_SERVED, _UPLOADED):
        if served := tool.fullmatch(plain):
            spellings.append(unquote(served[1]))
            if tool is _UPLOADED and (hashed := _HASHED.fullmatch(unquote(served[1]))):
                spellings.append(hashed[1] + hashed[2])
    if "%" in plain:
        spellings.append(unquote(plain))
    spellings += [_ELSEWHERE.sub("", spelling, count=1).split("?")[0].lstrip("/") for spelling in spellings]
    clean = dict.fromkeys(spelling.replace("\\", "/") for spelling in spellings)
    return [spelling for spelling in clean if spelling and not spelling.endswith("/")]


def _names(name: str) -> Iterator[str]:
    """The keys under which a folded name is looked for, the surest first."""
    for each in (name, *(hashed[2] for hashed in [_HASHED.fullmatch(name)] if hashed)):
        stem = posixpath.splitext(each)[0] if is_image(each) else each
        yield each
        yield f"{stem}."
        if number := _number(stem):
            yield number


def _folded(name: str) -> str:
    """As names are compared: without regard to case, and to whether accents are signs of their own."""
    return unicodedata.normalize("NFC", name).casefold()


def _number(stem: str) -> str:
    """A whole-number name without its leading zeros, and a sign that no name begins with; "" for others.

    A table writes whole numbers as 7.0 once one of its cells is missing.
    """
    number = _WHOLE.fullmatch(stem)
    return f"/{number[1]}" if number else ""


def _of_other_splits(parts: Sequence[str], path: str) -> bool:
    """Whether the folders name different splits: the pictures of one are never those of the other."""
    one, other = ({part for part in each[:-1] if part in SPLIT_NAMES} for each in (parts, path.casefold().split("/")))
    return bool(one and other) and one != other


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """How many of the last folders are the same."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def ambiguous(paths: Sequence[str]) -> str:
    """Why a text that may mean several files is a failure."""
    return (
        f"it may be {shown(paths[0], 120)} or {shown(paths[1], 120)}: choose the folder with --image-root, or the kind "
        "of file with --image-ending"
    )
