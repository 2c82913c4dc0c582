"""The sample audit over real pictures with hostile labels, as the pages need it: no model made its predictions."""

from __future__ import annotations

import functools
import io
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from gradattn_core import outfolder
from gradattn_core.evidence import SUMS
from gradattn_core.store.store import Store
from tests.helpers.hostile import HOSTILE_LABELS
from tests.helpers.sample_audit import Tables, audit_row, tables

AUDIT_ID = "20261122-140300-small"
CLASSES = ["kite", "owl", *HOSTILE_LABELS]
IMAGES = 40
SUSPECTS = 12
MISSING = "missing/gone.png"
# Of these two suspects hiding does the opposite of the regions' numbers, and the map does not add up.
CONTRADICTED, WITHOUT_SUMS = 1, 5
_GRID = 7
# What any of the kinds speaks of, so that each of them can be put in words.
_NUMBERS = {
    "given_probability": 0.1, "suggested_probability": 0.6, "runner_up_probability": 0.2, "identical": 0.0,
    "similarity": 0.97, "usual_similarity": 0.5, "detail": 0.01, "unlikeness": 3.2, "more_unlike": 0.015,
    "hidden_margin": 1.1, "hidden_is_given": 1.0, "hidden_probability": 0.62, "lift": 2.5, "reverse_lift": 1.5,
}  # fmt: skip


def pictured_store(
    folder: Path,
    *,
    audit_id: str = AUDIT_ID,
    images: int = IMAGES,
    suspects: int = SUSPECTS,
    classes: Sequence[str] = CLASSES,
) -> Store:
    """Write pictures to ``folder/pictures`` and one finished audit of them to ``folder/out``.

    The first ``suspects`` images by rank are suspects. Suspect 2 has a class outside the dataset, suspect 3 an
    explained head that names another class than the ranking, suspect 4 no interpretation, and suspect 5 no file
    (``MISSING``). See also ``CONTRADICTED`` and ``WITHOUT_SUMS``.
    """
    root, out = folder / "pictures", folder / "out"
    frames = _tables(root, images, suspects, classes)
    moment = datetime(2026, 11, 22, 14, 3, tzinfo=UTC)
    row = audit_row(
        audit_id,
        str(root),
        dataset="small <b>birds</b>",
        classes=sorted(classes),
        parameters={"folds": 5},
        versions={"gradattn": "0"},
        fingerprint="0" * 32,
        started_at=moment,
        finished_at=moment,
        images=images,
        suspects=suspects,
        estimated_errors=10.4,
        estimated_low=7.5,
        estimated_high=13.3,
        warnings=["One class has fewer than 5 images: <b>x</b>"],
        features=None,
    )
    out.mkdir(parents=True, exist_ok=True)
    store = Store(out)
    store.audits.merge(row, frames)
    return store


def copied_store(folder: Path, *, images: int = IMAGES, suspects: int = SUSPECTS) -> Store:
    """The same in ``folder/out`` at the price of a copy; the pictures are all tests', so leave them as they are."""
    out = folder / "out"
    out.mkdir(parents=True)
    shutil.copy(_template(images, suspects).database, outfolder.database(out))
    return Store(out)


def path_of(index: int) -> str:
    """The path of the image at rank ``index + 1``."""
    return MISSING if index == 4 else f"class {index % len(CLASSES)}/{index:04d} 'a' & b.png"


def make_copies(store: Store) -> list[str]:
    """Turn pictures of an audit into exact copies of one, three of them under two labels; their paths."""
    paths = [path_of(0), path_of(1), path_of(len(CLASSES))]
    with duckdb.connect(str(store.database)) as connection:
        where = "WHERE list_contains($paths, path)"
        connection.execute(f"UPDATE images SET content_hash = repeat('c', 32) {where}", {"paths": paths})
        connection.execute(
            f"UPDATE scores SET kind = 'duplicate', kind_numbers = MAP {{'identical': 1.0}} {where}", {"paths": paths}
        )
    return paths


@functools.cache
def _folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="gradattn-tests-")


@functools.cache
def _template(images: int, suspects: int) -> Store:
    return pictured_store(Path(_folder().name) / f"{images}-{suspects}", images=images, suspects=suspects)


