"""What a class pair's suspects have in common: their mean evidence as a picture and in words."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
import pandas as pd
import streamlit as st
from PIL import Image

from gradattn_core.records import Box, FloatArray
from gradattn_core.render.overlays import Palette, overlay
from gradattn_core.sums import Sums
from gradattn_core.wording import STANDS_OUT, distinct_names, full_name, heaviest_ninth
from ui import components

# A selectbox of more pairs than these takes the browser long; any other pair is reached by its address.
_CHOICES = 500
_SIDE = 480
_NEUTRAL = (150, 150, 150)
_LABELS = ["given_label", "suggested_label"]


class Pair(NamedTuple):
    """A given label and the label that suspects of it look like."""

    given: str
    suggested: str


@st.cache_data(ttl=10, max_entries=16, show_spinner=False)
def class_pairs(directory: str, audit: str, generation: int) -> pd.DataFrame:
    """``Store.audits.class_pairs``, at most ten seconds old; ``generation`` counts what this session has decided."""
    return components.store().audits.class_pairs(audit)


def choices(pairs: pd.DataFrame, address: tuple[str | None, str | None]) -> tuple[list[Pair], Pair]:
    """The pairs to choose from, most expected wrong labels first, and the one to begin with.

    Args:
        pairs: ``Store.audits.class_pairs`` with at least one row.
        address: given and suggested label in the address, as they are or by readable name.
    """
    options = [Pair(str(given), str(suggested)) for given, suggested in pairs[_LABELS].head(_CHOICES).to_numpy()]
    first = _pair_in_address(pairs, address)
    if first is not None and first not in options:
        options.append(first)
    return options, first or options[0]


def names(pair: Pair) -> tuple[str, str]:
    """What the map's two sides are called; of pictures of no class here, each has an other side of its own."""
    given, suggested = distinct_names(*pair)
    return given, suggested if pair.suggested else "the model's own class"


def row_of(pairs: pd.DataFrame, pair: Pair) -> dict[str, float]:
    """The numbers of one pair."""
    [row] = pairs[(pairs["given_label"] == pair.given) & (pairs["suggested_label"] == pair.suggested)].index
    return {str(name): float(number) for name, number in pairs.loc[row].drop(_LABELS).items()}


# Measuring a suspect on demand changes its map and its numbers, and so the means.
@st.cache_data(ttl=600, max_entries=64, show_spinner=False)
def mean_map(directory: str, audit: str, pair: Pair) -> FloatArray | None:
    """``Store.audits.pair_map``, at most ten minutes old."""
    return components.store().audits.pair_map(audit, *pair)


@st.cache_data(ttl=600, max_entries=64, show_spinner=False)
def mean_sums(directory: str, audit: str, pair: Pair) -> Sums | None:
    """``Store.audits.pair_sums``, at most ten minutes old."""
    return components.store().audits.pair_sums(audit, *pair)


@st.cache_data(max_entries=64, show_spinner=False)
def picture(scores: FloatArray, palette: Palette) -> bytes:
    """A mean map [grid height, grid width] on a neutral ground, as PNG."""
    height, width = scores.shape
    scale = _SIDE / max(height, width)
    ground = Image.new("RGB", (max(1, round(width * scale)), max(1, round(height * scale))), _NEUTRAL)
    drawn = overlay(ground, scores, Box(0, 0, *ground.size), opacity=0.9, palette=palette)
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG")
    return buffer.getvalue()


def sentences(scores: FloatArray, names: tuple[str, str]) -> list[str]:
    """Where the mean evidence for each class lies, one sentence for each.

    Args:
        scores: [grid height, grid width] mean signed map; positive speaks for the first name.
        names: what (the given label, the suggested label) are called.
    """
    return [_sentence(np.maximum(sign * scores, 0), name) for sign, name in zip((1, -1), names, strict=True)]


def _sentence(mass: FloatArray, name: str) -> str:
    heaviest = heaviest_ninth(mass)
    if heaviest is None:
        return f"On average no part speaks for {name}."
    ninth, share = heaviest
    if share < STANDS_OUT:
        return f"What speaks for {name} is spread over the whole picture."
    return f"What speaks for {name} lies most often {ninth.phrase}."


def _pair_in_address(pairs: pd.DataFrame, address: tuple[str | None, str | None]) -> Pair | None:
    given, suggested = address
    # An empty suggestion is one: none of the classes.
    if not given or suggested is None:
        return None
    for name in (str, full_name):
        rows = pairs[(pairs["given_label"].map(name) == given) & (pairs["suggested_label"].map(name) == suggested)]
        if not rows.empty:
            return Pair(str(rows.iloc[0]["given_label"]), str(rows.iloc[0]["suggested_label"]))
    return None
