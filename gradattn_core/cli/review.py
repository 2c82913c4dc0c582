"""What is done with an audit's suspects: ``gradattn ui`` reviews, ``rerank`` learns from it."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from gradattn_core import outfolder
from gradattn_core.cli.options import (
    Commands,
    command,
    data_root,
    existing_out,
    open_store,
    out_folder,
    output_style,
    which_audit,
)
from gradattn_core.cli.terminal import is_number, tell
from gradattn_core.estimates import percent

if TYPE_CHECKING:
    from gradattn_core.rerank import Reranking
    from gradattn_core.store.review import ReviewProgress

_STRONGEST = 3


def add(commands: Commands) -> None:
    _add_ui(commands)
    _add_rerank(commands)


def run_ui(options: argparse.Namespace) -> int:
    """Serve the review page until it is stopped."""
    from ui.launch import launch

    directory, root = existing_out(options), data_root(options)
    return launch(
        directory,
        port=options.port,
        address=options.address,
        read_only=options.read_only,
        data_root=None if root is None else Path(root),
        learning=not options.no_learning,
    )


def run_rerank(options: argparse.Namespace) -> int:
    """Learn from the decisions, or go back to the audit's own order."""
    from gradattn_core.learning import EVERY
    from gradattn_core.rerank import rerank, reset

    store = open_store(options, read_only=options.dry_run)
    audit_id = options.audit or store.audits.latest_id()
    if options.reset:
        was = reset(store, audit_id)
        sentence = "the audit's own order is back" if was else "the audit's own order was in force already"
        facts = {"audit_id": audit_id, "reset": was, "learning": False}
        tell(options, facts, [f"{sentence}; the review page no longer learns by itself, until you rerank again"])
        return 0
    learning = store.review.learning(audit_id)
    if options.due and not (learning.on and abs(learning.verdicts - learning.learnt_from) >= EVERY):
        why = f"fewer than {EVERY} decisions have come since it last learnt" if learning.on else "learning is off"
        tell(options, {"audit_id": audit_id, "due": False}, [f"nothing was learnt: {why}"])
        return 0
    if not (options.dry_run or learning.on):
        store.review.switch_learning(audit_id, True)
    reranking = rerank(store, audit_id, dry_run=options.dry_run)
    review = store.review.progress(audit_id)
    sentences = _sentences(reranking, review)
    if options.dry_run:
        sentences.append("nothing was changed (--dry-run)")
    elif store.audits.latest_id() == audit_id:
        sentences.append(f"candidates   {outfolder.candidates(store.directory)}")
    tell(options, _facts(reranking, review) | {"dry_run": options.dry_run}, sentences)
    return 0


def _add_ui(commands: Commands) -> None:
    parser = command(commands, "ui", run_ui, "Open the review page on an audit's results.", "  gradattn ui --port 8600")
    out_folder(parser)
    parser.add_argument("--port", type=int, default=8501, metavar="N")
    parser.add_argument(
        "--address", default="localhost", metavar="HOST", help="whom to listen to (default: this machine only)"
    )
    parser.add_argument("--read-only", action="store_true", help="show, but take no decisions")
    parser.add_argument(
        "--no-learning", action="store_true", help="leave the order as it is, whatever the decisions teach"
    )
    parser.add_argument(
        "--data-root",
        metavar="DIR",
        help="where the dataset's images are now, if they were moved since the audit (default: $GRADATTN_DATA_ROOT, "
        "else where the audit found them)",
    )


def _add_rerank(commands: Commands) -> None:
    parser = command(
        commands,
        "rerank",
        run_rerank,
        "Order what is still undecided by what the decisions so far have taught; the review page does it by itself.",
        "  gradattn rerank\n"
        "  gradattn rerank --dry-run                    # what would come of it; changes nothing\n"
        "  gradattn rerank results/ --audit 20261101T0300-0a1b2c3d\n"
        "  gradattn rerank --reset                      # back to the audit's own order",
    )
    # Absent, it must leave --out alone.
    parser.add_argument("out", metavar="DIR", nargs="?", default=argparse.SUPPRESS, help="output folder, as --out")
    out_folder(parser)
    which_audit(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--reset",
        action="store_true",
        help="back to the order and the suspicions of the audit, and no more learning until the next rerank",
    )
    form.add_argument(
        "--due",
        action="store_true",
        help="only where 50 decisions have come since it last learnt and learning is on, as the review page does",
    )
    form.add_argument("--dry-run", action="store_true", help="learn and report, but change nothing")
    output_style(parser)


def _facts(reranking: Reranking, review: ReviewProgress) -> dict[str, object]:
    from gradattn_core.rerank import phrase

    result = reranking.recalibration
    strongest = result.influences[:_STRONGEST] if result else ()
    return {
        "audit_id": reranking.audit_id,
        "method": reranking.method,
        "used": reranking.used,
        "reason": reranking.reason,
        "decisions": reranking.decisions,
        "wrong": reranking.wrong,
        "precision": review.precision,
        "precision_low": review.precision_low,
        "precision_high": review.precision_high,
        "average_precision_before": result.precision_before if result else None,
        "average_precision_after": result.precision_after if result else None,
        "gain_error": result.gain_error if result else None,
        "strongest": [asdict(influence) | {"words": phrase(influence)} for influence in strongest],
        "lessons": [asdict(lesson) | {"words": lesson.words} for lesson in reranking.lessons],
        "risen": reranking.risen,
        "undecided": reranking.undecided,
        "left": reranking.estimated_left,
        "left_low": reranking.left_low,
        "left_high": reranking.left_high,
    }


def _sentences(reranking: Reranking, review: ReviewProgress) -> list[str]:
    from gradattn_core.rerank import phrase
    from gradattn_core.wording import belief, count_of

    result = reranking.recalibration
    right = reranking.decisions - reranking.wrong
    about = " about suspects" if result else ""
    lines = [
        f"decisions    {reranking.decisions:,}{about}: {reranking.wrong:,} wrong labels, {right:,} right ones",
    ]
    if is_number(review.precision):
        low, high = percent(review.precision_low), percent(review.precision_high)
        share = percent(review.precision, counted=True)
        lines.append(f"precision    {share} of what was decided was wrong ({low} to {high})")
    if result and is_number(result.precision_before) and is_number(result.precision_after):
        lines.append(
            f"order        average precision {result.precision_before:.3f} → {result.precision_after:.3f} on decisions "
            f"that it had not seen, give or take {result.gain_error:.3f}"
        )
    lines.append(f"{'used        ' if reranking.used else 'not used    '} {reranking.reason}")
    strongest = [phrase(influence) for influence in result.influences] if result else []
    lines += [f"learnt       {words}" for words in strongest[:_STRONGEST]]
    lines += [f"learnt       {lesson.words}" for lesson in reranking.lessons[: 0 if result else _STRONGEST]]
    if reranking.risen:
        lines.append(f"new          {count_of(reranking.risen, 'image')} became suspect by what was learnt")
    suspects = count_of(reranking.undecided, "undecided suspect")
    left = belief(reranking.estimated_left, reranking.left_low, reranking.left_high, of=suspects)
    return [*lines, f"left         {left}"]
