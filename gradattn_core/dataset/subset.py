"""A part of a dataset: without some labels, of some classes only, or so many pictures of it.

Whatever is left out is named among what was passed over, so that the corrected dataset can take it along.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from hashlib import blake2b

from gradattn_core.dataset.selection import Subset, evenly
from gradattn_core.dataset.text import did_you_mean, shown, shown_all
from gradattn_core.errors import DatasetError
from gradattn_core.records import Failure, ImageRecord, Listing

LEFT_OUT = "its label was left out (--exclude-label)"
OTHER_CLASS = "its class was not asked for (--classes)"
NOT_DRAWN = "it was not drawn for the part (--sample)"
BEYOND_LIMIT = "it is beyond the limit of pictures (--limit)"
_WANTED = tuple(reason.partition(" (")[0] for reason in (LEFT_OUT, OTHER_CLASS, NOT_DRAWN, BEYOND_LIMIT))
_AUDITED, _CLASSES_AUDITED = " pictures are audited", " classes are audited (--classes)"
_NAMED = 5


def is_wanted(reason: str) -> bool:
    """Whether a reason, whole or in general, says that somebody asked for the picture to be left out."""
    return reason.startswith(_WANTED)


def about_part(notes: Iterable[str]) -> list[str]:
    """Those of an audit's notes that say that it is of a part of its dataset."""
    return [note for note in notes if f"{_AUDITED}, " in note or _CLASSES_AUDITED in note]


def without_labels(listing: Listing, left_out: Sequence[str]) -> Listing:
    """The listing without the pictures of some labels, which are named among what was passed over.

    Raises:
        DatasetError: no picture has one of the labels.
    """
    if not left_out:
        return listing
    counts = Counter(image.label for image in listing.images)
    for label in left_out:
        if label not in counts:
            raise DatasetError(
                f"--exclude-label {shown(label)} leaves nothing out: no picture of {shown(listing.root)} has that "
                f"label.{did_you_mean(label, counts)}"
            )
    dropped = set(left_out)
    said = ", ".join(f"{shown(label, 60)} ({counts[label]:,})" for label in sorted(dropped))
    note = f"Left out by --exclude-label, with their pictures: {said}."
    return _part(listing, lambda image: image.label not in dropped, LEFT_OUT, note)


def of_classes(listing: Listing, classes: Sequence[str]) -> Listing:
    """Only the pictures of some classes.

    Raises:
        DatasetError: no picture has one of the labels.
    """
    if not classes:
        return listing
    counts = Counter(image.label for image in listing.images)
    chosen: dict[str, None] = {}
    for text in classes:
        # A label may have a comma of its own.
        for label in [text] if text in counts else filter(None, map(str.strip, text.split(","))):
            if label not in counts:
                raise DatasetError(
                    f"--classes {shown(label)}: no picture of {shown(listing.root)} has that label; there are "
                    f"{shown_all(sorted(counts)[:_NAMED])}{' and others' if len(counts) > _NAMED else ''}."
                    f"{did_you_mean(label, counts)}"
                )
            chosen[label] = None
    if not chosen:
        raise DatasetError(f"--classes {shown(', '.join(classes))} names no class; give labels, with commas between.")
    number = sum(counts[label] for label in chosen)
    note = (
        f"Only {len(chosen):,} of {len(counts):,}{_CLASSES_AUDITED}, with {number:,} of "
        f"{len(listing.images):,} pictures: a picture that is of another class is not found to be."
    )
    return _part(listing, lambda image: image.label in chosen, OTHER_CLASS, note if len(chosen) < len(counts) else "")


def so_many(listing: Listing, subset: Subset) -> Listing:
    """As many of the pictures as are asked for; all of them where there are no more, which is said."""
    asked, option = (subset.sample, "--sample") if subset.sample else (subset.limit, "--limit")
    total = len(listing.images)
    if not asked:
        return listing
    if asked >= total:
        note = f"{option} {asked:,} is no fewer than there are: all {total:,} pictures are audited."
        return replace(listing, notes=(*listing.notes, note))
    if subset.sample:
        key = str(subset.seed).encode()
        ordered = sorted(listing.images, key=lambda image: blake2b(image.path.encode(), key=key).digest())
        chosen, how, reason = ordered[:asked], f"drawn at random (--sample, --seed {subset.seed})", NOT_DRAWN
    else:
        chosen, how = evenly(listing.images, asked), "taken evenly from the whole list (--limit)"
        reason = BEYOND_LIMIT
    paths = {image.path for image in chosen}
    labels, kept = listing.classes, {image.label for image in chosen}
    lost = [label for label in labels if label not in kept]
    note = (
        f"{asked:,} of {total:,} pictures are audited, {how}: every number is of these {asked:,}, not of the dataset."
    )
    if lost:
        several = "1 class has" if len(lost) == 1 else f"{len(lost):,} classes have"
        note += f" {several} no picture among them ({shown_all(lost[:_NAMED])})."
    return _part(listing, lambda image: image.path in paths, reason, note)


def _part(listing: Listing, is_kept: Callable[[ImageRecord], bool], reason: str, note: str) -> Listing:
    """The listing with some of its images, the others passed over for this reason."""
    passed = tuple(Failure(image.path, "skip", reason, image.label) for image in listing.images if not is_kept(image))
    return replace(
        listing,
        images=tuple(image for image in listing.images if is_kept(image)),
        skipped=(*listing.skipped, *passed),
        notes=(*listing.notes, note) if note else listing.notes,
    )
