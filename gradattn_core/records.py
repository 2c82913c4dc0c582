"""The frozen dataclasses that travel between the rooms, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradattn_core.sums import Sums

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One labelled image as the dataset lists it.

    Attributes:
        path: POSIX path relative to the dataset's root (absolute, or a URL, where a manifest points outside it); of a
            sample ``shard.tar/key.jpg``, of a row ``table.parquet#000017``.
        label: the given label, any string.
        size: in bytes, of the picture, or of the Parquet file that holds it.
        modified: the file's time of modification in nanoseconds, or whatever number of 63 bits changes with the
            picture; with the size it tells a changed one cheaply.
        changed: a number that follows from change time and inode of the file, or of the container, that holds it; 0
            where there is none. Two files of one size and time that changed places differ in it.
    """

    path: str
    label: str
    size: int
    modified: int = 0
    changed: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Failure:
    """One input that could not be used, or was passed over.

    Attributes:
        path: as an image's; of a row without one, where the row stands.
        stage: ``skip`` what is no picture, or was not to be audited; ``list`` and ``decode`` what could not be read, as
            ``list_dataset`` met it or as it was decoded; ``interpret`` a suspect that was judged and has no map.
        reason: a phrase or a sentence.
        given_label: "" where nothing says it.
    """

    path: str
    stage: str
    reason: str
    given_label: str = ""


@dataclass(frozen=True, slots=True)
class Unjudged:
    """Inputs of one kind that an audit did not judge.

    Attributes:
        stage: see :class:`Failure`.
        ending: of their names, in lower case; "" without one.
        given_label: "" where nothing says it.
        reason: in general, without what is peculiar to one of them.
        files: how many there are; ``example`` is the path of the first.
    """

    stage: str
    ending: str
    given_label: str
    reason: str
    files: int
    example: str


@dataclass(frozen=True, slots=True)
class Listing:
    """A dataset, listed and ordered by path.

    Attributes:
        root: what relative paths resolve against: the absolute path of a folder, or another address, without
            passwords; see :mod:`gradattn_core.dataset.address`.
        images: every usable row, ordered by path, each path once.
        failures: rows that were refused (missing files, contradicting duplicates).
        skipped: what was passed over: hidden and system files and folders (a folder counts once), files that are no
            pictures, labels that were not to be audited.
        notes: sentences on what the user may have meant otherwise.
    """

    root: str
    images: tuple[ImageRecord, ...]
    failures: tuple[Failure, ...] = ()
    skipped: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> list[str]:
        """The distinct given labels in sorted order."""
        return sorted({image.label for image in self.images})


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels of the upright original image; right and bottom are exclusive."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top


@dataclass(frozen=True, slots=True)
class Region:
    """A connected set of patches of one sign.

    Attributes:
        sign: +1 where the patches speak for the given label, -1 where they speak for the other class.
        rank: 1 for the region of greatest mass among those of its sign.
        mass_share: its share of the image's total absolute mass, in (0, 1].
        area_share: its share of all patches, in (0, 1].
        peak: its most extreme raw score, signed.
        box: bounding box in pixels of the original image.
        log_odds: the sum of its patches' scores, of its sign; None where the map does not add up to log-odds.
        measured: what the region does by measurement, in log-odds: the answer minus the answer with it left out, so
            positive where it speaks for the given label; None where it was not measured.
    """

    sign: int
    rank: int
    mass_share: float
    area_share: float
    peak: float
    box: Box
    log_odds: float | None = None
    measured: float | None = None


@dataclass(frozen=True, slots=True)
class MapStatistics:
    """What a signed map says in numbers.

    Attributes:
        concentration: share of the absolute mass in the strongest tenth of the patches, in [0, 1]; 0 for an empty map.
        overlap: how much the two classes' evidence lies in the same places, in [0, 1] (Bhattacharyya
            coefficient of the two mass distributions after a 3x3 box blur).
        regions: the connected regions of both signs, ordered by sign (positive first) and rank.
    """

    concentration: float
    overlap: float
    regions: tuple[Region, ...] = ()


