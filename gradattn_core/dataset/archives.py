"""Members of zip and tar files: which there are, from their headers, and each by its place in the file."""

from __future__ import annotations

import posixpath
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from gradattn_core.dataset.address import leads_out
from gradattn_core.dataset.storage import RandomAccessFile, Stamp, digest, lock_of, open_file
from gradattn_core.dataset.text import is_text, shown
from gradattn_core.errors import UnreadableImageError

MAX_MEMBER_BYTES = 2**30
NOTE_SUFFIXES = (".cls", ".txt", ".json")
"""Small members that say what another one is."""

_MAX_NOTE_BYTES = 2**20
_BOMB_BYTES, _BOMB_RATIO = 2**26, 100
_LOCAL_HEADER = struct.Struct("<26xHH")
_SAYS_UTF8, _UNICODE_PATH = 0x800, 0x7075
_WINDOWS = (0, 10, 11, 14)
"""How a zip calls the systems whose paths have backslashes: FAT, NTFS and their kin."""
_archives: dict[str, tuple[Stamp, Archive]] = {}


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a member lies: the start of its header (zip) or data (tar), its bytes packed and unpacked."""

    start: int
    packed: int
    size: int
    method: int = zipfile.ZIP_STORED
    crc: int | None = None
    name_bytes: int = 0


@dataclass(slots=True)
class Archive:
    """The members of an archive by name, in its order.

    Attributes:
        stamps: of each member that can be read.
        problems: why each of the others cannot be.
        notes: content of the small members that end in ``NOTE_SUFFIXES``, of a tar that was opened afresh.
        damage: why the rest of the archive is unreadable; empty where there is none.
        guessed: a name whose encoding nothing in the archive says; empty where there is none.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    stamps: dict[str, Stamp] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    notes: dict[str, bytes] = field(default_factory=dict)
    damage: str = ""
    guessed: str = ""

    def add(self, name: str, entry: Entry, stamp: Stamp, problem: str) -> None:
        """Of two members of one name the last one counts, as when it is unpacked."""
        if leads_out(name):
            problem = "the name leads out of the archive; it is not opened"
        elif not is_text(name):
            problem = "the name is not valid UTF-8: rename it"
        elif entry.size > MAX_MEMBER_BYTES:
            problem = f"{entry.size:,} bytes, more than {MAX_MEMBER_BYTES:,}"
        elif entry.size > max(_BOMB_BYTES, _BOMB_RATIO * entry.packed):
            problem = f"{entry.packed:,} bytes that unpack to {entry.size:,}: no picture does that"
        for place in (self.entries, self.stamps, self.problems):
            place.pop(name, None)
        if problem:
            self.problems[name] = problem
        else:
            self.entries[name], self.stamps[name] = entry, stamp


def open_archive(kind: str, address: str, *, fresh: bool = False) -> tuple[Archive, RandomAccessFile]:
    """The archive's members, read once per process and again where the file has changed or ``fresh`` is said.

    Raises:
        OSError: it cannot be read, or is no archive of this kind.
    """
    with lock_of("archive", address):
        source = open_file(address, fresh=fresh)
        stamp, archive = _archives.get(address, (None, None))
        if archive is None or stamp != source.stamp or fresh:
            archive = _scan_zip(source) if kind == "zip" else _scan_tar(source, with_notes=fresh)
            _archives[address] = source.stamp, archive
        return archive, source


def read_member(kind: str, inside: str, outer: str) -> bytes:
    """One member's bytes.

    Raises:
        OSError: the archive cannot be read.
        UnreadableImageError: it has no such member, or the member is damaged, encrypted or too large.
    """
    archive, source = open_archive(kind, outer)
    name = shown(posixpath.basename(inside))
    entry = archive.entries.get(inside)
    if entry is None:
        reason = archive.problems.get(inside)
        problem = f"cannot be read: {reason}" if reason else f"is not in {shown(posixpath.basename(outer))}"
        raise UnreadableImageError(f"{name} {problem}.")
    data = _zip_member(source, entry) if kind == "zip" else source.read(entry.start, entry.start + entry.size)
    if len(data) != entry.size or (entry.crc is not None and zlib.crc32(data) != entry.crc):
        raise UnreadableImageError(f"{name} is damaged in its archive: length or checksum is wrong.")
    return data


