"""The pictures of one image, read through the store and kept in a bounded cache."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import streamlit as st
from PIL import Image

from gradattn_core.dataset.address import is_url
from gradattn_core.dataset.decoding import DecodedImage, read_image
from gradattn_core.errors import GradattnError, UnreadableImageError
from gradattn_core.reasons import Account
from gradattn_core.records import Box, Evidence
from gradattn_core.render.layout import Paper
from gradattn_core.render.overlays import Palette, display_size, hatch_contradicted, outline_regions, overlay
from gradattn_core.render.waterfall import TITLE, waterfall_picture
from gradattn_core.store.images import Place
from gradattn_core.store.store import Store
from gradattn_core.sums import DEFAULT_ORIGIN, Origin
from ui import components

# Twice the width a picture has on a usual screen, for displays with two pixels where CSS counts one.
_SIDE = 800
WATERFALL = 480
"""The width of a waterfall in CSS pixels."""


@dataclass(frozen=True)
class View:
    """How evidence is drawn, and where its waterfall begins."""

    opacity: float
    smooth: bool
    palette: Palette
    regions: bool
    origin: Origin = DEFAULT_ORIGIN


@dataclass(frozen=True)
class Subject:
    """One image of an audit, and where to look for its file.

    Attributes:
        content_hash: what the audit saw.
        root: a folder that somebody named on the page, instead of the one the audit or the operator knows. Below such
            a folder only files with that very content are shown: a page gives away nothing but the audit's images.
    """

    directory: str
    audit: str
    path: str
    content_hash: str
    root: str | None = None


def subject_of(audit: str, row: Mapping[str, Any]) -> Subject:
    """The image of a row of ``Store.candidates.page``, looked for where this session looks."""
    return Subject(
        str(components.directory()), audit, str(row["path"]), str(row["content_hash"]), components.data_root()
    )


@st.cache_data(ttl=600, max_entries=256, show_spinner=False)
def evidence(directory: str, audit: str, path: str) -> Evidence | None:
    """The stored detail interpretation, None where the image has none. Raises StoreError."""
    return components.store().images.evidence(audit, path)


@st.cache_data(max_entries=128, show_spinner=False)
def original(subject: Subject) -> bytes:
    """The picture at display size, as WebP.

    Raises:
        StoreError: the path is not one of the audit's.
        UnreadableImageError: the file is missing, cannot be decoded, or is another below a folder named on the page.
    """
    return _webp(_at_display_size(subject)[0])


# Numbers of regions may be measured after the map was made.
_HASHES: dict[str | type[Any], Callable[[Any], Any]] = {
    Evidence: lambda each: (each.scores.tobytes(), repr(each.statistics)),
    Account: repr,
}


@st.cache_data(max_entries=256, show_spinner=False, hash_funcs=_HASHES)
def evidence_overlay(subject: Subject, evidence: Evidence, view: View) -> bytes:
    """The overlay at the same size as ``original``, as WebP. Raises the same errors, and InterpretError.

    Regions that do the opposite of their number when they are hidden are hatched.
    """
    picture, size = _at_display_size(subject)
    painted = paint(picture, evidence, size, opacity=view.opacity, smooth=view.smooth, palette=view.palette)
    return _webp(_with_regions(hatch_contradicted(painted, evidence, size), evidence, size, view))


@st.cache_data(max_entries=64, show_spinner=False, hash_funcs=_HASHES)
def method_overlay(subject: Subject, evidence: Evidence, view: View, unsigned: bool) -> bytes:
    """A map by another method in the place of the evidence's own, without regions. Raises the same errors."""
    picture, size = _at_display_size(subject)
    painted = paint(
        picture,
        evidence,
        size,
        opacity=view.opacity,
        palette=view.palette,
        smooth=view.smooth,
        unsigned=unsigned,
    )
    return _webp(painted)


@st.cache_data(max_entries=256, show_spinner=False, hash_funcs=_HASHES)
def waterfall(
    account: Account, names: tuple[str, str], palette: Palette, paper: Paper, title: str = TITLE, width: int = WATERFALL
) -> bytes:
    """From the origin to the model's answer, twice as large as its ``width`` in CSS pixels, as PNG."""
    buffer = io.BytesIO()
    drawn = waterfall_picture(account, names, width=width, palette=palette, paper=paper, title=title)
    drawn.save(buffer, "PNG")
    return buffer.getvalue()


