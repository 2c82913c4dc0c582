"""One suspect as a report shows it: the sentences of the page, its picture, its map and its waterfall."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from PIL import Image

from gradattn_core.belief import in_percent, of_row
from gradattn_core.dataset.decoding import decode_image, read_image
from gradattn_core.errors import GradattnError
from gradattn_core.facts import Row, facts_of, names_on_card, text_of
from gradattn_core.interchange.handed import unchanged
from gradattn_core.reasons import account, outlined, strongest_parts, without_numbers
from gradattn_core.records import Evidence
from gradattn_core.render.overlays import display_size, hatch_contradicted, outline_regions, overlay
from gradattn_core.render.waterfall import waterfall_picture
from gradattn_core.store.images import Place
from gradattn_core.store.showing import Surroundings
from gradattn_core.store.store import Store
from gradattn_core.verdict import Rich, Verdict, decided, judge
from gradattn_core.wording import names_of

SIDE = 360
"""Pixels of a picture's longer side."""
_SMALL = 128
"""A picture of fewer pixels is enlarged without smoothing: each of its pixels is seen as a square."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown of one suspect.

    Attributes:
        given, other: (name, probability as it is written) of the given label and the likeliest other class.
        numbers: the map's four numbers in words, and what hiding its parts does; why there are none.
        stands: the decision that stands, as rich text; empty for none.
        picture, map, waterfall: encoded, None where there is none; ``problem`` says why there is no picture.
    """

    rank: int
    path: str
    verdict: Verdict
    given: tuple[str, str]
    other: tuple[str, str]
    wrong: str
    kind: str
    numbers: tuple[str, ...]
    stands: Rich
    picture: bytes | None
    map: bytes | None
    waterfall: bytes | None
    problem: str


def shown(store: Store, audit_id: str, frame: pd.DataFrame, *, side: int = SIDE) -> list[Shown]:
    """The images of rows of ``store.candidates.page``, in their order."""
    paths = frame["path"].tolist()
    around = store.showing.surroundings(audit_id, paths)
    places = store.images.places(audit_id, paths)
    rows = [{str(name): cell for name, cell in row.items()} for row in frame.to_dict("records")]
    return [_shown(row, around[path], place, side) for row, path, place in zip(rows, paths, places, strict=True)]


def picture_at(place: Place) -> Image.Image:
    """The upright picture that the audit saw; a smaller copy that was kept of it in its size, as maps are of that.

    Raises:
        GradattnError: it is not there, or is another one now.
    """
    if place.preview is not None:
        kept = read_image(place.preview).image
        size = (place.width or kept.width, place.height or kept.height)
        return kept.resize(size, Image.Resampling.BICUBIC)
    return decode_image(unchanged(place), place.address.rsplit("/", 1)[-1], white=place.white).image


def overlaid(image: Image.Image, evidence: Evidence, side: int) -> Image.Image:
    """A map over its picture: parts outlined, and hatched where hiding them does the opposite of what the map says.

    Args:
        image: of :func:`picture_at`.
    """
    size = display_size(image.width, image.height, side)
    unsigned = evidence.correction == "absolute"
    drawn = overlay(image, evidence.scores, evidence.crop, opacity=0.7, size=size, unsigned=unsigned)
    drawn = hatch_contradicted(drawn, evidence, image.size)
    return drawn if unsigned else outline_regions(drawn, outlined(evidence), image.size)


def names_of_map(evidence: Evidence, names: Mapping[str, str]) -> tuple[str, str]:
    """What the two classes of a map are called: as on the card, and the model's own class by its own name."""
    ends = evidence.for_label, evidence.against_label
    every = names_of([end for end in ends if end]) | dict(names)
    return every[ends[0]], every[ends[1]]


def numbers_in_words(evidence: Evidence, called: tuple[str, str], size: tuple[int, int]) -> list[str]:
    """The map's four numbers, or why it has none, and its strongest parts.

    Args:
        size: of the original in pixels; of parts nothing is said where it is not known.
    """
    summed = account(evidence)
    first = without_numbers(evidence) if summed is None else summed.sentences(called)
    return [first, *(strongest_parts(evidence, size, names=called) if all(size) else ())]


def _shown(row: Row, around: Surroundings, place: Place, side: int) -> Shown:
    belief = of_row(row)
    names = names_on_card(around, belief)
    evidence, stands = around.evidence, around.stands
    picture = map_ = waterfall = None
    problem = ""
    numbers: list[str] = []
    try:
        image = picture_at(place)
        picture = _encoded(_sized(image, side), image)
        if evidence is not None:
            map_ = _encoded(overlaid(image, evidence, side), image)
    except (GradattnError, OSError) as error:
        problem = str(error)
    if evidence is not None:
        called = names_of_map(evidence, names)
        summed = account(evidence)
        waterfall = None if summed is None else _png(waterfall_picture(summed, called, width=400))
        numbers = numbers_in_words(evidence, called, (place.width, place.height))
    elif around.no_map:
        numbers.append(f"No map: {around.no_map.rstrip('.')}.")
    other = belief.other or ""
    return Shown(
        rank=int(str(row["rank"])),
        path=text_of(row, "path"),
        verdict=judge(facts_of(row, around, belief)),
        given=(names[belief.given], in_percent(belief.of(belief.given))),
        other=(names.get(other, other), in_percent(belief.of(other))),
        wrong=in_percent(1 - belief.of(belief.given)),
        kind=text_of(row, "kind"),
        numbers=tuple(numbers),
        stands=() if stands is None else decided(belief.given, stands.decision, stands.new_label, stands.reviewer),
        picture=picture,
        map=map_,
        waterfall=waterfall,
        problem=problem,
    )


def _sized(image: Image.Image, side: int) -> Image.Image:
    size = display_size(image.width, image.height, side)
    smooth = max(image.size) > _SMALL
    return image.convert("RGB").resize(size, Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST)


def _encoded(drawn: Image.Image, original: Image.Image) -> bytes:
    """JPEG, but PNG of few pixels, beside which an artefact would be seen."""
    if max(original.size) <= _SMALL:
        return _png(drawn)
    content = io.BytesIO()
    drawn.convert("RGB").save(content, "JPEG", quality=84)
    return content.getvalue()


def _png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    return content.getvalue()
