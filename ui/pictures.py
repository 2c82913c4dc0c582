"""The pictures of one image, read through the store and kept in a bounded cache."""

from __future__ import annotations

import io
from dataclasses import dataclass

import streamlit as st
from PIL import Image

from gradattn_core.dataset import read_image
from gradattn_core.records import Box, Evidence
from gradattn_core.render import Palette, display_size, outline_regions, overlay
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


@st.cache_data(ttl=600, max_entries=256, show_spinner=False)
def evidence(directory: str, audit: str, path: str) -> Evidence | None:
    """The stored detail interpretation, None where the image has none. Raises StoreError."""
    return components.store().evidence(audit, path)


@st.cache_data(max_entries=128, show_spinner=False)
def original(directory: str, audit: str, path: str) -> bytes:
    """The picture at display size, as WebP.

    Raises:
        StoreError: the path is not one of the audit's.
        UnreadableImageError: the file is missing or cannot be decoded.
    """
    return _webp(_shown(directory, audit, path)[0])


@st.cache_data(max_entries=256, show_spinner=False, hash_funcs={Evidence: lambda shown: shown.scores.tobytes()})
def evidence_overlay(directory: str, audit: str, path: str, shown: Evidence, view: View) -> bytes:
    """The overlay at the same size as ``original``, as WebP. Raises the same errors, and InterpretError."""
    picture, (width, height) = _shown(directory, audit, path)
    across, down = picture.width / width, picture.height / height
    crop = shown.crop
    drawn = overlay(
        picture,
        shown.scores,
        Box(crop.left * across, crop.top * down, crop.right * across, crop.bottom * down),
        opacity=view.opacity,
        smooth=view.smooth,
        palette=view.palette,
    )
    if view.regions:
        drawn = outline_regions(drawn, shown.statistics.regions, (width, height), palette=view.palette)
    return _webp(drawn)


@st.cache_resource(max_entries=16, show_spinner=False)
def _shown(directory: str, audit: str, path: str) -> tuple[Image.Image, tuple[int, int]]:
    """The picture at display size, small ones enlarged, and the (width, height) of the original."""
    image = read_image(components.store().image_file(audit, path)).image
    return image.resize(display_size(*image.size, _SIDE), Image.Resampling.LANCZOS), image.size


def _webp(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=88, method=2)
    return buffer.getvalue()
