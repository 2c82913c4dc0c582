"""What labels are to one another: two spellings of one class, no class at all, or several labels in one cell."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from gradattn_core.dataset.text import shown, shown_all
from gradattn_core.records import Listing

SEVERAL_LABELS = "several labels"
LISTED_TWICE = "listed as "

_NO_CLASS = frozenset(
    {
        *("no label", "nolabel", "not labeled", "not labelled", "unlabeled", "unlabelled", "unlabeled data", "unlabel"),
        *("none", "null", "nan", "na", "n a", "nil", "missing", "empty", "blank", "undefined", "not available"),
        *("unknown", "unknowns", "unk", "not sure", "notsure", "unsure", "uncertain", "ambiguous", "maybe"),
        *(
            "dont know",
            "don t know",
            "cannot tell",
            "can t tell",
            "unclear",
            "undecided",
            "skip",
            "skipped",
            "ignore",
            "ignored",
        ),
        *("todo", "to do", "tbd", "pending", "unclassified", "uncategorized", "uncategorised"),
        *(
            "unsorted",
            "unassigned",
            "other",
            "others",
            "misc",
            "miscellaneous",
            "various",
            "junk",
            "trash",
            "garbage",
            "discard",
            "discarded",
        ),
        *("bad", "corrupt", "corrupted", "error", "invalid", "no class", "noclass", "not applicable", "rejected"),
    }
)
_NO_CLASS_EXACT = frozenset({"-1", "-", "--", "?", "??", "???", "_", ".", "#N/A", "#N/A N/A", "<NA>", "-999", "-9999"})
# Three zeros after a comma are thousands as well as decimals: 1,000 is not said to be 1.
_NUMBER = re.compile(r"([+-]?)0*(\d+)(?:\.0*|,(?!000$)0*)?")
_SEPARATORS = re.compile(r"[\s_\-‐‑‒–—]+")
_BETWEEN_LETTERS = re.compile(r"(?<=[^\W\d_]) (?=[^\W\d_])")
# Those after a decimal sign count: 1.05 is not 1.5.
_ZEROS = re.compile(r"(?<![\d.,])0+(?=\d)")
# A minus at the end has a meaning where a blank before it has none: the grades A and A-.
_MINUS = re.compile(r"(?<=\w)-$")
_CELL = re.compile(r"\s*[,;|]\s*")
_LIST = re.compile(r"\[.*\]|\(.*\)|\{.*\}", re.DOTALL)
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Spellings:
    """Labels that differ by nothing one can see, with how many pictures have each; the commonest first."""

    labels: tuple[str, ...]
    pictures: tuple[int, ...]


def spelling(label: str) -> str:
    """What a label is but for case, blanks, ``_`` and ``-``, Unicode form, and zeros: ``Cat `` is ``cat``."""
    text = "".join(sign for sign in unicodedata.normalize("NFKC", label) if unicodedata.category(sign) != "Cf")
    text = text.strip().casefold()
    number = _NUMBER.fullmatch(text)
    if number is not None:
        return f"{number[1].removeprefix('+')}{number[2]}"
    first, last = "-" if re.match(r"-\d", text) else "", "-" if _MINUS.search(text) else ""
    text = _SEPARATORS.sub(" ", text).strip()
    text = _BETWEEN_LETTERS.sub("", text)
    return unicodedata.normalize("NFKC", first + _ZEROS.sub("", text) + last) or label


def spellings(pictures: Mapping[str, int]) -> list[Spellings]:
    """The groups of labels that are one but for their spelling, the largest first.

    Args:
        pictures: how many have each label.
    """
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for label in pictures:
        groups[spelling(label)].append(label)
    found = [
        Spellings(tuple(labels), tuple(pictures[label] for label in labels))
        for labels in (sorted(group, key=lambda label: (-pictures[label], label)) for group in groups.values())
        if len(labels) > 1
    ]
    return sorted(found, key=lambda group: (-sum(group.pictures), group.labels))


def is_no_class(label: str) -> bool:
    """Whether a label is one of the usual ones that say that there is none."""
    text = " ".join(re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", label).casefold()))
    return text in _NO_CLASS or label.strip() in _NO_CLASS_EXACT


def cells_of_several(labels: Iterable[str]) -> list[str]:
    """The labels that are several in one cell: their parts are labels too, or are parts of others as well."""
    every = list(labels)
    # A list as Python writes it, ['cat', 'dog'], is several labels as well.
    plain = {label: re.sub(r"['\"]", "", label[1:-1]) if _LIST.fullmatch(label) else label for label in every}
    known = set(plain.values())
    parts = {label: [part for part in _CELL.split(plain[label]) if part] for label in every}
    uses = Counter(part for split in parts.values() if len(split) > 1 for part in set(split))
    found = []
    for label, split in parts.items():
        by_sign = len(split) > 1 and (
            any(part in known for part in split) or sum(uses[part] > 1 for part in split) * 2 >= len(split)
        )
        by_blank = len(blank := label.split()) > 1 and label not in blank and all(part in known for part in blank)
        if by_sign or by_blank:
            found.append(label)
    return found


def merged_spellings(listing: Listing) -> Listing:
    """The listing with each label in the commonest of its spellings."""
    pictures = Counter(image.label for image in listing.images)
    groups = spellings(pictures)
    if not groups:
        return listing
    chosen = {label: group.labels[0] for group in groups for label in group.labels}
    said = "; ".join(
        f"{', '.join(shown(label, 60) for label in group.labels[1:])} into {shown(group.labels[0], 60)}"
        for group in groups[:_NAMED]
    )
    more = f"; and {len(groups) - _NAMED:,} more" if len(groups) > _NAMED else ""
    return replace(
        listing,
        images=tuple(replace(image, label=chosen.get(image.label, image.label)) for image in listing.images),
        notes=(*listing.notes, f"Spellings of one class were merged: {said}{more}."),
    )


def notes_about(listing: Listing) -> Iterator[str]:
    """What the labels may be meant otherwise for."""
    pictures = Counter(image.label for image in listing.images)
    groups = spellings(pictures)
    if groups:
        yield about_spellings(groups, len(pictures))
    doubtful = sorted((label for label in pictures if is_no_class(label)), key=lambda label: -pictures[label])
    if doubtful and len(pictures) - len(doubtful) > 1:
        said = ", ".join(f"{shown(label, 60)} ({pictures[label]:,})" for label in doubtful[:_NAMED])
        options = " ".join(
            f"--exclude-label{'=' if label.startswith('-') else ' '}{shown(label, 60)}" for label in doubtful[:_NAMED]
        )
        yield f"{said} may be no class: {options} leaves {'it' if len(doubtful) == 1 else 'them'} out."
    twice = sum(failure.reason.startswith(LISTED_TWICE) for failure in listing.failures)
    if twice:
        rows = "1 row names a picture" if twice == 1 else f"{twice:,} rows name pictures"
        yield f"{rows} that another has under another label: the first one counts, as an audit judges one a picture."
    cells = sum(failure.reason.startswith(SEVERAL_LABELS) for failure in listing.failures)
    if cells:
        yield f"{cells:,} rows have several labels and were left out: an audit judges one label a picture."
    several = cells_of_several(pictures)
    if several:
        number = sum(pictures[label] for label in several)
        have = "1 picture has" if number == 1 else f"{number:,} pictures have"
        yield (
            f"{have} several labels in one cell ({shown_all(several[:_NAMED])}), and each such text is a class of its "
            "own here: an audit judges one label a picture."
        )


def about_spellings(groups: Sequence[Spellings], classes: int) -> str:
    """The finding as one sentence."""
    merged = classes - sum(len(group.labels) - 1 for group in groups)
    each = "; ".join(
        ", ".join(f"{shown(label, 60)} ({count:,})" for label, count in zip(group.labels, group.pictures, strict=True))
        for group in groups[:_NAMED]
    )
    more = f"; and {len(groups) - _NAMED:,} more" if len(groups) > _NAMED else ""
    return (
        f"Two spellings of one class: {each}{more}. Each is judged as a class of its own; --merge-spellings makes "
        f"{merged:,} classes of {classes:,}."
    )
