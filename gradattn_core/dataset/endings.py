"""What a file's name says that it is: a picture, one of another kind, or nothing that an audit is about."""

from __future__ import annotations

import posixpath
import re
from importlib.util import find_spec

from gradattn_core.dataset.address import box_path

HEIF_PACKAGE = "pillow-heif"
_HEIF = frozenset({".heic", ".heif", ".hif"})
_USUAL = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".png", ".apng", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
)
_RARE = frozenset(
    {
        *(".avif", ".avifs", ".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".qoi", ".psd", ".dds", ".fits", ".fit", ".ras"),
        *(".tga", ".pcx", ".dib", ".ico", ".cur", ".sgi", ".rgb", ".rgba", ".bw", ".xbm", ".xpm", ".msp"),
    }
)
# The first of these that a sample of WebDataset has is its picture.
IMAGE_ENDINGS = tuple(
    dict.fromkeys(
        (*(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"), *sorted(_USUAL | _RARE | _HEIF))
    )
)
IMAGE_SUFFIXES = _USUAL | _RARE
"""Of files that are opened as pictures, in lower case; those of HEIC too where their package is there."""
# Pictures that nothing here decodes: vectors, raw files of cameras, newer and medical formats.
_OTHER_PICTURES = frozenset(
    {
        *(".svg", ".svgz", ".eps", ".wmf", ".emf", ".xcf", ".jxl", ".jxr", ".hdp", ".wdp", ".flif"),
        *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".rw2", ".raf", ".pef"),
        *(".raw", ".srw", ".x3f", ".3fr", ".dcr", ".kdc", ".mrw", ".erf", ".mef", ".mos", ".iiq", ".rwl"),
        *(".exr", ".hdr", ".dcm", ".dicom", ".nii", ".mha", ".mhd", ".nrrd", ".bpg"),
    }
)

HIDDEN = "hidden"
SYSTEM = "of a system or a packer, not of the dataset"
OUTPUT = "an output folder of gradattn"
NO_PICTURE = "no picture by its ending"
NO_CLASS = "in no class folder"
OTHER_KIND = "pictures of this kind are not read: convert it"
HEIF_MISSING = f"HEIC needs the package {HEIF_PACKAGE}: pip install 'gradattn[heif]'"

# What operating systems, file servers and packers put beside people's files, compared without case.
_SYSTEM_NAMES = frozenset(
    {
        *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "@synoresource", "#recycle", "#snapshot", "$recycle.bin"),
        *("recycler", "recycled", "system volume information", "lost+found", "__macosx", "__pycache__"),
        *("network trash folder", "temporary items", "thevolumesettingsfolder", "resource.frk", "found.000"),
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "iconcache.db", "pspbrwse.jbf"),
    }
)
# A class may well be called "thumbs"; Windows and old cameras write it so.
_SYSTEM_FOLDERS = frozenset({"Thumbs", "THUMBS", "_thumbs", "@thumbs"})
_OFFICE_LOCK = re.compile(r"~\$")


def suffix(name: str) -> str:
    """The ending with its dot, in lower case; "" without one. Of an annotated box it is that of its picture."""
    part = box_path(name)
    return posixpath.splitext(name if part is None else part.picture)[1].lower()


def is_image(name: str) -> bool:
    """Whether a file of this name is opened as a picture."""
    ending = suffix(name)
    return ending in IMAGE_SUFFIXES or (ending in _HEIF and reads_heif())


def reads_heif() -> bool:
    """Whether the package for HEIC is installed."""
    return find_spec("pillow_heif") is not None


def unread_picture(name: str) -> str | None:
    """Why a picture is not opened as one; None where it is, or where the file is none by its ending."""
    ending = suffix(name)
    if ending in _HEIF and not reads_heif():
        return HEIF_MISSING
    return OTHER_KIND if ending in _OTHER_PICTURES else None


def passed_over(name: str, *, folder: bool = False) -> str | None:
    """Why one part of a path is none of the dataset's; None where it may be.

    A part that begins with a dot is hidden; some are made by systems and packers for themselves.
    """
    if name.startswith("."):
        return HIDDEN
    if name.casefold() in _SYSTEM_NAMES or (folder and name in _SYSTEM_FOLDERS) or _OFFICE_LOCK.match(name):
        return SYSTEM
    return None


def passed_over_part(path: str) -> tuple[str, str] | None:
    """The path down to its first part that is none of the dataset's, and why; None where there is no such part."""
    parts = path.split("/")
    for number, part in enumerate(parts):
        why = passed_over(part, folder=number < len(parts) - 1)
        if why is not None:
            return "/".join(parts[: number + 1]), why
    return None


def is_hidden(path: str) -> bool:
    """Whether a part of the path is none of the dataset's."""
    return passed_over_part(path) is not None