@st.cache_data(max_entries=64, show_spinner=False, hash_funcs=_HASHES)
def region_outlines(subject: Subject, evidence: Evidence, view: View) -> bytes:
    """The original with its regions outlined, and hatched as in the overlay, as WebP. Raises the same errors."""
    picture, size = _at_display_size(subject)
    return _webp(_with_regions(hatch_contradicted(picture, evidence, size), evidence, size, view))


def read_place(place: Place, root: str | None) -> DecodedImage:
    """The picture of a place, or its preview; ``width`` and ``height`` are the original's either way.

    Args:
        root: the folder named on the page that the place lies below, see :class:`Subject`; None where there is none.

    Raises:
        UnreadableImageError: it cannot be read, or is not what the audit saw below a folder named on the page.
    """
    if place.preview is None:
        picture = read_image(place.address, white=place.white)
    else:
        picture = DecodedImage(read_image(place.preview).image, place.content_hash, place.width, place.height)
    if root is not None and picture.content_hash != place.content_hash:
        raise UnreadableImageError("below the folder you named there is another picture at this place")
    return picture


def paint(
    picture: Image.Image,
    evidence: Evidence,
    size: tuple[int, int],
    *,
    opacity: float,
    palette: Palette,
    smooth: bool = True,
    unsigned: bool = False,
) -> Image.Image:
    """The overlay on a picture of any resolution; ``size`` is (width, height) of the original.

    ``unsigned`` draws a map that does not say for whom a patch speaks in a colour of its own.
    """
    across, down = picture.width / size[0], picture.height / size[1]
    crop = evidence.crop
    box = Box(crop.left * across, crop.top * down, crop.right * across, crop.bottom * down)
    return overlay(picture, evidence.scores, box, opacity=opacity, smooth=smooth, palette=palette, unsigned=unsigned)


def placeholder(subject: Subject, reason: str) -> None:
    """What is shown in place of a picture that cannot be: why, and a field for the folder that has it.

    The folder holds for this session. It is taken only if it has the very file that the audit saw, so that nobody looks
    at other files of this machine through it, and nobody learns which ones there are.
    """
    st.warning("The picture cannot be shown. You can still decide.", icon=":material/broken_image:")
    components.plain(reason, "quiet-broken")
    if PurePosixPath(subject.path).is_absolute() or is_url(subject.path):
        return
    st.text_input(
        "Were the pictures moved? Folder that has them now",
        key="new-root",
        placeholder="/new/place/of/the/dataset",
        max_chars=4096,
        on_change=_look_below_folder,
        args=(subject,),
    )
    problem = st.session_state.pop("new-root-problem", None)
    if problem:
        components.plain(problem, "quiet-root-problem")
    st.caption("For this visit only. For everybody: gradattn ui \\-\\-data-root FOLDER")


@st.cache_resource(max_entries=16, show_spinner=False)
def _at_display_size(subject: Subject) -> tuple[Image.Image, tuple[int, int]]:
    """The picture at display size, small ones enlarged, and the (width, height) of the original."""
    picture = _read(subject)
    size = picture.width, picture.height
    return picture.image.resize(display_size(*size, _SIDE), Image.Resampling.LANCZOS), size


def _read(subject: Subject) -> DecodedImage:
    store = Store(subject.directory, read_only=components.read_only(), data_root=subject.root)
    [place] = store.images.places(subject.audit, [subject.path])
    return read_place(place, subject.root)


def _with_regions(picture: Image.Image, evidence: Evidence, size: tuple[int, int], view: View) -> Image.Image:
    if not view.regions:
        return picture
    return outline_regions(picture, evidence.statistics.regions, size, palette=view.palette)


def _webp(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=88, method=2)
    return buffer.getvalue()


def _look_below_folder(subject: Subject) -> None:
    folder = st.session_state.get("new-root", "").strip()
    if not folder:
        return
    root = str(Path(folder).absolute())
    try:
        _read(replace(subject, root=root))
    except (GradattnError, OSError, ValueError):
        st.session_state["new-root-problem"] = (
            f"That folder does not have this picture: it is looked for at {subject.path}"
        )
    else:
        st.session_state["data-root"] = root
