"""The pictures of one image, read through the store and kept in a bounded cache."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import streamlit as st
from PIL import Image

from gradattn_core.dataset.address import is_url
from gradattn_core.dataset.decoding import DecodedImage, read_image
from gradattn_core.errors import GradattnError, UnreadableImageError
from gradattn_core.records import Box, Evidence
from gradattn_core.render.overlays import Palette, display_size, outline_regions, overlay
from gradattn_core.store.images import Place
from gradattn_core.store.store import Store
from ui import components

# Twice the width a picture has on a usual screen, for displays with two pixels where CSS counts one.
_SIDE = 800


@dataclass(frozen=True)
class View:
    """How evidence is drawn."""

    opacity: float
    smooth: bool
    palette: Palette
    regions: bool


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


def read_place(place: Place) -> DecodedImage:
    """The picture of a place, or its preview; ``width`` and ``height`` are the original's either way.

    Raises:
        UnreadableImageError: it cannot be read.
    """
    if place.preview is None:
        return read_image(place.address)
    kept = read_image(place.preview)
    return DecodedImage(kept.image, place.content_hash, place.width, place.height)


def subject(audit: str, row: Mapping[str, Any]) -> Subject:
    """The image of a row of ``Store.candidates.page``, looked for where this session looks."""
    return Subject(
        str(components.directory()), audit, str(row["path"]), str(row["content_hash"]), components.data_root()
    )


@st.cache_data(ttl=600, max_entries=256, show_spinner=False)
def evidence(directory: str, audit: str, path: str) -> Evidence | None:
    """The stored detail interpretation, None where the image has none. Raises StoreError."""
    return components.store().images.evidence(audit, path)


@st.cache_data(max_entries=128, show_spinner=False)
def original(shown: Subject) -> bytes:
    """The picture at display size, as WebP.

    Raises:
        StoreError: the path is not one of the audit's.
        UnreadableImageError: the file is missing, cannot be decoded, or is another below a folder named on the page.
    """
    return _webp(_displayed(shown)[0])


@st.cache_data(max_entries=256, show_spinner=False, hash_funcs={Evidence: lambda drawn: drawn.scores.tobytes()})
def evidence_overlay(shown: Subject, drawn: Evidence, view: View) -> bytes:
    """The overlay at the same size as ``original``, as WebP. Raises the same errors, and InterpretError."""
    picture, (width, height) = _displayed(shown)
    across, down = picture.width / width, picture.height / height
    crop = drawn.crop
    painted = overlay(
        picture,
        drawn.scores,
        Box(crop.left * across, crop.top * down, crop.right * across, crop.bottom * down),
        opacity=view.opacity,
        smooth=view.smooth,
        palette=view.palette,
    )
    return _webp(_outlined(painted, drawn, (width, height), view))


@st.cache_data(max_entries=64, show_spinner=False, hash_funcs={Evidence: lambda drawn: drawn.scores.tobytes()})
def outlined(shown: Subject, drawn: Evidence, view: View) -> bytes:
    """The original with its regions outlined, as WebP. Raises the same errors."""
    picture, size = _displayed(shown)
    return _webp(_outlined(picture, drawn, size, view))


@st.cache_resource(max_entries=16, show_spinner=False)
def _displayed(shown: Subject) -> tuple[Image.Image, tuple[int, int]]:
    """The picture at display size, small ones enlarged, and the (width, height) of the original."""
    store = Store(shown.directory, read_only=components.read_only(), data_root=shown.root)
    read = read_place(store.images.places(shown.audit, [shown.path])[0])
    if shown.root is not None and read.content_hash != shown.content_hash:
        raise UnreadableImageError("below the folder you named there is another picture at this place")
    size = read.width, read.height
    return read.image.resize(display_size(*size, _SIDE), Image.Resampling.LANCZOS), size


def _outlined(picture: Image.Image, drawn: Evidence, size: tuple[int, int], view: View) -> Image.Image:
    if not view.regions:
        return picture
    return outline_regions(picture, drawn.statistics.regions, size, palette=view.palette)


def _webp(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=88, method=2)
    return buffer.getvalue()


def offer(shown: Subject, reason: str) -> None:
    """What is shown in place of a picture that cannot be: why, and a field for the folder that has it.

    The folder holds for this session. It is taken only if it has the very file that the audit saw, so that nobody looks
    at other files of this machine through it, and nobody learns which ones there are.
    """
    st.warning("The picture cannot be shown. You can still decide.", icon=":material/broken_image:")
    components.plain(reason, "quiet-broken")
    if PurePosixPath(shown.path).is_absolute() or is_url(shown.path):
        return
    st.text_input(
        "Were the pictures moved? Folder that has them now",
        key="new-root",
        placeholder="/new/place/of/the/dataset",
        max_chars=4096,
        on_change=_look_below,
        args=(shown,),
    )
    problem = st.session_state.pop("new-root-problem", None)
    if problem:
        components.plain(problem, "quiet-root-problem")
    st.caption("For this visit only. For everybody: gradattn ui \\-\\-data-root FOLDER")


def _look_below(shown: Subject) -> None:
    named = st.session_state.get("new-root", "").strip()
    if not named:
        return
    root = str(Path(named).absolute())
    try:
        store = Store(shown.directory, read_only=components.read_only(), data_root=root)
        [place] = store.images.places(shown.audit, [shown.path])
        same = read_place(place).content_hash == shown.content_hash
    except (GradattnError, OSError, ValueError):
        same = False
    if same:
        st.session_state["data-root"] = root
    else:
        st.session_state["new-root-problem"] = (
            f"That folder does not have this picture: it is looked for at {shown.path}"
        )
