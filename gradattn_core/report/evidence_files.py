"""The evidence of every suspect as files: its picture, its figure with map and waterfall, and one table of them all.

``index.csv`` has the columns of candidates.csv and, beside them, ``picture``, ``figure`` and what is said of each. It
is read back as any candidates.csv is, so decisions may be written into it.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pandas as pd
from PIL import Image

from gradattn_core.belief import of_row
from gradattn_core.errors import GradattnError
from gradattn_core.export import COLUMNS, encode
from gradattn_core.facts import facts_of, names_on_card
from gradattn_core.interchange.handed import Left, handed, new_folder, with_pictures
from gradattn_core.render.figures import Style, evidence_figure
from gradattn_core.report.suspects import names_of_map, numbers_in_words, picture_at
from gradattn_core.store.store import Store
from gradattn_core.verdict import in_words, judge

INDEX = "index.csv"
_BATCH = 100


def write_evidence(store: Store, audit_id: str, frame: pd.DataFrame, target: Path, *, side: int = 288) -> list[Left]:
    """Write the evidence of rows of ``store.candidates.page`` to a new folder; returns what has no picture.

    Args:
        side: pixels of a map's longer side in its figure.

    Raises:
        StoreError: something is at ``target`` already, or it cannot be written.
    """
    left: list[Left] = []

    def fill(folder: Path) -> None:
        for name in ("pictures", "figures"):
            (folder / name).mkdir()
        told: list[tuple[str, ...]] = []
        for start in range(0, len(frame), _BATCH):
            told += _batch(store, audit_id, frame.iloc[start : start + _BATCH], folder, side, left)
        columns = ("picture", "figure", "headline", "reason", "numbers")
        beside = pd.DataFrame(told, columns=list(columns), index=frame.index, dtype=str)
        table = frame.assign(**{name: beside[name] for name in columns})
        (folder / INDEX).write_bytes(encode("candidates", table, "csv", columns=[*COLUMNS, *columns]))

    new_folder(target, fill)
    return left


def _batch(
    store: Store, audit_id: str, frame: pd.DataFrame, folder: Path, side: int, left: list[Left]
) -> list[tuple[str, ...]]:
    """Of each image its file, its figure, and what is said of it."""
    images = handed(store, audit_id, frame)
    there, missing = with_pictures(images, lambda _, file, data: (folder / "pictures" / file).write_bytes(data))
    left += missing
    files = {image.path: file for image, file in there}
    around = store.showing.surroundings(audit_id, [image.path for image in images])
    told: list[tuple[str, ...]] = []
    for image, cells in zip(images, frame.to_dict("records"), strict=True):
        row = {str(name): cell for name, cell in cells.items()}
        beside, belief = around[image.path], of_row(row)
        verdict = judge(facts_of(row, beside, belief))
        numbers, figure = "", ""
        if beside.evidence is not None:
            evidence = beside.evidence
            called = names_of_map(evidence, names_on_card(beside, belief))
            numbers = " ".join(numbers_in_words(evidence, called, (image.width, image.height)))
            if image.path in files:
                figure = f"figures/{image.name}.png"
                lines = (in_words(verdict.headline), image.path)
                with_names = replace(evidence, for_label=called[0], against_label=called[1])
                try:
                    drawn = evidence_figure(picture_at(image.place), with_names, lines=lines, style=Style(side=side))
                    (folder / figure).write_bytes(_png(drawn))
                except GradattnError as error:
                    left.append(Left(image.path, str(error)))
                    figure = ""
        file = files.get(image.path)
        picture = "" if file is None else f"pictures/{file}"
        told.append((picture, figure, in_words(verdict.headline), in_words(verdict.reason), numbers))
    return told


def _png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()
