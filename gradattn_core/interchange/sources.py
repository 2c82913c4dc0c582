"""Which format a file or folder with decisions has, told by what is in it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradattn_core.dataset.text import cause
from gradattn_core.errors import StoreError
from gradattn_core.interchange.coco_labels import claims_of_coco
from gradattn_core.interchange.cvat import claims_of_zip
from gradattn_core.interchange.fiftyone_folder import SAMPLES, claims_of_samples
from gradattn_core.interchange.handed import Known
from gradattn_core.interchange.huggingface import METADATA
from gradattn_core.interchange.label_studio import claims_of_tasks, is_tasks
from gradattn_core.interchange.sheets import claims_of_csv, claims_of_objects, claims_of_parquet
from gradattn_core.store.claims import Claim
from gradattn_core.store.store import Store

_SPREADSHEETS = ("xl/workbook.xml", "content.xml")


@dataclass(frozen=True, slots=True)
class Read:
    """What a file says.

    Attributes:
        format: what it was read as, for people.
        claims: in the order in which they were said.
    """

    format: str
    claims: tuple[Claim, ...]


def read_decisions(store: Store, audit_id: str, source: Path, *, all_reviewed: bool = False) -> Read:
    """What a file or a folder says of images, whichever of the known formats it has.

    Args:
        all_reviewed: a label that is still the given one says that it is right, in formats that do not say whether
            somebody has looked at a picture.

    Raises:
        StoreError: where it cannot be read or has none of the formats.
    """
    if source.is_dir():
        source = _file_of(source)
    try:
        with source.open("rb") as file:
            begins = file.read(4096)
    except OSError as error:
        raise StoreError(f"cannot read {source}: {error.strerror}") from error
    if begins.startswith(b"PAR1"):
        return Read("a table", tuple(claims_of_parquet(source, all_reviewed=all_reviewed)))
    if zipfile.is_zipfile(source):
        try:
            with zipfile.ZipFile(source) as archive:
                names = archive.namelist()
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
            raise StoreError(f"{source} is a damaged zip: {cause(error)}") from error
        if any(name in names for name in _SPREADSHEETS):
            raise StoreError(f"{source} is a spreadsheet of its own form; save it as CSV in UTF-8 and import that")
        return Read("ImageNet of CVAT", tuple(claims_of_zip(source, Known(store, audit_id), all_reviewed=all_reviewed)))
    if begins.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] not in (b"[", b"{"):
        return Read("a table", tuple(claims_of_csv(source, all_reviewed=all_reviewed)))
    content = _json(source)
    if isinstance(content, Mapping):
        if "samples" in content:
            return Read(
                "FiftyOne", tuple(claims_of_samples(source, content, Known(store, audit_id), all_reviewed=all_reviewed))
            )
        if "annotations" in content and "categories" in content:
            return Read(
                "COCO", tuple(claims_of_coco(source, content, Known(store, audit_id), all_reviewed=all_reviewed))
            )
        content = [content]
    if is_tasks(content):
        return Read("Label Studio", tuple(claims_of_tasks(source, content, Known(store, audit_id))))
    return Read("a table", tuple(claims_of_objects(source, content, all_reviewed=all_reviewed)))


def _file_of(folder: Path) -> Path:
    """The file of a folder that says what was decided."""
    for name in (SAMPLES, METADATA, "metadata.csv", "metadata.jsonl"):
        if (folder / name).is_file():
            return folder / name
    raise StoreError(
        f"{folder} has neither {SAMPLES} of FiftyOne nor {METADATA} of Hugging Face; of CVAT import the zip itself"
    )


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
