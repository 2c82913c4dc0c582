"""Why what was named is no dataset, and what would be one, each in a sentence."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from gradattn_core.dataset.address import join
from gradattn_core.dataset.folder import is_image
from gradattn_core.dataset.manifest import MANIFEST_SUFFIXES
from gradattn_core.dataset.selection import SPLIT_NAMES, Wanted
from gradattn_core.dataset.text import did_you_mean, is_text, shown, shown_all
from gradattn_core.errors import DatasetError
from gradattn_core.records import Listing

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Tables in a folder that may say what its pictures show."""
FORMS = (
    "a folder root/<label>/… of images, a zip or tar of one, WebDataset tars, or a manifest ("
    + ", ".join(sorted(MANIFEST_SUFFIXES))
    + ")"
)


def refuse_unusable(source: str, listing: Listing) -> None:
    """Refuse a listing without images, or with one class only."""
    if not is_text(listing.root):
        raise DatasetError(f"The folder {shown(listing.root)} has a name that is not valid UTF-8: rename it.")
    classes = listing.classes
    if not classes:
        problem = ""
        if listing.failures:
            first = listing.failures[0]
            problem = f" The first of {len(listing.failures):,} problems: {shown(first.path)}: {first.reason}."
        raise DatasetError(f"{shown(source)} has no usable images: give {FORMS}.{problem}")
    if len(classes) == 1:
        raise DatasetError(
            f"{shown(source)} has one class only, {shown(classes[0])}: wrong labels can be found between two or more."
        )


def near_sibling(source: Path) -> str:
    """A sentence on what the first missing part of a path may have meant, or nothing."""
    missing = source
    while not missing.parent.is_dir() and missing.parent != missing:
        missing = missing.parent
    try:
        siblings = sorted(os.listdir(missing.parent))
    except OSError:
        return ""
    return did_you_mean(missing.name, siblings)


def refuse_flat(root: Path) -> None:
    """Refuse a folder that has its images directly in it."""
    names = os.listdir(root)
    images = sum(is_image(each) and not each.startswith(".") and not (root / each).is_dir() for each in names)
    if not images:
        return
    manifests = sorted(each for each in names if os.path.splitext(each)[1].lower() in MANIFEST_SUFFIXES)
    instead = f"pass its manifest {shown(root / manifests[0])}" if manifests else "sort them into root/<label>/"
    raise DatasetError(f"{shown(root)} is a flat folder: {images:,} images and no labels; {instead}.")


def refuse_missing_split(root: str, wanted: Wanted, folders: set[str]) -> None:
    """Refuse a split that nothing in the dataset could be."""
    if wanted.split is not None:
        raise DatasetError(
            f"{shown(root)} has no split {shown(wanted.split)}, which would be a folder around the classes; its "
            f"folders are {shown_all(sorted(folders))}.{did_you_mean(wanted.split, folders)}"
        )


def refuse_wrapper(listing: Listing, has: Callable[[str], bool]) -> None:
    """Refuse ``root/train/<label>/image`` and the like: the splits would pass for classes.

    Args:
        has: whether there is a file of this path: a split may have a table of its labels instead of class folders.
    """
    folders = Counter(image.label for image in listing.images)
    only_splits = len(folders) == 1 or all(each.casefold() in SPLIT_NAMES for each in folders)
    if not folders or not only_splits:
        return
    described = any(has(f"{each}/{table}") for each in folders for table in METADATA)
    if described or all(image.path.count("/") > 1 for image in listing.images):
        largest = folders.most_common(1)[0][0]
        split = f"choose one with --split {largest}, or " if largest.casefold() in SPLIT_NAMES else ""
        raise DatasetError(
            f"{shown(listing.root)} has no class folders but {shown_all(sorted(folders))} around them: "
            f"{split}pass {shown(join(listing.root, largest))}."
        )
