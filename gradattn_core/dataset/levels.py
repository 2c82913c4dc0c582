"""Which level of folders is the label: classes told from splits, from wrappers and from the levels of a hierarchy.

The signs are the names and who has which: a word for a split in a name, the same names below several first folders,
pictures directly in some folders and deeper in others, a folder in a folder of its own name. What they settle is
understood; what they do not is asked, in a refusal that names the option, or said in a note.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace

from gradattn_core.dataset.address import join
from gradattn_core.dataset.labels import is_no_class
from gradattn_core.dataset.text import as_value, shown, shown_all
from gradattn_core.errors import DatasetError
from gradattn_core.records import Failure, ImageRecord, Listing

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Tables in a folder that may say what its pictures show."""

_SPLITS = frozenset(
    {
        *("train", "training", "trainset", "trainingset", "traindata", "trainval", "trn"),
        *("val", "valid", "validate", "validation", "valset", "dev", "devset", "devel"),
        *("test", "testing", "testset", "testdata", "tst", "eval", "evaluate", "evaluation", "evalset"),
        *("holdout", "heldout", "fold", "folds", "cv", "split", "splits", "pred", "predict", "prediction", "inference"),
    }
)
# Words that stand beside those in the name of a split and say nothing themselves.
_FILLERS = frozenset(
    {
        *("set", "sets", "data", "dataset", "image", "images", "img", "imgs", "pic", "pics", "picture", "pictures"),
        *("photo", "photos", "jpg", "jpeg", "png", "seg", "hold", "held", "out", "subset", "part", "all", "full", "k"),
        *("crop", "crops", "cropped", "resized", "raw", "original", "originals", "class", "classes", "samples"),
        *("labeled", "labelled", "folder", "files", "extra", "extras", "additional", "demo", "mini", "small", "new"),
        *("old", "final", "public", "private", "v"),
    }
)
_WORDS = re.compile(r"[^\W\d_]+")
_LEVELS = re.compile(r"([1-9]\d?)(?:-([1-9]\d?))?")
_MOST = 0.8


def words(name: str) -> list[str]:
    """The words of a name in lower case: ``trainSet_2017`` has ``train`` and ``set``."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFKC", name))
    return [word.casefold() for word in _WORDS.findall(spaced)]


def is_split(name: str, *, only: bool = False) -> bool:
    """Whether a folder's name has a word for a split in it; ``only``: and nothing else but numbers and fillers."""
    found = words(name)
    joined = "".join(found)
    if joined in _SPLITS:
        return True
    return any(word in _SPLITS for word in found) and not (only and set(found) - _SPLITS - _FILLERS)


def says_nothing(name: str) -> bool:
    """Whether a folder within a class is one of storage only, such as ``images``."""
    return not set(words(name)) - _FILLERS and bool(words(name))


class _Folders:
    """The first folders of a listing: how many pictures lie directly in each, and how many in each folder within it.

    A folder within one of its own name is seen through.
    """

    def __init__(self, listing: Listing) -> None:
        paths = [image.path.split("/")[:-1] for image in listing.images]
        seconds: defaultdict[str, set[str | None]] = defaultdict(set)
        for parts in paths:
            seconds[parts[0]].add(parts[1].casefold() if len(parts) > 1 else None)
        self.repeating = {first for first, within in seconds.items() if within == {first.casefold()}}
        self.pictures: Counter[str] = Counter()
        self.flat: Counter[str] = Counter()
        self.within: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for parts in paths:
            first, *rest = parts
            rest = rest[1:] if first in self.repeating else rest
            self.pictures[first] += 1
            if rest:
                self.within[first][rest[0]] += 1
            else:
                self.flat[first] += 1
        self.total = len(paths)

    @property
    def firsts(self) -> list[str]:
        return sorted(self.pictures)

    @property
    def shared(self) -> list[str]:
        """Names that folders within several first folders have, but for those that say nothing."""
        owners: Counter[str] = Counter(name for within in self.within.values() for name in within)
        return sorted(name for name, count in owners.items() if count > 1 and not says_nothing(name))


