"""The demo's dataset: scikit-learn's handwritten digits as a class folder with planted wrong labels.

The 1,797 digits are the test half of the UCI "Optical Recognition of Handwritten Digits" set (E. Alpaydin and
C. Kaynak, 1998, CC BY 4.0), which scikit-learn bundles, so that nothing is downloaded.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits

from gradattn_core.errors import DatasetError

IMAGE_SIZE = 64
"""Width and height of the written images in pixels: each original pixel becomes eight, so that a person can see it."""

_OWN_PATH = re.compile(r"[0-9]/[0-9]{5}\.png")


def write_digits(folder: Path, *, noise: float = 0.05, seed: int = 0) -> pd.DataFrame:
    """Write the digits as ``folder/<given label>/<number>.png`` and the truth as ``<folder>.truth.csv`` beside it.

    The 8x8 originals are enlarged bicubically to 64x64 grey PNGs, white on black. Exactly ``round(noise * 1797)``
    labels are wrong; each is moved to the class of the most similar image of another class. Writing again with the
    same arguments gives the same bytes; with other arguments, the images of the earlier call are removed first.

    Args:
        folder: the class folder; missing, empty, or written by an earlier call.
        noise: share of wrong labels, in [0, 1].
        seed: decides which labels are wrong.

    Returns:
        One row per image, ordered by ``path``: ``path`` (relative to ``folder``), ``given_label``, ``true_label``.

    Raises:
        DatasetError: ``noise`` is not a share, the folder holds something else, or it cannot be written.
    """
    if not 0 <= noise <= 1:
        raise DatasetError(f"noise is {noise!r}: give the share of wrong labels, between 0 and 1")
    digits = load_digits()
    given = plant_errors(digits.data, digits.target, round(noise * len(digits.target)), seed)
    rows = [
        (f"{label}/{number:05d}.png", str(label), str(true))
        for number, (label, true) in enumerate(zip(given, digits.target, strict=True), start=1)
    ]
    table = pd.DataFrame(rows, columns=["path", "given_label", "true_label"])
    folder = folder.resolve()
    truth = folder.with_name(f"{folder.name}.truth.csv")
    try:
        _remove_earlier(folder, truth)
        folder.mkdir(parents=True, exist_ok=True)
        # Before the images, so that after an interruption it still names every image that may be there.
        table.sort_values("path").to_csv(truth, index=False)
        _write_images(folder, digits.images, rows)
    except OSError as error:
        raise DatasetError(
            f"the digits cannot be written to {str(folder)!r} ({error}): name a writable folder"
        ) from error
    return table.sort_values("path", ignore_index=True)


def plant_errors(pixels: NDArray[np.float64], labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Move ``count`` randomly chosen labels to the class of the nearest image (Euclidean) that has another label.

    Args:
        pixels: [images, pixels] grey values.
        labels: [images] true classes, at least two different ones.
        count: how many labels to move, at most the number of images.
        seed: decides which.

    Returns:
        [images] given labels, of which exactly ``count`` differ from ``labels``.
    """
    chosen = np.random.default_rng(seed).choice(len(labels), size=count, replace=False)
    distance = cdist(pixels[chosen], pixels)
    distance[labels[chosen, None] == labels[None, :]] = np.inf
    given = labels.copy()
    given[chosen] = labels[distance.argmin(axis=1)]
    return given


def _remove_earlier(folder: Path, truth: Path) -> None:
    """Remove the images that ``truth`` lists; somebody else's folder is refused, not mixed with the digits."""
    if not truth.exists():
        if folder.is_dir() and any(folder.iterdir()):
            raise DatasetError(
                f"{str(folder)!r} holds something else than the demo's digits: name a new or empty folder"
            )
        return
    try:
        paths = pd.read_csv(truth, dtype=str)["path"]
    except (KeyError, ValueError) as error:
        raise DatasetError(f"{str(truth)!r} does not list the demo's digits: name another folder") from error
    for path in paths.dropna():
        if _OWN_PATH.fullmatch(path):
            (folder / path).unlink(missing_ok=True)


def _write_images(folder: Path, images: NDArray[np.float64], rows: list[tuple[str, str, str]]) -> None:
    """Write [images, 8, 8] ink in 0..16 to each row's path."""
    for digit in range(10):
        (folder / str(digit)).mkdir(exist_ok=True)
    for (path, _, _), ink in zip(rows, images, strict=True):
        grey = Image.fromarray(np.round(ink * (255 / 16)).astype(np.uint8))
        grey.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC).save(folder / path)
        # The same digits written again are the same dataset: an audit of them is continued or kept.
        os.utime(folder / path, (0, 0))
