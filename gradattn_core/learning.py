"""What decisions teach about all images of an audit, from the features that it has kept.

Up to ``REFITTED`` the voters of the ranking are fitted again; beyond, only the local term is reckoned, of the images
that come first. Depends on the audit and on what stands, not on who said it, when, or in which order.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gradattn_core.errors import RankingError
from gradattn_core.outfolder import AuditFolder
from gradattn_core.ranking.refit import local_shift, moved, prepare_refit
from gradattn_core.ranking.verdicts import NONE, UNKNOWN
from gradattn_core.records import FloatArray, IntArray

REFITTED = 300_000
"""Images times classes up to which the voters are fitted again: some minutes of one core."""
NEAR = 50_000
"""Images, the most suspect, among which those like the reviewed ones are sought where there are more."""
EVERY = 50
"""Decisions after which the page learns again."""
FEWEST = 5
"""Verdicts on a label that are worth a sentence, where they are a standard deviation from what was expected."""

METHODS = {
    "refit": "the ranking was fitted again with the decisions taken as known, and each moves what looks like it",
    "near": "each decision moves what looks like it and has the same label",
    "numbers": "the suspicions were calibrated by the decisions, as no features of the images are left",
}
"""How an order was learnt, in words."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What verdicts on a label came to.

    Attributes:
        reviewed: verdicts on images of this given label, of which found the label ``wrong``.
        expected: how many the audit's suspicions of these images add up to.
    """

    given_label: str
    reviewed: int
    wrong: int
    expected: float

    @property
    def words(self) -> str:
        """The label stands in it as it is."""
        verdict = "more" if self.wrong > self.expected else "less"
        return (
            f"labelled {self.given_label}: {verdict} often wrong than believed, {self.wrong:,} of {self.reviewed:,} "
            f"where {self.expected:,.1f} were expected"
        )


@dataclass(frozen=True, slots=True)
class Learnt:
    """What decisions have taught.

    Attributes:
        method: ``refit`` or ``near``.
        suspicion: [N] of every image, as if nobody had decided about it.
    """

    method: str
    suspicion: NDArray[np.float64]


def has_features(folder: Path) -> bool:
    """Whether there is anything to learn from but the suspects' numbers."""
    files = AuditFolder(folder).sweep_files()
    try:
        # Where predictions were brought alone, there are none to each picture.
        return bool(files) and "features" in pq.read_schema(files[0]).names
    except (OSError, pa.ArrowException):
        return True  # whoever reads them says what is wrong


def verdicts(images: pd.DataFrame) -> NDArray[np.float64]:
    """[N] 1 where the label was found wrong, 0 where right, NaN where nobody knows; of copies the first counts.

    Args:
        images: with ``decision``, ``content_hash`` and ``given_label``.
    """
    said = images["decision"].map({"keep": 0.0, "relabel": 1.0, "remove": 1.0}).astype(float)
    return np.asarray(said.mask(images.duplicated(["content_hash", "given_label"])), dtype=float)


def learn_from_features(images: pd.DataFrame, folder: Path, *, whole: bool = True) -> Learnt | None:
    """Refit, or spread the verdicts over like images; None where the features are gone, damaged or of other images.

    Args:
        images: of ``Store.review.images``.
        folder: the audit's features.
        whole: these are all images of the audit; only then anything can be fitted again.
    """
    classes, codes = np.unique(images["given_label"].to_numpy(dtype=object), return_inverse=True)
    small = whole and len(images) * len(classes) <= REFITTED
    rows = np.arange(len(images))
    if not small:
        rows = np.flatnonzero((rows < NEAR) | (images["decision"] != "").to_numpy())
    features = read_features(folder, images["path"].iloc[rows])
    if features is None:
        return None
    before = images["suspicion"].to_numpy(dtype=float)
    shift = np.zeros(len(images))
    shift[rows] = local_shift(features, codes[rows].astype(np.int64), (verdicts(images) - before)[rows])
    method = "near"
    if small:
        try:
            shift += prepare_refit(codes.tolist(), features).shift(_known(images, classes, codes))
            method = "refit"
        except RankingError:
            # Too few images, or too few of a class, for a fit: the local term needs neither.
            pass
    return Learnt(method, moved(before, shift))


def lessons(images: pd.DataFrame) -> list[Lesson]:
    """The labels of which clearly more, or fewer, were found wrong than the audit expected, the clearest first.

    Args:
        images: with ``given_label, suspicion`` of the audit, ``content_hash`` and ``decision``.
    """
    verdict = verdicts(images)
    judged = images.assign(wrong=verdict, chance=images["suspicion"] * (1 - images["suspicion"]))[~np.isnan(verdict)]
    found = judged.groupby("given_label").agg(
        reviewed=("wrong", "size"), wrong=("wrong", "sum"), expected=("suspicion", "sum"), chance=("chance", "sum")
    )
    found["clear"] = (found["wrong"] - found["expected"]).abs() / np.sqrt(found["chance"] + 0.5)
    found = found[(found["reviewed"] >= FEWEST) & (found["clear"] >= 1)].sort_values("clear", ascending=False)
    return [
        Lesson(str(label), int(row["reviewed"]), int(row["wrong"]), float(row["expected"]))
        for label, row in found.iterrows()
    ]


def _known(images: pd.DataFrame, classes: NDArray[np.object_], codes: IntArray) -> IntArray:
    """[N] the class that each label should be, as far as reviewers have said."""
    number = {name: code for code, name in enumerate(classes)}
    relabelled = images["new_label"].map(lambda name: number.get(name, NONE)).to_numpy(dtype=np.int64)
    decision = images["decision"].to_numpy(dtype=object)
    chosen = [decision == "keep", decision == "relabel", decision == "remove"]
    return np.select(chosen, [codes, relabelled, np.full(len(codes), NONE)], UNKNOWN)


def read_features(folder: Path, paths: pd.Series) -> FloatArray | None:
    """[N, D] of these images; None where any is missing."""
    if not has_features(folder):
        return None
    place = pd.Index(paths)
    table: FloatArray | None = None
    seen = np.zeros(len(place), dtype=bool)
    try:
        for file in AuditFolder(folder).sweep_files():
            shard = pq.read_table(file, columns=["path", "features"])
            at = place.get_indexer(pd.Index(shard["path"].to_pylist(), dtype=object))
            wanted = at >= 0
            column = shard["features"].combine_chunks()
            if not len(column) or not wanted.any():
                continue
            values = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
            table = np.zeros((len(place), values.shape[1]), dtype=np.float32) if table is None else table
            table[at[wanted]] = values[wanted]
            seen[at[wanted]] = True
    except (OSError, ValueError, pa.ArrowException):
        return None
    return table if seen.all() and table is not None and np.isfinite(table).all() else None
