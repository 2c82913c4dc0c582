"""``gradattn ui``."""

from __future__ import annotations

import argparse
from pathlib import Path

from gradattn_core.errors import StoreError
from ui.launch import launch


def run(options: argparse.Namespace) -> int:
    """Serve the review page until it is stopped."""
    directory = Path(options.out)
    if not directory.is_dir():
        raise StoreError(f"output folder {options.out}: there is none; run gradattn audit first, or give --out")
    data_root = None if options.data_root is None else Path(options.data_root)
    if data_root is not None and not data_root.is_dir():
        raise StoreError(
            f"--data-root {options.data_root}: there is no such folder; give the one the images are in now"
        )
    return launch(
        directory, port=options.port, address=options.address, read_only=options.read_only, data_root=data_root
    )