def by_level(listing: Listing, level: str | None, has: Callable[[str], bool]) -> Listing:
    """The listing of class folders with its labels taken from the level that was asked for, or the first one.

    Args:
        listing: with the first folders as labels.
        level: ``N`` or ``A-B``, see ``--label-depth``; None leaves it to the signs.
        has: whether there is a file of this path: a split may have a table of its labels instead of class folders.

    Raises:
        DatasetError: the first folders are splits or no labels at all, or the level is not there.
    """
    if level is not None:
        return _at_level(listing, level)
    if not listing.images:
        return listing
    folders = _Folders(listing)
    _refuse_wrapper(listing.root, folders, has)
    _refuse_splits(listing.root, folders)
    _refuse_shared(listing.root, folders)
    return replace(listing, notes=(*listing.notes, *_notes(folders)))


def check_level(level: str) -> tuple[int, int]:
    """The first and the last level of folders that make the label, counted from 1.

    Raises:
        DatasetError: it says neither a level nor a range of them.
    """
    found = _LEVELS.fullmatch(level)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if last < first:
        raise DatasetError(
            f"--label-depth {shown(level)} is no level of folders: 2 takes the second one below the dataset for the "
            "label, 1-2 the first two, joined by a slash."
        )
    return first, last


def _at_level(listing: Listing, level: str) -> Listing:
    first, last = check_level(level)
    images: list[ImageRecord] = []
    skipped = list(listing.skipped)
    parents: defaultdict[str, set[str]] = defaultdict(set)
    for image in listing.images:
        parts = image.path.split("/")[:-1]
        label = "/".join(parts[first - 1 : last])
        if len(parts) < first:
            skipped.append(Failure(image.path, "skip", f"in no folder of level {first} (--label-depth)"))
        else:
            images.append(replace(image, label=label))
            parents[label].add("/".join(parts[: first - 1]))
    if not images:
        deepest = max((image.path.count("/") for image in listing.images), default=0)
        raise DatasetError(
            f"{shown(listing.root)} has no folders of level {first} with pictures in them; the deepest are of level "
            f"{deepest}: give --label-depth {max(deepest, 1)} or less."
        )
    failures = [replace(failure, given_label=_label_at(failure, first, last)) for failure in listing.failures]
    passed = [replace(each, given_label=each.given_label and _label_at(each, first, last)) for each in skipped]
    notes = list(listing.notes)
    several = sorted(label for label, above in parents.items() if len(above) > 1)
    if several and not all(is_split(parent) for label in several for parent in parents[label]):
        notes.append(
            f"{_are(several, 'folder')} in several folders and {'is' if len(several) == 1 else 'are'} one class each "
            f"here: {shown_all(several[:5])}; --label-depth 1-{last} keeps them apart."
        )
    return Listing(listing.root, tuple(images), tuple(failures), tuple(passed), tuple(notes))


def _label_at(failure: Failure, first: int, last: int) -> str:
    parts = failure.path.split("/")[:-1]
    return "/".join(parts[first - 1 : last]) if len(parts) >= first else ""


def _refuse_wrapper(root: str, folders: _Folders, has: Callable[[str], bool]) -> None:
    """Refuse one folder around everything, and splits with tables of their labels."""
    firsts, only = folders.firsts, [first for first in folders.firsts if is_split(first, only=True)]
    largest = max(firsts, key=lambda first: (folders.pictures[first], first == "train"))
    described = [first for first in firsts if any(has(f"{first}/{table}") for table in METADATA)]
    if described and len(only) == len(firsts):
        raise DatasetError(
            f"{shown(root)} has no class folders but {shown_all(firsts)}, which have tables of their labels: choose "
            f"one with --split {as_value(described[0])}."
        )
    if len(firsts) == 1 and not folders.flat and (len(folders.within[largest]) > 1 or described):
        split = f"choose it with --split {as_value(largest)}, or " if is_split(largest) else ""
        raise DatasetError(
            f"{shown(root)} has no class folders but {shown(largest)} around them: {split}pass "
            f"{shown(join(root, largest))}."
        )
    if described and len(firsts) == 1:
        raise DatasetError(
            f"{shown(root)} has no class folders but {shown(largest)}, which has a table of its labels: pass "
            f"{shown(join(root, largest))}."
        )


