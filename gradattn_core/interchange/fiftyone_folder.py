"""Suspects as a dataset folder of FiftyOne's own format, and what was changed there back.

Source: FiftyOne, "FiftyOneDataset", docs.voxel51.com/user_guide/dataset_creation/datasets.html, in the form without a
``version``, which every release since 0.8 reads and which needs no database to be written: ``metadata.json``,
``samples.json`` with ``filepath`` and labels as ``{"_cls": …}``, and ``data/``. A map is a ``Heatmap``: an array of
``numpy.save``, compressed by zlib, in base64.
"""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gradattn_core.dataset.text import cause
from gradattn_core.errors import StoreError
from gradattn_core.interchange.handed import Handed, Known, Left, new_folder, with_pictures
from gradattn_core.interchange.sheets import claim_of_label, claim_of_words
from gradattn_core.records import Evidence, FloatArray
from gradattn_core.store.claims import Claim
from gradattn_core.store.log import DECISIONS

SAMPLES = "samples.json"
_SIDE = 112
"""Pixels of a map's longer side; it covers the whole picture, and the part that the model saw is a part of it."""


def write_fiftyone(
    target: Path, images: Sequence[Handed], maps: Mapping[str, Evidence], classes: Sequence[str], audit_id: str
) -> tuple[int, list[Left]]:
    """Write the folder; returns how many samples it has, and what is left out.

    A sample has ``ground_truth`` (the given label, which ``given_label`` keeps), ``suggested`` with its probability,
    ``suspicion``, ``kind``, ``rank``, ``evidence``, what stands as ``decision, new_label, reviewer, note``, and
    ``path``, which finds it again.

    Args:
        maps: of each image with a map, its evidence; positive speaks for the given label.
    """
    told: list[tuple[int, list[Left]]] = []

    def fill(folder: Path) -> None:
        (folder / "data").mkdir()
        there, left = with_pictures(images, lambda _, file, content: (folder / "data" / file).write_bytes(content))
        samples = [_sample(image, f"data/{file}", maps.get(image.path)) for image, file in there]
        info = {"classes": {"ground_truth": list(classes)}, "gradattn_audit": audit_id}
        _write(folder / "metadata.json", {"media_type": "image", "info": info})
        _write(folder / SAMPLES, {"samples": samples})
        told.append((len(there), left))

    new_folder(target, fill)
    return told[0]


def load_into_fiftyone(folder: Path, name: str) -> None:
    """Load a folder of :func:`write_fiftyone` into FiftyOne's database, persistently.

    Raises:
        StoreError: FiftyOne is not installed, has a dataset of this name, or its database cannot be used.
    """
    try:
        import fiftyone
    except ImportError as error:
        raise StoreError(f"{folder} is written; to load it too, install FiftyOne: pip install fiftyone") from error
    try:
        dataset = fiftyone.Dataset.from_dir(str(folder), dataset_type=fiftyone.types.FiftyOneDataset, name=name)
        dataset.persistent = True
    # Its own errors, those of its database and of its configuration have nothing in common.
    except Exception as error:
        raise StoreError(f"{folder} is written, but FiftyOne could not load it: {cause(error)}") from error


def claims_of_samples(
    file: Path, content: Mapping[str, object], known: Known, *, all_reviewed: bool = False
) -> list[Claim]:
    """What was changed: ``ground_truth``, tags that are decisions, or the fields ``decision`` and ``new_label``.

    Raises:
        StoreError: where a sample is unknown, or says two things.
    """
    samples = content.get("samples")
    if not isinstance(samples, list) or not all(isinstance(each, dict) for each in samples):
        raise StoreError(f"{file} has no list of samples, as FiftyOne writes it")
    claims = []
    for number, sample in enumerate(samples, 1):
        where = f"{file}, sample {number}"
        named = sample.get("path")
        name = named if isinstance(named, str) else str(sample.get("filepath"))
        path = known.path_of(name)
        if path is None:
            raise StoreError(f"{where}: the audit has no image {name!r}")
        claim = _claim(where, path, sample, known, all_reviewed)
        if claim is not None:
            claims.append(claim)
    return claims


def on_picture(evidence: Evidence, width: int, height: int) -> FloatArray:
    """A map over the whole picture, [rows, columns], ``_SIDE`` at the longer side; 0 where the model did not look."""
    scale = _SIDE / max(width, height, 1)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    crop, scores = evidence.crop, evidence.scores
    down = ((np.arange(rows) + 0.5) / rows * height - crop.top) / crop.height * scores.shape[0]
    across = ((np.arange(columns) + 0.5) / columns * width - crop.left) / crop.width * scores.shape[1]
    inside = ((down >= 0) & (down < scores.shape[0]))[:, None] & ((across >= 0) & (across < scores.shape[1]))
    nearest = scores[
        np.clip(down.astype(int), 0, scores.shape[0] - 1)[:, None], np.clip(across.astype(int), 0, scores.shape[1] - 1)
    ]
    return np.where(inside, nearest, 0).astype(np.float32)


def _sample(image: Handed, file: str, evidence: Evidence | None) -> dict[str, object]:
    suggested = None
    if image.suggested_label:
        suggested = _classification(image.suggested_label) | {"confidence": image.suggested_probability}
    facts = {name: fact for name, fact in image.facts().items() if name != "suggested_label"}
    return {
        "filepath": file,
        "tags": [],
        "ground_truth": _classification(image.given_label),
        "suggested": suggested,
        "evidence": None if evidence is None else _heatmap(on_picture(evidence, image.width, image.height)),
        **{name: fact if fact != "" else None for name, fact in facts.items()},
    }


def _classification(label: str) -> dict[str, object]:
    return {"_cls": "Classification", "label": label}


def _heatmap(values: FloatArray) -> dict[str, object]:
    content = io.BytesIO()
    np.save(content, values, allow_pickle=False)
    largest = float(np.abs(values).max()) or 1.0
    packed = base64.b64encode(zlib.compress(content.getvalue())).decode()
    return {"_cls": "Heatmap", "map": packed, "range": [-largest, largest]}


def _claim(where: str, path: str, sample: Mapping[str, object], known: Known, all_reviewed: bool) -> Claim | None:
    words = {name: text for name, text in sample.items() if isinstance(text, str)}
    # What the label was when the folder was made: of an earlier state of the dataset every label would look changed.
    given = words.get("given_label", known.labels[path])
    tags = sample.get("tags")
    tagged = [tag for tag in DECISIONS if isinstance(tags, Sequence) and tag in tags]
    if len(tagged) > 1:
        raise StoreError(f"{where} is tagged {' and '.join(tagged)}; leave one of them")
    truth = sample.get("ground_truth")
    label = str(truth["label"]) if isinstance(truth, Mapping) and isinstance(truth.get("label"), str) else given
    if label == given and tagged:
        suggested = sample.get("suggested")
        to = str(suggested.get("label") or "") if isinstance(suggested, Mapping) else ""
        return Claim(where, path, tagged[0], to if tagged[0] == "relabel" else "", "", None, given)
    if label == given and words.get("decision"):
        return claim_of_words(where, path, words, given_label=given)
    return claim_of_label(where, path, given, label, all_reviewed=all_reviewed)


def _write(file: Path, content: object) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False), "utf-8")
