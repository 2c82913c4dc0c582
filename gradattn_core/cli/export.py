"""``gradattn export``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from gradattn_core.errors import StoreError
from gradattn_core.export import COLUMNS, MEDIA_TYPES, encode
from gradattn_core.files import write_output
from gradattn_core.store.store import Store

_OF_LISTS = ("top", "reviewer", "path_contains")
_OPTIONS = {
    "candidates": (*_OF_LISTS, "min_suspicion", "max_suspicion", "given", "suggested", "kind", "decided", "order"),
    "decisions": (*_OF_LISTS, "decided", "standing", "conflicts"),
    "corrected": (),
    "removals": (),
}
"""The options that choose rows, by what is exported."""


def run(options: argparse.Namespace) -> int:
    """Write what was asked for."""
    if not Path(options.out).is_dir():
        raise StoreError(f"output folder {options.out}: there is none; run gradattn audit first, or give --out")
    _refuse_idle_options(options)
    target = options.csv or options.output
    form = _form(options, target)
    # Not read-only: a database of an older schema is brought up to date.
    store = Store(options.out, data_root=options.data_root)
    frame = _frame(store, options, target)
    if options.json and options.table == "candidates":
        # As it always was; --format json has every column.
        sys.stdout.write(frame[[*COLUMNS, "new_label"]].to_json(orient="records", force_ascii=False) + "\n")
    elif target is not None:
        write_output(Path(target), encode(options.table, frame, form))
        print(f"{len(frame):,} rows in {target}", file=sys.stderr)
    elif form == "parquet":
        sys.stdout.buffer.write(encode(options.table, frame, form))
    else:
        sys.stdout.write(encode(options.table, frame, form).decode())
    return 0


def _frame(store: Store, options: argparse.Namespace, target: str | None) -> pd.DataFrame:
    chosen: dict[str, Any] = {name: getattr(options, name) for name in _OPTIONS[options.table]}
    decided = chosen.pop("decided", None)
    if options.table == "decisions":
        return store.decisions.page(audit_id=options.audit, decision=decided, **chosen)
    audit_id = options.audit or store.audits.latest_id()
    if options.table == "candidates":
        # Who asks for decisions wants all of them, also on images that no longer are suspects.
        chosen |= {"decided": decided or "any", "everything": decided not in (None, "any", "no")}
        return store.candidates.page(audit_id, **{**chosen, "order": options.order or "rank"})
    if options.table == "removals":
        return store.review.removals(audit_id)
    return store.review.corrected(audit_id, folder=Path(target).parent if target else None)


def _refuse_idle_options(options: argparse.Namespace) -> None:
    """An option that would be passed over in silence is a misunderstanding."""
    named = {name for names in _OPTIONS.values() for name in names}
    for name in sorted(named - set(_OPTIONS[options.table])):
        if getattr(options, name) not in (None, False):
            meant = " and ".join(table for table, names in _OPTIONS.items() if name in names)
            raise StoreError(f"--{name.replace('_', '-')} chooses among {meant}, not among {options.table}")
    if options.table == "decisions" and options.decided in ("any", "yes", "no"):
        raise StoreError(
            f"--decided {options.decided} chooses among candidates; of decisions choose keep, relabel, remove, unsure "
            "or undo"
        )
    if options.table == "candidates" and options.decided == "undo":
        raise StoreError("--decided undo chooses among decisions: gradattn export decisions --decided undo")


def _form(options: argparse.Namespace, target: str | None) -> str:
    if options.csv is not None and options.format not in (None, "csv"):
        raise StoreError(f"--csv writes CSV; for {options.format} give -o FILE")
    if options.json and options.format not in (None, "json"):
        raise StoreError(f"--json and --format {options.format} contradict each other; give one")
    if options.json:
        return "json"
    if options.format is not None or options.csv is not None:
        return options.format or "csv"
    ending = Path(target).suffix.lower().removeprefix(".") if target else "csv"
    if ending not in MEDIA_TYPES:
        raise StoreError(f"{target} does not end in .{', .'.join(MEDIA_TYPES)}; give --format too")
    return ending