def _tables(root: Path, images: int, suspects: int, classes: Sequence[str]) -> Tables:
    """The sample audit's tables with the suspicions, labels and maps of these pictures."""
    rows = range(images)
    given, suggested, runner_up = ([classes[(row + step) % len(classes)] for row in rows] for step in range(3))
    suspicion = 1.0 - np.arange(images) / 50
    pictures = [_picture(row) for row in rows]
    hashes = [_write(root / path_of(row), picture) for row, picture in zip(rows, pictures, strict=True)]
    frames = tables([path_of(row) for row in rows], suspects=suspects, given=given, exemplars=3)

    def replace(table: str, **columns: Any) -> None:
        frames[table] = frames[table].assign(**columns)

    replace("images", content_hash=hashes, width=[p.width for p in pictures], height=[p.height for p in pictures])
    probabilities = {"given_probability": 0.3 * (1 - suspicion)}
    replace(
        "predictions",
        predicted_label=["owl" if row == 2 else suggested[row] for row in rows],
        predicted_probability=0.6 * suspicion,
        margin=1 - 2 * suspicion,
        outside_label=_only_where([row == 1 for row in rows], "tape player"),
        outside_probability=_only_where([row == 1 for row in rows], 0.4),
        **probabilities,
    )
    replace(
        "scores",
        suspicion=suspicion,
        suggested_label=suggested,
        suggested_probability=0.6 * suspicion,
        runner_up_label=runner_up,
        runner_up_probability=0.1 * suspicion,
        class_noise_suspicion=suspicion**2,
        instance_noise_suspicion=np.sqrt(np.abs(suspicion)),
        kind_numbers=_only_where([row < suspects for row in rows], _NUMBERS),
        cluster=pd.array([row % 3 if row < suspects else None for row in rows], dtype="Int32"),
        components=[{"margin": 2 * each - 1} for each in suspicion],
        **probabilities,
    )
    shown = [row for row in range(suspects) if row != 3]
    maps = [_evidence(path_of(row), given[row], suggested[row], *pictures[row].size) for row in shown]
    frames["interpretations"] = pd.DataFrame([evidence for evidence, _ in maps])
    frames["regions"] = pd.DataFrame([region for _, regions in maps for region in regions])
    contradicted, without_sums = (frames["regions"]["path"] == path_of(row) for row in (CONTRADICTED, WITHOUT_SUMS))
    frames["regions"].loc[contradicted, "measured"] *= -0.25
    frames["regions"].loc[without_sums, ["log_odds", "measured"]] = None
    without_sums = frames["interpretations"]["path"] == path_of(WITHOUT_SUMS)
    frames["interpretations"].loc[without_sums, [*SUMS, "numbers"]] = None
    frames["interpretations"].loc[without_sums, "correction"] = "complete"
    pairs = pd.DataFrame({"given_label": given[:suspects], "suggested_label": suggested[:suspects]})
    frames["class_pairs"] = _class_pairs(pairs, pd.Series(given))
    sure = frames["exemplars"]
    frames["exemplars"] = sure[sure["path"] != MISSING]
    frames["failures"] = pd.DataFrame(
        [
            ("<i>broken</i>.png", "decode", "it ends too early", given[0]),
            (path_of(3), "interpret", "its gradients are not finite", given[3]),
        ],
        columns=["path", "stage", "reason", "given_label"],
    )
    return frames


def _only_where(condition: Sequence[bool], value: object) -> pd.Series[Any]:
    return pd.Series([value if each else None for each in condition], dtype=object)


def _picture(row: int) -> Image.Image:
    """A disc on a gradient; wide, tall and tiny ones among them."""
    width, height = [(320, 240), (180, 400), (32, 32), (600, 200)][row % 4]
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    colour = np.random.default_rng(row).uniform(60, 220, 3)
    image = Image.fromarray((np.stack([across, down, 1 - across], -1) * colour).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.ellipse((width * 0.3, height * 0.3, width * 0.7, height * 0.7), fill=(240, 240, 220))
    return image


def _write(file: Path, picture: Image.Image) -> str:
    """The picture's content hash; the one that is missing is not written."""
    content = io.BytesIO()
    picture.save(content, "PNG")
    if file.name != Path(MISSING).name:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.getvalue())
    return blake2b(content.getvalue(), digest_size=16).hexdigest()


def _evidence(
    path: str, given: str, suggested: str, width: int, height: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A map of the centred square with its regions: the disc's left half against the label, its right half for it."""
    side = min(width, height)
    left, top, patch = (width - side) / 2, (height - side) / 2, side / _GRID
    scores = np.zeros((_GRID, _GRID), np.float32)
    scores[2:5, 2:4], scores[2:5, 4:5] = -1.5, 1.0
    evidence = {
        **{"path": path, "for_label": given, "against_label": suggested, "for_logit": 0.2, "against_logit": 1.3},
        **{"objective": "difference", "correction": "secant", "aggregation": None},
        **{"grid_height": _GRID, "grid_width": _GRID, "map": scores.ravel().tolist()},
        **{"crop_left": left, "crop_top": top, "crop_right": left + side, "crop_bottom": top + side},
        **{"concentration": 0.5, "overlap": 0.1, "numbers": "map", "head": "sample"},
        **{"model_log_odds": -1.1, "log_odds_without_picture": 4.9, "average_log_odds": 0.5},
        **{"red_log_odds": 3.0, "blue_log_odds": -9.0},
        **{"hidden_for_logit": 1.2, "hidden_against_logit": 0.1, "hidden_label": given, "hidden_probability": 0.62},
    }
    regions = [
        {
            **{"path": path, "sign": sign, "rank": 1, "mass_share": share, "peak": peak},
            **{"log_odds": 3.0 if sign > 0 else -9.0, "measured": 1.5 if sign > 0 else -4.0},
            **{"area_share": 3 * (last - first) / _GRID**2, "box_left": left + first * patch},
            **{"box_right": left + last * patch, "box_top": top + 2 * patch, "box_bottom": top + 5 * patch},
        }
        for sign, first, last, share, peak in ((1, 4, 5, 0.25, 1.0), (-1, 2, 4, 0.75, -1.5))
    ]
    return evidence, regions


def _class_pairs(pairs: pd.DataFrame, given: pd.Series[str]) -> pd.DataFrame:
    counts = pairs.value_counts().rename("suspects").reset_index()
    sizes = counts["given_label"].map(given.value_counts())
    return counts.assign(class_size=sizes, share=counts["suspects"] / sizes, mean_suspicion=0.9, expected=0.5, lift=2.5)
