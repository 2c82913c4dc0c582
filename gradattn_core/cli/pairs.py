"""``gradattn pairs``."""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from gradattn_core.cli.findings import number, open_audit
from gradattn_core.cli.wording import escape
from gradattn_core.errors import StoreError
from gradattn_core.records import FloatArray
from gradattn_core.store.store import Store
from gradattn_core.wording import STANDS_OUT, heaviest_ninth

_EXAMPLES = 3
# Of so many pairs the files are named in the text; --json names those of all.
_SHOWN = 3


def run(options: argparse.Namespace) -> int:
    """Show the class pairs with suspects, most expected wrong labels first."""
    store, audit_id = open_audit(options)
    if options.top < 1:
        raise StoreError(f"--top {options.top} leaves nothing to show; give 1 or more")
    frame = store.audits.class_pairs(audit_id)
    for column, wanted in (("given_label", options.given), ("suggested_label", options.suggested)):
        if wanted is not None:
            _require_class(store, audit_id, wanted)
            frame = frame[frame[column] == wanted]
    pairs = [_pair(store, audit_id, row) for row in frame.head(options.top).to_dict("records")]
    if options.json:
        print(json.dumps(pairs, ensure_ascii=False))
    elif not pairs:
        print("no suspects" if options.given is None and options.suggested is None else "no suspects of this pair")
    else:
        _show(pairs, len(frame))
    return 0


def place(evidence: FloatArray) -> str:
    """Where most of the evidence for the other class lies, in words.

    Args:
        evidence: [grid height, grid width] signed map; negative speaks for the other class.

    Returns:
        ``upper left``, ``top``, ``middle`` …; ``all over`` where no ninth of the picture holds more than twice its
        share; empty where nothing speaks for the other class.
    """
    heaviest = heaviest_ninth(np.clip(-evidence, 0, None))
    if heaviest is None:
        return ""
    ninth, share = heaviest
    return ninth.name if share >= STANDS_OUT else "all over"


def _require_class(store: Store, audit_id: str, label: str) -> None:
    classes = store.audits.classes(audit_id)
    if label not in classes:
        shown = ", ".join(classes[:10]) + (" …" if len(classes) > 10 else "")
        raise StoreError(f"audit {audit_id} has no class {label!r}; it has {shown}")


def _pair(store: Store, audit_id: str, row: dict[Any, Any]) -> dict[str, Any]:
    given, suggested = row["given_label"], row["suggested_label"]
    evidence = store.audits.pair_map(audit_id, given, suggested)
    examples = store.candidates.page(audit_id, given=given, suggested=suggested, top=_EXAMPLES)
    return {
        "given_label": given,
        "suggested_label": suggested,
        "suspects": int(row["suspects"]),
        "decided": int(row["decided"]),
        **{name: number(row[name]) for name in ("expected", "lift", "share", "mean_suspicion")},
        "where": "" if evidence is None else place(evidence),
        "most_suspect": list(examples["path"]),
        "exemplars": {label: list(store.images.exemplars(audit_id, label)["path"]) for label in (given, suggested)},
    }


def _show(pairs: list[dict[str, Any]], known: int) -> None:
    table = Table("given", "looks like", box=None, pad_edge=False)
    for name in ("suspects", "wrong", "lift", "of its class"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("where it shows", no_wrap=True)
    for pair in pairs:
        table.add_row(
            escape(pair["given_label"]),
            escape(pair["suggested_label"]),
            f"{pair['suspects']:,}",
            "" if pair["expected"] is None else f"{pair['expected']:,.1f}",
            "" if pair["lift"] is None else f"{pair['lift']:.1f}×",
            "" if pair["share"] is None else f"{pair['share']:.1%}",
            pair["where"],
        )
    console = Console()
    console.print(table)
    if known > len(pairs):
        console.print(f"[dim]{known - len(pairs):,} more pairs; --top {known} shows them all[/]")
    for pair in pairs[:_SHOWN]:
        given, suggested = pair["given_label"], pair["suggested_label"]
        console.print(f"\n{escape(given)} → {escape(suggested)}", soft_wrap=True, highlight=False)
        examples = {"most suspect": pair["most_suspect"]}
        examples |= {f"a sure {label}": paths for label, paths in pair["exemplars"].items()}
        for what, paths in examples.items():
            for path in paths[:_EXAMPLES]:
                console.print(f"  {escape(what)}: {escape(path)}", soft_wrap=True, highlight=False)