@dataclass(frozen=True, slots=True)
class Hidden:
    """What the model says once the patches that speak most for the other class are hidden.

    Attributes:
        for_logit, against_logit: of the given label and of the other class then; any real.
        label: the class it names then, of the dataset's classes.
        probability: of that class then, in (0, 1].
    """

    for_logit: float
    against_logit: float
    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """The detail interpretation of one image as it is stored and drawn.

    Attributes:
        scores: [grid height, grid width] float32, raw; positive speaks for ``for_label``, negative for
            ``against_label``.
        crop: the part of the original image the model saw, in original pixels.
        hidden: the answer with the evidence for the other class hidden; None where it was not asked.
        sums: what the map adds up to; None where it does not add up to log-odds.
        numbers: ``map``, or ``measured`` where its four groups of patches were scaled to measured Shapley values.
    """

    for_label: str
    against_label: str
    for_logit: float
    against_logit: float
    scores: FloatArray
    crop: Box
    objective: str
    correction: str
    statistics: MapStatistics
    hidden: Hidden | None = None
    sums: Sums | None = None
    numbers: str = "map"


@dataclass(frozen=True, slots=True)
class Difference:
    """What an audit has that an earlier one had not, and the reverse, by image content and given label.

    Copies of one picture under one label count once.

    Attributes:
        since: the audit before.
        new_suspects: suspects that were none before, the image being new or not; ``gone_suspects`` are none any more.
        new_images, gone_images: how many contents with their label came and went.
        changed_images, relabelled_images: how many of both are the same path with another content, or the same content
            under another given label.
        moved_images: lie at other paths and are otherwise the same.
    """

    since: str
    new_suspects: int
    gone_suspects: int
    new_images: int
    gone_images: int
    changed_images: int
    relabelled_images: int
    moved_images: int

    @property
    def added_images(self) -> int:
        """New images but for those that were changed or relabelled."""
        return self.new_images - self.changed_images - self.relabelled_images

    @property
    def removed_images(self) -> int:
        """Images that are gone but for those that were changed or relabelled."""
        return self.gone_images - self.changed_images - self.relabelled_images

    @property
    def words(self) -> str:
        """The counts that are not 0 on one line; what was changed or relabelled is neither added nor removed."""
        counts = (
            ("new suspects", self.new_suspects),
            ("no longer suspects", self.gone_suspects),
            ("images added", self.added_images),
            ("removed", self.removed_images),
            ("changed", self.changed_images),
            ("relabelled", self.relabelled_images),
        )
        return ", ".join(f"{count:,} {what}" for what, count in counts if count) or "nothing new"


@dataclass(frozen=True, slots=True)
class ClassPair:
    """Suspects of one class that look like one other.

    Attributes:
        suspects, decided: how many there are, and how many of them have a decision that stands.
        class_size: images of the given label; ``share`` is the suspects' share of them, in (0, 1].
        mean_suspicion: of the suspects, in [0, 1]; ``expected`` is its sum, the wrong labels to be expected.
        lift: observed over expected number of suspects, see :func:`gradattn_core.ranking.noise.class_pairs`.
    """

    given_label: str
    suggested_label: str
    suspects: int
    class_size: int
    share: float
    mean_suspicion: float
    expected: float
    lift: float
    decided: int


@dataclass(frozen=True, slots=True)
class AuditSummary:
    """What the terminal, the flow's artifact and the page show when an audit is done.

    Attributes:
        estimated_errors: how many given labels the model believes to be wrong; ``estimated_low`` to ``estimated_high``
            is the range of :func:`gradattn_core.estimates.assumed_range`, which audits of older versions lack.
        checked: what a random check of these very pictures measured, as a sentence; empty before there was one.
        class_pairs: the worst ones, most expected errors first.
        news: since the audit of the same dataset before it; None where it is the first.
        not_judged: what could not be used or was passed over, in groups.
        computed: on which device and in which precision; empty for audits of older versions.
        first, found: the ``first`` most suspect images hold this share, 0 to 1, of what the model believes wrong.
        measured, agreeing: suspects with a region whose effect was measured, and those whose strongest one agrees with
            its number.
    """

    audit_id: str
    images: int
    failures: int
    skipped: int
    suspects: int
    estimated_errors: float
    class_pairs: tuple[ClassPair, ...]
    database: Path
    candidates: Path
    warnings: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    estimated_low: float | None = None
    estimated_high: float | None = None
    first: int = 0
    found: float = 0.0
    news: Difference | None = None
    measured: int = 0
    agreeing: int = 0
    not_judged: tuple[Unjudged, ...] = ()
    checked: str = ""
    computed: str = ""
