"""Which format a file or folder with decisions has, told by what is in it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradattn_core.dataset.text import cause
from gradattn_core.errors import StoreError
from gradattn_core.interchange.sheets import claims_of_csv, claims_of_objects, claims_of_parquet
from gradattn_core.store.claims import Claim

_SPREADSHEET = "xl/workbook.xml", "content.xml"


@dataclass(frozen=True, slots=True)
class Read:
    """What a file says.

    Attributes:
        format: what it was read as, for people.
        claims: in the order in which they were said.
    """

    format: str
    claims: tuple[Claim, ...]


def read_decisions(source: Path, *, all_reviewed: bool = False) -> Read:
    """What a file or a folder says of images, whichever of the known formats it has.

    Args:
        all_reviewed: a label that is still the given one says that it is right, in formats that do not say whether
            somebody has looked at a picture.

    Raises:
        StoreError: where it cannot be read or has none of the formats.
    """
    try:
        with source.open("rb") as file:
            begins = file.read(4096)
    except OSError as error:
        raise StoreError(f"cannot read {source}: {error.strerror}") from error
    if begins.startswith(b"PAR1"):
        return Read("a table", tuple(claims_of_parquet(source, all_reviewed=all_reviewed)))
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            names = archive.namelist()
        if any(name in names for name in _SPREADSHEET):
            raise StoreError(f"{source} is a spreadsheet of its own form; save it as CSV in UTF-8 and import that")
    if begins.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"[", b"{"):
        return _of_json(source, all_reviewed)
    return Read("a table", tuple(claims_of_csv(source, all_reviewed=all_reviewed)))


def _of_json(source: Path, all_reviewed: bool) -> Read:
    content = _json(source)
    if isinstance(content, list):
        return Read("a table", tuple(claims_of_objects(source, content, all_reviewed=all_reviewed)))
    raise StoreError(f"{source} is JSON of no form that has decisions")


def _json(source: Path) -> Sequence[Mapping[str, object]] | Mapping[str, object]:
    """JSON, or an object a line."""
    try:
        text = source.read_text("utf-8-sig")
        try:
            content = json.loads(text)
        except json.JSONDecodeError:
            content = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{source} is not JSON in UTF-8: {cause(error)}") from error
    if isinstance(content, list) and all(isinstance(each, dict) for each in content):
        return content
    if isinstance(content, dict):
        return content
    raise StoreError(f"{source} holds no JSON object, nor a list of them")
