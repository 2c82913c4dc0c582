"""The small audit again and again at the price of one: only its database is copied."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from gradattn_core.store.store import Store
from tests.helpers import small_audit


def ready(folder: Path, *, images: int = small_audit.IMAGES, suspects: int = small_audit.SUSPECTS) -> Store:
    """A store of its own in ``folder/out``; the pictures are shared between tests, so leave them as they are."""
    out = folder / "out"
    out.mkdir(parents=True)
    shutil.copy(_template(images, suspects).database, out)
    return Store(out)


@functools.cache
def _folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="gradattn-tests-")


@functools.cache
def _template(images: int, suspects: int) -> Store:
    return small_audit.build(Path(_folder().name) / f"{images}-{suspects}", images=images, suspects=suspects)
