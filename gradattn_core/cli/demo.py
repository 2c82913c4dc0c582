"""``gradattn demo``."""

from __future__ import annotations

import argparse

from gradattn_core.demo.run import run_demo


def run(options: argparse.Namespace) -> int:
    """Run the demo."""
    return run_demo(options)
