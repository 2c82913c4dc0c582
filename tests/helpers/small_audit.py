"""A small finished audit for tests: real picture files, a real store, made-up predictions and maps."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from gradattn_core.store.store import Store

AUDIT_ID = "20261122-140300-small"
HOSTILE_LABELS = ["<b>x</b>", "=cmd()", "**bold** [link](http://x) :smile:", "🦅 eagle", "very long " * 30 + "label"]
CLASSES = ["kite", "owl", *HOSTILE_LABELS]
IMAGES = 40
SUSPECTS = 12
MISSING = "missing/gone.png"
_GRID = 7
_KINDS = ["mislabel", "two objects", "confusable", "out of place", "duplicate", "nothing to see"]
# What any of the kinds speaks of, so that each of them can be put in words.
_NUMBERS = {
    "given_probability": 0.1, "suggested_probability": 0.6, "runner_up_probability": 0.2, "identical": 0.0,
    "similarity": 0.97, "usual_similarity": 0.5, "detail": 0.01, "unlikeness": 3.2, "more_unlike": 0.015,
    "hidden_margin": 1.1, "hidden_is_given": 1.0, "hidden_probability": 0.62, "lift": 2.5, "reverse_lift": 1.5,
}  # fmt: skip


def build(folder: Path, *, audit_id: str = AUDIT_ID, images: int = IMAGES, suspects: int = SUSPECTS) -> Store:
    """Write pictures to ``folder/pictures`` and one finished audit of them to ``folder/out``.

    The first ``suspects`` images by rank are suspects. Suspect 2 has a class outside the dataset, suspect 3 an
    explained head that names another class than the ranking, suspect 4 no interpretation, and suspect 5 no file
    (``MISSING``).
    """
    root, out = folder / "pictures", folder / "out"
    tables: dict[str, list[dict[str, Any]]] = {
        name: []
        for name in (
            *("images", "predictions", "scores", "interpretations", "regions"),
            *("class_pairs", "neighbours", "exemplars", "failures"),
        )
    }
    for index in range(images):
        _add_image(tables, root, audit_id, index, index < suspects)
    for given, suggested in {(_given(index), _suggested(index)) for index in range(suspects)}:
        tables["class_pairs"].append(_class_pair(audit_id, given, suggested, images, suspects))
    for index in range(suspects):
        _add_neighbours(tables, index, images)
    for label in CLASSES:
        _add_exemplars(tables, label, images)
    tables["failures"].append(
        {"audit_id": audit_id, "path": "<i>broken</i>.png", "stage": "decode", "reason": "it ends too early"}
    )
    out.mkdir(parents=True, exist_ok=True)
    store = Store(out)
    store.audits.merge(
        _audit_row(audit_id, root, images, suspects), {name: pd.DataFrame(rows) for name, rows in tables.items()}
    )
    return store


def path_of(index: int) -> str:
    """The path of the image at rank ``index + 1``."""
    return MISSING if index == 4 else f"class {index % len(CLASSES)}/{index:04d} 'a' & b.png"


def _given(index: int) -> str:
    return CLASSES[index % len(CLASSES)] if index else "kite"


def _suggested(index: int) -> str:
    return CLASSES[(index + 1) % len(CLASSES)]


def _picture(index: int) -> Image.Image:
    """A disc on a gradient; wide, tall and tiny ones among them."""
    width, height = [(320, 240), (180, 400), (32, 32), (600, 200)][index % 4]
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    colour = np.random.default_rng(index).uniform(60, 220, 3)
    image = Image.fromarray((np.stack([across, down, 1 - across], -1) * colour).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.ellipse((width * 0.3, height * 0.3, width * 0.7, height * 0.7), fill=(240, 240, 220))
    return image


def _add_image(tables: dict[str, list[dict[str, Any]]], root: Path, audit_id: str, index: int, suspect: bool) -> None:
    path, image = path_of(index), _picture(index)
    file = io.BytesIO()
    image.save(file, "PNG")
    if path != MISSING:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(file.getvalue())
    key = {"audit_id": audit_id, "path": path}
    given, suggested = _given(index), _suggested(index)
    doubt = 1.0 - index / 50
    tables["images"].append(
        key
        | {"content_hash": blake2b(file.getvalue(), digest_size=16).hexdigest(), "given_label": given, "size": 1000}
        | {"width": image.width, "height": image.height}
    )
    tables["predictions"].append(
        key
        | {
            "fold": index % 5,
            "predicted_label": "owl" if index == 2 else suggested,
            "given_logit": 1.0 - doubt,
            "predicted_logit": doubt,
        }
        | {"given_probability": 0.3 * (1 - doubt), "predicted_probability": 0.6 * doubt, "margin": 1.0 - 2 * doubt}
        | {"entropy": 0.8, "top_labels": [suggested, given], "top_probabilities": [0.6 * doubt, 0.3 * (1 - doubt)]}
        | {"outside_label": "tape player" if index == 1 else None, "outside_probability": 0.4 if index == 1 else None}
    )
    tables["scores"].append(
        key
        | {"rank": index + 1, "suspicion": doubt, "is_suspect": suspect, "suggested_label": suggested}
        | {"suggested_probability": 0.6 * doubt, "given_probability": 0.3 * (1 - doubt)}
        | {"runner_up_label": CLASSES[(index + 2) % len(CLASSES)], "components": {"margin": 2 * doubt - 1}}
        | {"runner_up_probability": 0.1 * doubt, "kind": _KINDS[index % 6] if suspect else None}
        | {"kind_numbers": _NUMBERS if suspect else None, "cluster": index % 3 if suspect else None}
    )
    if suspect and index != 3:
        _add_evidence(tables, key, image, given, suggested)


def _add_evidence(
    tables: dict[str, list[dict[str, Any]]], key: dict[str, Any], image: Image.Image, given: str, against: str
) -> None:
    """A map of the centred square: the disc's left half against the label, its right half for it."""
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    scores = np.zeros((_GRID, _GRID), np.float32)
    scores[2:5, 2:4], scores[2:5, 4:5] = -1.5, 1.0
    tables["interpretations"].append(
        key
        | {"for_label": given, "against_label": against, "for_logit": 0.2, "against_logit": 1.3}
        | {"objective": "difference", "correction": "complete", "aggregation": "mean"}
        | {"grid_height": _GRID, "grid_width": _GRID, "map": scores.ravel().tolist()}
        | {"crop_left": left, "crop_top": top, "crop_right": left + side, "crop_bottom": top + side}
        | {"positive_mass": 3.0, "negative_mass": 9.0, "balance": -0.5, "concentration": 0.5, "overlap": 0.1}
        | {"hidden_for_logit": 1.2, "hidden_against_logit": 0.1, "hidden_label": given, "hidden_probability": 0.62}
    )
    patch = side / _GRID
    for sign, first, last, share in ((1, 4, 5, 0.25), (-1, 2, 4, 0.75)):
        tables["regions"].append(
            key
            | {"sign": sign, "rank": 1, "mass_share": share, "area_share": 3 * (last - first) / _GRID**2}
            | {"peak": 1.0 if sign > 0 else -1.5}
            | {"box_left": left + first * patch, "box_right": left + last * patch}
            | {"box_top": top + 2 * patch, "box_bottom": top + 5 * patch}
        )


