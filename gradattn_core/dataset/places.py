"""Where the paths of a table lead, all of them at once: to which files, and what is said where they lead elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gradattn_core.dataset.address import file_name, is_local, is_url, join, leads_out, listed_path
from gradattn_core.dataset.lookup import Finder, ambiguous, folder_with
from gradattn_core.dataset.selection import DatasetSelection
from gradattn_core.dataset.stamps import ABSENT, NOT_IN, stamps
from gradattn_core.dataset.storage import Stamp
from gradattn_core.dataset.text import shown, shown_all
from gradattn_core.errors import DatasetError

ELSEWHERE = "a place of this machine in a manifest from elsewhere, or one that leads out; it is not opened"


@dataclass
class Places:
    """Where the texts of a table's paths lead.

    Attributes:
        found: of each text the path as the listing spells it and the file's stamp, or why there is none.
        missing: the texts whose files do not exist.
    """

    found: dict[str, tuple[str, Stamp] | str]
    missing: list[str]
    notes: tuple[str, ...] = ()


def places_of(texts: Sequence[str], file: str, root: str, selection: DatasetSelection) -> Places:
    """Find the pictures: as written, else in another spelling; by name where fewer than half are found so."""
    # A table from elsewhere names no files of this machine but those below the folder that somebody here has chosen.
    from_elsewhere = not is_local(file) and is_local(root)
    found: dict[str, tuple[str, Stamp] | str] = {}
    as_written: dict[str, str] = {}
    far: dict[str, str] = {}
    for text in dict.fromkeys(texts):
        place = listed_path(root, text)
        if place is None or (from_elsewhere and not is_url(text) and leads_out(text)):
            found[text] = ELSEWHERE
        elif selection.image_root is not None and is_url(place):
            # Somebody has copied the pictures: nobody needs to be asked for them at the old place.
            far[text], found[text] = place, ABSENT
        else:
            as_written[text] = place
    found |= _stamped(root, as_written)
    missing = [text for text, place in found.items() if _is_missing(text, place)]
    if not missing:
        return Places(found, [])
    finder = Finder(root, selection.image_ending)
    other = {text: path for text in missing if (path := finder.rewritten(text)) is not None}
    notes = _found_otherwise(file, len(found), other)
    absent = [text for text in missing if text not in other]
    if 2 * len(absent) > len(found):
        by_name = {text: finder.searched(text) for text in absent}
        claims = Counter(paths[0] for paths in by_name.values() if len(paths) == 1)
        searched = {}
        for text, paths in by_name.items():
            if len(paths) > 1:
                found[text] = ambiguous(paths)
            elif paths and claims[paths[0]] > 1:
                found[text] = f"it and other rows seem to mean {shown(paths[0])}, as no file has their own paths"
            elif paths:
                searched[text] = paths[0]
        notes += _found_otherwise(file, len(found), searched, root)
        other |= searched
    found |= _stamped(root, {text: place for text, place in far.items() if text not in other})
    found |= _stamped(root, other)
    return Places(found, [text for text in missing if isinstance(found[text], str)], notes)


def _is_missing(text: str, place: tuple[str, Stamp] | str) -> bool:
    """Whether the file may lie elsewhere: it does not exist, or a labelling tool's server does not answer."""
    if not isinstance(place, str):
        return False
    return place in (ABSENT, ELSEWHERE) or place.startswith(NOT_IN) or (is_url(text) and "/data/" in text)


def _stamped(root: str, paths: Mapping[str, str]) -> dict[str, tuple[str, Stamp] | str]:
    """Of each text with its path: the path and the file's stamp, or why it cannot be read."""
    addresses = {path: join(root, path) for path in paths.values()}
    stamp_of = stamps(addresses.values())
    places = ((text, path, stamp_of[addresses[path]]) for text, path in paths.items())
    return {text: stamp if isinstance(stamp, str) else (path, stamp) for text, path, stamp in places}


def _found_otherwise(file: str, rows: int, paths: Mapping[str, str], root: str | None = None) -> tuple[str, ...]:
    """A sentence on the texts that are taken for other paths than they spell; ``root`` where they were searched for."""
    differing = [(text, path) for text, path in paths.items() if text != path]
    if not differing:
        return ()
    text, path = differing[0]
    how = "in another spelling" if root is None else f"by name below {shown(root)}"
    return (
        f"Of {rows:,} paths in {shown(file_name(file))} {len(differing):,} are no paths of files and were found {how}: "
        f"{shown(text, 120)} is {shown(path, 120)}.",
    )


def nothing_found(file: str, columns: Sequence[str], root: str, places: Places) -> DatasetError:
    """Where the pictures of a table were looked for in vain, and what may help."""
    text = places.missing[0]
    reason = str(places.found[text])
    near = folder_with(root, places.missing)
    if near is not None:
        instead = f"they seem to lie in {shown(near)}: say --image-root with it"
    else:
        instead = (
            "name the folder or archive that has them with --image-root, or another column with --path-column; the "
            f"columns are {shown_all(columns)}"
        )
    return DatasetError(
        f"{shown(file)} has no usable images, none of its {len(places.found):,} pictures was found. They were looked "
        f"for as paths and by their names below {shown(root)}; the first: {shown(text, 120)}: {reason}. "
        f"{instead[0].upper()}{instead[1:]}."
    )
