"""Suspects as HTML of their own: the picture and its map embedded, the page's sentence beside them, nothing to run."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from PIL import Image

from gradattn_core.belief import in_percent, of_row
from gradattn_core.dataset.decoding import read_image
from gradattn_core.errors import GradattnError
from gradattn_core.facts import facts_of
from gradattn_core.methods import PAIR_OBJECTIVES
from gradattn_core.records import Evidence
from gradattn_core.render.overlays import display_size, overlay
from gradattn_core.report.suspects import picture_at
from gradattn_core.store.showing import Surroundings
from gradattn_core.store.store import Store
from gradattn_core.verdict import in_words, judge

_SIDE = 240
_FIGURE = "margin:0 0 1em;display:flex;gap:12px;align-items:flex-start;font:14px/1.45 system-ui,sans-serif"


@dataclass(frozen=True, slots=True)
class Shown:
    """One suspect.

    Attributes:
        headline, reason: what the page says of it.
        facts: rank and suspicion in words.
        picture, map: as PNG or JPEG; None where the file or a map is not there.
        problem: why there is no picture, or no map.
    """

    path: str
    headline: str
    reason: str
    facts: str
    picture: bytes | None
    map: bytes | None
    problem: str

    def _html(self) -> str:
        images = "".join(
            f'<img alt="{html.escape(alt)}" src="data:image/{_kind(data)};base64,{base64.b64encode(data).decode()}">'
            for alt, data in ((f"picture {self.path}", self.picture), (f"map of {self.path}", self.map))
            if data is not None
        )
        texts = [f"<b>{html.escape(self.headline)}</b>", html.escape(self.reason), html.escape(self.problem)]
        lines = "".join(f"<div>{text}</div>" for text in texts if text)
        told = f'<div style="opacity:.7">{html.escape(self.facts)} · {html.escape(self.path)}</div>'
        words = f'<figcaption dir="auto" style="min-width:0;overflow-wrap:anywhere">{lines}{told}</figcaption>'
        return f'<figure style="{_FIGURE}">{images}{words}</figure>'


@dataclass(frozen=True, slots=True)
class Showcase:
    """Some suspects; a notebook shows them as pictures, and a terminal as sentences."""

    suspects: tuple[Shown, ...]
    has_maps: bool

    def _repr_html_(self) -> str:
        if not self.suspects:
            return "<p>No suspects.</p>"
        key = (
            '<p style="font:13px system-ui,sans-serif;opacity:.8">Red speaks for the given label, blue for the other '
            "class.</p>"
        )
        return "".join(each._html() for each in self.suspects) + (key if self.has_maps else "")

    def __repr__(self) -> str:
        lines = [f"{each.path}: {each.headline} {each.reason} ({each.facts})" for each in self.suspects]
        return "\n".join(_printable(" ".join(line.split())) for line in lines) or "No suspects."


def showcase(store: Store, audit_id: str, page: pd.DataFrame) -> Showcase:
    """The images of these rows of ``store.candidates.page``, in their order."""
    rows: list[Mapping[str, object]] = [
        {str(name): value for name, value in row.items()} for row in page.to_dict("records")
    ]
    around = store.showing.surroundings(audit_id, [str(row["path"]) for row in rows])
    suspects = tuple(_shown(store, audit_id, row, around[str(row["path"])]) for row in rows)
    return Showcase(suspects, any(each.map is not None for each in suspects))


def _shown(store: Store, audit_id: str, row: Mapping[str, object], around: Surroundings) -> Shown:
    belief = of_row(row)
    verdict = judge(facts_of(row, around, belief))
    path, given = str(row["path"]), str(row["given_label"])
    picture = drawn = None
    problem = ""
    try:
        original = _picture(store, audit_id, path)
        size = display_size(*original.size, _SIDE)
        picture = _packed(original.convert("RGB").resize(size, Image.Resampling.LANCZOS))
        if around.evidence is not None:
            drawn = _packed(_map(original, around.evidence, size))
        elif around.no_map:
            problem = f"No map: {around.no_map}"
    except GradattnError as error:
        problem = str(error)
    facts = f"Rank {row['rank']}, label wrong: {in_percent(1 - belief.of(given))}"
    return Shown(path, in_words(verdict.headline), in_words(verdict.reason), facts, picture, drawn, problem)


def _picture(store: Store, audit_id: str, path: str) -> Image.Image:
    """The original, or in its size the copy that was kept because it is no plain file of this machine.

    Raises:
        GradattnError: it is gone, or another picture by now.
    """
    [place] = store.images.places(audit_id, [path])
    if place.preview is not None:
        return picture_at(place)
    found = read_image(place.address, white=place.white)
    if found.content_hash != place.content_hash:
        raise GradattnError("The file is another picture than the audit saw; audit again.")
    return found.image


def _map(original: Image.Image, evidence: Evidence, size: tuple[int, int]) -> Image.Image:
    unsigned = evidence.objective not in PAIR_OBJECTIVES
    return overlay(
        original, evidence.scores, evidence.crop, size=size, unsigned=unsigned and evidence.scores.min() >= 0
    )


def _packed(image: Image.Image) -> bytes:
    """PNG, or JPEG where that is smaller by far."""
    forms = []
    for form in ("PNG", "JPEG"):
        buffer = io.BytesIO()
        image.save(buffer, form, **({"quality": 88} if form == "JPEG" else {"optimize": True}))
        forms.append(buffer.getvalue())
    png, jpeg = forms
    return png if len(png) < 2 * len(jpeg) else jpeg


def _printable(line: str) -> str:
    """Without what would steer a terminal: names are anybody's."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in line)


def _kind(data: bytes) -> str:
    return "png" if data.startswith(b"\x89PNG") else "jpeg"