def _add_neighbours(tables: dict[str, list[dict[str, Any]]], index: int, images: int) -> None:
    """The six images that follow in rank."""
    for position in range(1, 7):
        other = (index + position) % images
        tables["neighbours"].append(
            {"path": path_of(index), "position": position, "similarity": 1 - position / 10}
            | {"neighbour_path": path_of(other), "neighbour_label": _given(other)}
        )


def _add_exemplars(tables: dict[str, list[dict[str, Any]]], label: str, images: int) -> None:
    """The least suspect images given the label, up to three."""
    sure = [index for index in reversed(range(images)) if _given(index) == label and path_of(index) != MISSING]
    for position, index in enumerate(sure[:3], start=1):
        tables["exemplars"].append(
            {"label": label, "position": position, "path": path_of(index), "suspicion": 1.0 - index / 50}
        )


def _class_pair(audit_id: str, given: str, suggested: str, images: int, suspects: int) -> dict[str, Any]:
    count = sum((_given(index), _suggested(index)) == (given, suggested) for index in range(suspects))
    size = sum(_given(index) == given for index in range(images))
    return {
        "audit_id": audit_id,
        "given_label": given,
        "suggested_label": suggested,
        "suspects": count,
        "class_size": size,
        "share": count / size,
        "mean_suspicion": 0.9,
        "expected": 0.5,
        "lift": 2.5,
    }


def _audit_row(audit_id: str, root: Path, images: int, suspects: int) -> dict[str, Any]:
    moment = datetime(2026, 11, 22, 14, 3, tzinfo=UTC)
    return {
        "audit_id": audit_id,
        "dataset": "small <b>birds</b>",
        "root": str(root),
        "model": "vit_tiny_patch16_224",
        "checkpoint": None,
        "head": "probe",
        "classes": sorted(CLASSES),
        "parameters": {"folds": 5},
        "versions": {"gradattn": "0"},
        "fingerprint": "0" * 32,
        "started_at": moment,
        "finished_at": moment,
        "state": "complete",
        "images": images,
        "failures": 1,
        "skipped": 2,
        "suspects": suspects,
        "estimated_errors": 10.4,
        "estimated_low": 7.5,
        "estimated_high": 13.3,
        "warnings": ["One class has fewer than 5 images: <b>x</b>"],
        "features": None,
    }
