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
    return launch(directory, port=options.port, address=options.address, read_only=options.read_only)
