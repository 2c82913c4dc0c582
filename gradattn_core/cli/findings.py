"""What the commands that read audits share."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from gradattn_core.errors import StoreError
from gradattn_core.store.store import Store


def open_audit(options: argparse.Namespace) -> tuple[Store, str]:
    """The store of ``--out`` and the audit that was asked for, or the latest.

    Raises:
        StoreError: there is no such folder or audit.
    """
    store = open_store(options, read_only=True)
    return store, options.audit or store.audits.latest_id()


def open_store(options: argparse.Namespace, *, read_only: bool = False, data_root: str | None = None) -> Store:
    """The store of ``--out``; unless it is read-only, a database of an older schema is brought up to date.

    Raises:
        StoreError: there is no such folder.
    """
    if not Path(options.out).is_dir():
        raise StoreError(f"output folder {options.out}: there is none; run gradattn audit first, or give --out")
    return Store(options.out, read_only=read_only, data_root=data_root)


def number(value: Any) -> float | None:
    """A number as JSON can hold it: what is absent is None, not NaN."""
    return None if value is None or math.isnan(value) else float(value)
