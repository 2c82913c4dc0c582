"""``gradattn summary``."""

from __future__ import annotations

import argparse
import json
from typing import Any

from rich.console import Console
from rich.table import Table

from gradattn_core.cli.findings import number, open_audit
from gradattn_core.cli.wording import escape
from gradattn_core.errors import StoreError
from gradattn_core.estimates import first_to_review
from gradattn_core.kinds import KINDS
from gradattn_core.store.store import Store
from gradattn_core.wording import estimate


def run(options: argparse.Namespace) -> int:
    """Show the health of the audited dataset and how far its review is."""
    if options.top < 1:
        raise StoreError(f"--top {options.top} leaves nothing to show; give 1 or more")
    store, audit_id = open_audit(options)
    found = _summary(store, audit_id)
    if options.json:
        found["classes"] = found["classes"][: options.top]
        print(json.dumps(found, ensure_ascii=False))
    else:
        _show(found, options.top)
    return 0


def _summary(store: Store, audit_id: str) -> dict[str, Any]:
    facts = store.audits.summary(audit_id)
    review = store.review.progress(audit_id)
    first = first_to_review(facts["suspects"], facts["images"])
    estimated = {name: number(facts[name]) for name in ("estimated_errors", "estimated_low", "estimated_high")}
    classes = store.audits.class_health(audit_id).to_dict("records")
    return {
        **{name: facts[name] for name in ("audit_id", "dataset", "model", "head", "finished_at")},
        **{name: facts[name] for name in ("images", "suspects", "failures")},
        **estimated,
        "first": first,
        "expected_found": number(store.audits.expected_found(audit_id, first)),
        "classes": [
            {name: number(value) if isinstance(value, float) else value for name, value in row.items()}
            for row in classes
        ],
        "kinds": store.audits.kinds(audit_id),
        "review": {name: number(value) if isinstance(value, float) else value for name, value in review.items()},
        "warnings": list(facts["warnings"]),
    }


def _show(found: dict[str, Any], top: int) -> None:
    console = Console()
    console.print(f"[bold]{escape(found['dataset'])}[/]  {escape(found['audit_id'])}", soft_wrap=True, highlight=False)
    console.print(
        estimate(
            found["estimated_errors"] or 0.0,
            found["estimated_low"],
            found["estimated_high"],
            images=found["images"],
            first=found["first"],
            found=found["expected_found"] or 0.0,
        ),
        soft_wrap=True,
    )
    console.print(_review(found["review"]), soft_wrap=True)
    for warning in found["warnings"]:
        console.print(f"[yellow]note[/] {escape(warning)}", soft_wrap=True)
    console.print()
    console.print(_class_table(found["classes"][:top]))
    if len(found["classes"]) > top:
        console.print(f"[dim]{len(found['classes']) - top:,} more classes; --top {len(found['classes'])} shows all[/]")
    if found["kinds"]:
        console.print()
        console.print(_kind_table(found["kinds"]))


def _review(review: dict[str, Any]) -> str:
    if not review["reviewed"]:
        return f"review: nothing decided yet, {review['suspects']:,} suspects wait"
    precision = "" if review["precision"] is None else f" ({review['precision']:.0%} of the clear ones were wrong)"
    return (
        f"review: {review['reviewed']:,} decided{precision}: {review['wrong']:,} wrong, {review['right']:,} right, "
        f"{review['unsure']:,} unsure; {review['suspects'] - review['suspects_decided']:,} suspects left, "
        f"about {review['estimated_left'] or 0:,.0f} wrong labels left"
    )


def _class_table(classes: list[dict[str, Any]]) -> Table:
    table = Table("class", box=None, pad_edge=False)
    for name in ("images", "suspects", "wrong", "interval", "of its class", "decided"):
        table.add_column(name, justify="right")
    for row in classes:
        wrong = row["wrong"] or 0.0
        table.add_row(
            escape(row["given_label"]),
            f"{row['images']:,}",
            f"{row['suspects']:,}",
            f"{wrong:,.1f}",
            "" if row["low"] is None else f"{row['low']:,.1f}–{row['high']:,.1f}",
            f"{wrong / row['images']:.1%}",
            f"{row['decided']:,}",
        )
    return table


def _kind_table(kinds: dict[str, int]) -> Table:
    table = Table("kind of doubt", box=None, pad_edge=False)
    table.add_column("suspects", justify="right")
    table.add_column("what it means", overflow="fold")
    for kind, suspects in kinds.items():
        table.add_row(escape(kind), f"{suspects:,}", KINDS.get(kind, ""))
    return table
