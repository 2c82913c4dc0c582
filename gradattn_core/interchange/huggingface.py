"""Suspects as a folder that Hugging Face ``datasets`` loads and the hub takes as it is.

Source: Hugging Face, "Create an image dataset", huggingface.co/docs/datasets/image_dataset: an ``imagefolder`` with
``metadata.parquet``, whose column ``file_name`` names each picture relative to it. It comes back as that file, or as
Parquet files that ``push_to_hub`` makes of it (:mod:`gradattn_core.interchange.sheets`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gradattn_core.interchange.handed import Handed, Left, new_folder, with_pictures

METADATA = "metadata.parquet"
_CARD = """---
task_categories: [image-classification]
---
Suspects of the gradattn audit {audit}: pictures whose label is in doubt. `label` is the one they have; change it,
or write `keep`, `relabel`, `remove` or `unsure` into `decision` (and the class into `new_label`), and
`gradattn import decisions` takes it over.
"""


def write_huggingface(target: Path, images: Sequence[Handed], audit_id: str) -> tuple[int, list[Left]]:
    """Write the folder; returns how many rows it has, and what is left out."""
    told: list[tuple[int, list[Left]]] = []

    def fill(folder: Path) -> None:
        (folder / "images").mkdir()
        there, left = with_pictures(images, lambda _, file, content: (folder / "images" / file).write_bytes(content))
        rows = [{"file_name": f"images/{file}", "label": image.given_label, **image.facts()} for image, file in there]
        pq.write_table(pa.Table.from_pylist(rows), folder / METADATA)
        (folder / "README.md").write_text(_CARD.format(audit=audit_id), "utf-8")
        told.append((len(there), left))

    new_folder(target, fill)
    return told[0]
