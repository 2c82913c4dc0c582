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
        # Who asks for decisions wants all of them, also on images that no longer are suspects.
        everything=options.decided not in ("any", "no"),
    )
    if options.json:
        sys.stdout.write(frame[[*COLUMNS, "new_label"]].to_json(orient="records", force_ascii=False) + "\n")
    elif options.csv is None:
        sys.stdout.write(candidates_csv(frame))
    else:
        write_candidates(frame, Path(options.csv))
    if options.csv is not None:
        print(f"{len(frame):,} rows in {options.csv}", file=sys.stderr)
    return 0