def _refuse_splits(root: str, folders: _Folders) -> None:
    """Refuse ``train/<label>/…`` beside other splits and what else is no class: the splits would pass for classes."""
    firsts = folders.firsts
    splits = [first for first in firsts if is_split(first)]
    only = [first for first in splits if is_split(first, only=True)]
    deep = [first for first in splits if any(not says_nothing(name) for name in folders.within[first])]
    if len(only) == len(firsts) > 1 and not deep:
        raise DatasetError(
            f"{shown(root)} has pictures in {shown_all(firsts)}, which look like splits, and no folders that say what "
            "they show: give a table of their labels, or say --label-depth 1 if these are the labels."
        )
    if not deep:
        return
    others = [first for first in firsts if first not in splits]
    share = sum(folders.pictures[first] for first in splits) / folders.total
    names_of_splits = {name for first in deep for name in folders.within[first] if not says_nothing(name)}
    of_others = {name for first in others for name in folders.within[first]}
    if (
        (len(splits) > 1 and (only or share >= 0.5))
        or (others and all(is_no_class(first) or says_nothing(first) for first in others))
        or names_of_splits & of_others
        or names_of_splits & set(others)
        or (share >= 0.5 and len(names_of_splits) > 1)
    ):
        best = max(deep, key=lambda first: ("train" in first.casefold(), folders.pictures[first], first))
        within = folders.within[best]
        # A fold may have splits of its own; a folder in one of its own name is a level as well.
        level = 2 + (best in folders.repeating) + all(is_split(name, only=True) for name in within)
        raise DatasetError(
            f"{shown(root)} has no class folders but {shown_all(firsts)} around them: choose one with --split "
            f"{as_value(best)}, audit all with --label-depth {level}, or say --label-depth 1 if these are the labels."
        )


def _refuse_shared(root: str, folders: _Folders) -> None:
    """Refuse to guess where most first folders have folders of the same names: either level may be the label."""
    shared = [name for name in folders.shared if not is_split(name)]
    deep = sum(sum(within.values()) for within in folders.within.values())
    if len(shared) > 1 and deep >= _MOST * folders.total:
        names = {name for within in folders.within.values() for name in within}
        raise DatasetError(
            f"{shown(root)} has folders of the same names ({shown_all(shared[:5])}) in several of "
            f"{len(folders.firsts):,} first folders ({shown_all(folders.firsts[:5])}): say --label-depth 1 if the "
            f"first is the label, --label-depth 2 if the second is ({len(names):,} classes), or --label-depth 1-2 for "
            "both together."
        )


def _notes(folders: _Folders) -> Iterable[str]:
    """What was taken for what, where it could have been meant otherwise."""
    firsts = folders.firsts
    within = {name for names in folders.within.values() for name in names if not says_nothing(name)}
    splits_within = sorted(name for name in within if is_split(name, only=True))
    if len(splits_within) > 1 or (splits_within and folders.flat):  # else one of them was chosen
        yield (
            f"The folders {shown_all(splits_within[:5])} within the classes look like splits and are audited together; "
            f"--split {as_value(splits_within[-1])} takes one."
        )
    levels = within - set(splits_within)
    several = [first for first in firsts if len(set(folders.within[first]) - set(splits_within)) > 1]
    if several and levels:
        yield (
            f"The first folder is the label ({shown_all(firsts[:3])}{', …' if len(firsts) > 3 else ''}); the "
            f"{len(levels):,} folders within ({shown_all(sorted(levels)[:3])}{', …' if len(levels) > 3 else ''}) play "
            "no part. --label-depth 2 takes them for the labels."
        )
    alone = [first for first in firsts if is_split(first, only=True)]
    if alone and len(alone) < len(firsts):
        yield (
            f"{shown_all(alone)} is audited as a class like the others, though the name is that of a split: "
            f"--exclude-label {as_value(alone[0])} leaves it out."
        )
    # Of train_cat and test_cat the class is what stands beside the split.
    beside = defaultdict(list)
    for first in firsts:
        rest = " ".join(word for word in words(first) if word not in _SPLITS)
        if is_split(first) and rest and not says_nothing(rest):
            beside[rest].append(first)
    alike = min(beside.values(), key=lambda names: (-len(names), names), default=[])
    if len(alike) > 1:
        yield (
            f"{shown_all(alike)} differ only by the word of a split, and are audited as classes of their own: if they "
            "are one class, put its pictures into one folder, or name their labels in a table."
        )


def _are(names: list[str], what: str) -> str:
    return f"1 {what} lies" if len(names) == 1 else f"{len(names):,} {what}s lie"