def _scan_zip(source: RandomAccessFile) -> Archive:
    archive = Archive()
    try:
        with zipfile.ZipFile(source.stream()) as file:
            members = file.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise OSError(f"no whole zip ({error})") from None
    only_backslashes = not any("/" in member.orig_filename for member in members)
    for member in members:
        name, is_sure = _zip_name(member)
        if "\\" in name and (only_backslashes or member.create_system in _WINDOWS):
            name = name.replace("\\", "/")  # against the format, as .NET did for years
        if member.is_dir() or name.endswith("/"):
            continue
        if not is_sure:
            archive.guessed = archive.guessed or name
        problem = ""
        if member.flag_bits & 0x1:
            problem = "encrypted: unpack it with its password first"
        elif member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            problem = f"packed by method {member.compress_type}; stored and deflated members can be read"
        size, method = member.file_size, member.compress_type
        name_bytes = len(member.orig_filename.encode("utf-8", "surrogatepass"))
        entry = Entry(member.header_offset, member.compress_size, size, method, member.CRC, name_bytes)
        archive.add(name, entry, Stamp(size, digest(size, member.CRC)), problem)
    return archive


def _zip_name(member: zipfile.ZipInfo) -> tuple[str, bool]:
    """A member's name, and whether its letters are sure.

    The format knows CP437 and UTF-8. Many programs write UTF-8 and do not say so, which CP437 is never mistaken for in
    practice; some say it in a field of its own.
    """
    name = member.orig_filename.split("\0")[0]
    if member.flag_bits & _SAYS_UTF8 or name.isascii():
        return name, True
    try:
        return name.encode("cp437").decode("utf-8"), True
    except UnicodeError:
        pass
    extra = member.extra
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == _UNICODE_PATH and length > 5:
            with suppress(UnicodeError):
                return extra[9 : 4 + length].decode("utf-8"), True
        extra = extra[4 + length :]
    return name, False


def _zip_member(source: RandomAccessFile, entry: Entry) -> bytes:
    # One read for the header, whose length is known only when it is there, and the data.
    start, usual = entry.start, _LOCAL_HEADER.size + entry.name_bytes + 256
    data = source.read(start, min(start + usual + entry.packed, source.size))
    if len(data) < _LOCAL_HEADER.size:
        return b""
    header = _LOCAL_HEADER.size + sum(_LOCAL_HEADER.unpack_from(data))
    packed = data[header : header + entry.packed]
    if len(packed) < entry.packed:
        packed = source.read(start + header, start + header + entry.packed)
    if entry.method == zipfile.ZIP_STORED:
        return packed
    try:
        # one byte more than announced is enough to see that it lies
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, entry.size + 1)
    except zlib.error:
        return b""


def _scan_tar(source: RandomAccessFile, *, with_notes: bool) -> Archive:
    archive, times = Archive(), set[float]()
    try:
        with tarfile.open(fileobj=source.stream(), mode="r:") as file:
            for member, name in _members(file):
                entry = Entry(member.offset_data, member.size, member.size)
                problem = "" if member.isreg() and not member.issparse() else "a link or sparse member is not read"
                if entry.start + entry.size > source.size:
                    archive.damage = f"{shown(name)} ends too early"
                    break
                times.add(member.mtime)
                stamp = Stamp(member.size, digest(member.size, member.mtime), source.stamp.changed)
                archive.add(name, entry, stamp, problem)
                is_note = name.lower().endswith(NOTE_SUFFIXES) and member.size <= _MAX_NOTE_BYTES
                if with_notes and is_note and name in archive.entries:
                    note = file.extractfile(member)
                    archive.notes[name] = note.read() if note else b""
                file.members = []  # type: ignore[attr-defined]  # else tarfile keeps a million headers
    except (tarfile.TarError, EOFError, ValueError) as error:
        if not archive.entries:
            raise OSError(f"no whole tar ({error})") from None
        archive.damage = str(error)
    if len(times) < 2:
        # Whoever packed the members gave all of them the same time: it says nothing about any of them.
        for name, stamp in archive.stamps.items():
            archive.stamps[name] = stamp._replace(modified=digest(stamp.size, *source.stamp[:2]))
    return archive


def _members(file: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, str]]:
    while (member := file.next()) is not None:
        if member.size < 0:  # the next header would be one that was read before, for ever
            raise tarfile.ReadError("a member has a negative size")
        if not member.isdir():
            yield member, member.name.removeprefix("./")
