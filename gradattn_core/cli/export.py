"""``gradattn export``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gradattn_core.errors import StoreError
from gradattn_core.export import COLUMNS, candidates_csv, write_candidates
from gradattn_core.store import Store


def run(options: argparse.Namespace) -> int:
    """Write the chosen candidates."""
    if not Path(options.out).is_dir():
        raise StoreError(f"output folder {options.out}: there is none; run gradattn audit first, or give --out")
    store = Store(options.out, read_only=True)
    frame = store.candidates(
        options.audit or store.latest_audit_id(),
        given=options.given,
        suggested=options.suggested,
        min_suspicion=options.min_suspicion,
        decided=options.decided,
        top=options.top,
    )
    if options.json:
        text = frame[list(COLUMNS)].to_json(orient="records", force_ascii=False) + "\n"
        if options.csv is None:
            sys.stdout.write(text)
        else:
            Path(options.csv).write_text(text, "utf-8")
    elif options.csv is None:
        sys.stdout.write(candidates_csv(frame))
    else:
        write_candidates(frame, Path(options.csv))
    if options.csv is not None:
        print(f"{len(frame):,} rows in {options.csv}", file=sys.stderr)
    return 0
