"""``gradattn rerank``."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from rich.console import Console

from gradattn_core.cli.findings import number, open_store
from gradattn_core.cli.wording import escape
from gradattn_core.export import CANDIDATES
from gradattn_core.rerank import Reranking, phrase, rerank, reset
from gradattn_core.store.store import Store

_STRONGEST = 3


def run(options: argparse.Namespace) -> int:
    """Learn from the decisions, or go back to the audit's own order."""
    store = open_store(options, read_only=options.dry_run)
    audit_id = options.audit or store.audits.latest_id()
    if options.reset:
        was = reset(store, audit_id)
        sentence = "the audit's own order is back" if was else "the audit's own order was in force already"
        _tell(options, {"audit_id": audit_id, "reset": was}, [sentence])
        return 0
    reranking = rerank(store, audit_id, dry_run=options.dry_run)
    facts = _facts(store, reranking)
    _tell(options, facts | {"dry_run": options.dry_run}, _sentences(options, store, facts, reranking))
    return 0


def _tell(options: argparse.Namespace, facts: dict[str, Any], sentences: list[str]) -> None:
    if options.json:
        print(json.dumps(facts, ensure_ascii=False))
    elif not options.quiet:
        console = Console(highlight=False)
        for sentence in sentences:
            console.print(escape(sentence), soft_wrap=True)


def _facts(store: Store, reranking: Reranking) -> dict[str, Any]:
    result = reranking.recalibration
    review = store.review.progress(reranking.audit_id)
    strongest = result.influences[:_STRONGEST]
    return {
        "audit_id": reranking.audit_id,
        "used": result.used,
        "reason": result.reason,
        "decisions": result.decisions,
        "wrong": result.wrong,
        **{name: number(review[name]) for name in ("precision", "precision_low", "precision_high")},
        "average_precision_before": number(result.precision_before),
        "average_precision_after": number(result.precision_after),
        "gain_error": number(result.gain_error),
        "strongest": [asdict(influence) | {"words": phrase(influence)} for influence in strongest],
        "undecided": reranking.undecided,
        "left": number(reranking.estimated_left),
        "left_low": number(reranking.left_low),
        "left_high": number(reranking.left_high),
    }


def _sentences(options: argparse.Namespace, store: Store, facts: dict[str, Any], reranking: Reranking) -> list[str]:
    right = facts["decisions"] - facts["wrong"]
    lines = [
        f"decisions    {facts['decisions']:,} about suspects: {facts['wrong']:,} wrong labels, {right:,} right ones"
    ]
    if facts["precision"] is not None:
        low, high = facts["precision_low"], facts["precision_high"]
        lines.append(f"precision    {facts['precision']:.0%} of what was decided was wrong ({low:.0%} to {high:.0%})")
    if facts["average_precision_before"] is not None:
        before, after = facts["average_precision_before"], facts["average_precision_after"]
        lines.append(
            f"order        average precision {before:.3f} → {after:.3f} on decisions that it had not seen, "
            f"give or take {facts['gain_error']:.3f}"
        )
    lines.append(f"{'used        ' if facts['used'] else 'not used    '} {facts['reason']}")
    lines += [f"learnt       {influence['words']}" for influence in facts["strongest"]]
    left = f"about {reranking.estimated_left:,.0f} ({reranking.left_low:,.0f} to {reranking.left_high:,.0f})"
    lines.append(f"left         {left} wrong labels among {reranking.undecided:,} undecided suspects")
    if options.dry_run:
        lines.append("nothing was changed (--dry-run)")
    elif store.audits.latest_id() == reranking.audit_id:
        lines.append(f"candidates   {store.directory / CANDIDATES}")
    return lines
