"""Small copies of the pictures that the page shows, where these are no plain files of this machine."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor

import pyarrow.parquet as pq
from PIL import Image

from gradattn_core import outfolder
from gradattn_core.audit.plan import Plan
from gradattn_core.audit.sweep import swept_table
from gradattn_core.dataset.address import is_plain_file, whole_picture
from gradattn_core.dataset.decoding import decode_image, read_bytes
from gradattn_core.errors import UnreadableImageError
from gradattn_core.files import write_bytes
from gradattn_core.progress import Progress, silent

SIDE = 512
"""Most pixels of a preview's longer side; smaller pictures keep their size."""
_QUALITY = 80


def write_previews(plan: Plan, progress: Progress = silent) -> int:
    """Keep a preview of every suspect, its neighbours and the exemplars that has none yet, named by its content.

    Comes after the findings. What an interrupted run wrote is kept. A picture that can no longer be read is passed
    over: the page then looks for it where it was and says what is wrong.

    Returns:
        how many were written now; 0 for datasets of plain files, which the page opens itself.
    """
    missing = {
        content_hash: path
        for path, content_hash in _shown(plan).items()
        if not is_plain_file(whole_picture(plan.root), path) and not outfolder.preview(plan.out, content_hash).is_file()
    }
    count = 0
    pool = ThreadPoolExecutor(plan.config.workers or os.cpu_count(), thread_name_prefix="preview")
    try:
        for done, was_written in enumerate(pool.map(lambda each: _write(plan, *each), missing.items()), start=1):
            count += was_written
            progress("previews", done, len(missing))
    finally:
        # On Ctrl-C what has not begun is dropped.
        pool.shutdown(wait=False, cancel_futures=True)
    return count


def _shown(plan: Plan) -> dict[str, str]:
    """Content hash by path of the images that the page shows large or in strips."""
    findings = pq.read_table(plan.files.findings, columns=["path", "is_suspect"])
    paths = set(findings.filter(findings["is_suspect"])["path"].to_pylist())
    paths.update(pq.read_table(plan.files.neighbours, columns=["neighbour_path"])["neighbour_path"].to_pylist())
    paths.update(pq.read_table(plan.files.exemplars, columns=["path"])["path"].to_pylist())
    images = swept_table(plan, ["path", "content_hash"])
    both = zip(images["path"].to_pylist(), images["content_hash"].to_pylist(), strict=True)
    return {path: content_hash for path, content_hash in both if path in paths}


def _write(plan: Plan, content_hash: str, path: str) -> bool:
    target = outfolder.preview(plan.out, content_hash)
    try:
        decoded = decode_image(read_bytes(plan.root, path), path, white=plan.white)
    except UnreadableImageError:
        return False
    if decoded.content_hash != content_hash:
        # Another picture lies there now; under this one's name it would be shown for ever.
        return False
    image = decoded.image
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=_QUALITY, method=2)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(target, buffer.getvalue())
    return True
