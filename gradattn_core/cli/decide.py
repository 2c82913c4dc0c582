"""``gradattn decide`` and ``gradattn import decisions``: what is decided without the page."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from gradattn_core import outfolder
from gradattn_core.cli.options import (
    CommandParser,
    Commands,
    command,
    open_audit,
    out_folder,
    output_style,
    which_audit,
)
from gradattn_core.cli.terminal import tell
from gradattn_core.errors import StoreError

if TYPE_CHECKING:
    from gradattn_core.store.claims import TakenOver
    from gradattn_core.store.store import Store

_UNCHANGED = "change a label in it, or say with --all-reviewed that all labels that are as they were are right"
_HOW = {
    "a table": "write keep, relabel:CLASS, remove or unsure into the column decision; --all-reviewed speaks of a "
    "column label beside given_label",
    "Label Studio": "submit annotations there and export again: a prediction alone says nothing",
    "ImageNet of CVAT": _UNCHANGED,
    "FiftyOne": _UNCHANGED,
    "COCO": _UNCHANGED,
}
"""What a file of each format needs that says nothing."""
_VERBS = ("accept", "keep", "relabel", "remove", "unsure", "undo")


def add(commands: Commands) -> None:
    decide = command(
        commands,
        "decide",
        run_decide,
        "Decide about one image without the page: keep, relabel CLASS, remove, unsure; accept relabels it as "
        "suggested, undo takes back what stands.",
        "  gradattn decide kite/0017.jpg relabel 'bald eagle' --reviewer ann\n"
        "  gradattn decide photos/kite/0018.jpg keep --reviewer ann --note 'seen from below'",
    )
    decide.add_argument("path", metavar="PATH", help="the image, as candidates.csv lists it, or its file")
    decide.add_argument("decision", choices=_VERBS, metavar="DECISION", help=", ".join(_VERBS))
    decide.add_argument("label", metavar="CLASS", nargs="?", help="the right class, with relabel")
    decide.add_argument("--reviewer", metavar="NAME", required=True, help="who decides")
    decide.add_argument("--note", metavar="TEXT", default="", help="why")
    _where(decide)
    parser = command(
        commands,
        "import",
        run_nothing,
        "Take over what was decided elsewhere.",
        "  gradattn import decisions candidates.csv --reviewer ann",
    )
    # Taken so that whoever forgets what to import is told, whatever else they say.
    parser.add_argument("file", nargs="*", help=argparse.SUPPRESS)
    for option in ("--out", "--audit", "--reviewer"):
        parser.add_argument(option, help=argparse.SUPPRESS)
    decisions = parser.add_form(
        "decisions",
        run_import,
        "Take over decisions from a candidates.csv that was edited in a spreadsheet, from an export of gradattn's, or "
        "from Label Studio, CVAT, FiftyOne, Hugging Face or COCO. All of a file or nothing; what is known already is "
        "passed over.",
        "  gradattn import decisions candidates.csv --reviewer ann\n"
        "  gradattn import decisions project-1.json             # of Label Studio, under its annotators' names\n"
        "  gradattn import decisions cvat.zip --reviewer ann --all-reviewed",
    )
    decisions.add_argument("file", metavar="FILE", help="the file, or the folder of FiftyOne, Hugging Face or CVAT")
    decisions.add_argument(
        "--reviewer", metavar="NAME", help="who decided what is new in it (default: whom the file names)"
    )
    decisions.add_argument(
        "--all-reviewed",
        action="store_true",
        help="somebody has looked at every picture in it: labels that are as they were are right; without this they "
        "say nothing, where the format does not tell",
    )
    decisions.add_argument("--dry-run", action="store_true", help="say what would be taken over; changes nothing")
    _where(decisions)


def _where(parser: CommandParser) -> None:
    parser.add_argument("--new-classes", action="store_true", help="also take classes that the dataset does not have")
    which_audit(parser)
    out_folder(parser)
    output_style(parser)


def run_nothing(options: argparse.Namespace) -> int:
    """There is nothing that is imported unless it is said what."""
    raise StoreError("say what to import: gradattn import decisions FILE")


def run_decide(options: argparse.Namespace) -> int:
    """Store one decision, or take one back."""
    from gradattn_core.export import update_candidates
    from gradattn_core.store.claims import Claim

    if (options.label is None) == (options.decision == "relabel"):
        needs = "needs the right CLASS behind it" if options.label is None else "takes no CLASS"
        raise StoreError(f"{options.decision} {needs}, as in: gradattn decide PATH relabel CLASS --reviewer NAME")
    store, audit_id = open_audit(options)
    path, decision, label = _listed(store, audit_id, options.path), options.decision, options.label or ""
    before = store.candidates.one(audit_id, path)
    if decision == "undo":
        undone = store.decisions.undo(audit_id, path, reviewer=options.reviewer)
        result, stored = None, undone is not None
    else:
        if decision == "accept":
            if before is None or not before.suggested_label:
                raise StoreError(f"{path}: no class of the dataset is suggested; say relabel CLASS, or remove")
            decision, label = "relabel", before.suggested_label
        claim = Claim(path, path, decision, label, note=options.note)
        result = store.claims.take_over(audit_id, [claim], reviewer=options.reviewer, new_classes=options.new_classes)
        stored = bool(result.stored)
    update_candidates(store, audit_id)
    now = store.candidates.one(audit_id, path)
    stands = "" if now is None else now.decision
    facts = {
        "audit_id": audit_id,
        "path": path,
        "stored": stored,
        "stands": stands,
        "new_label": "" if now is None else now.new_label,
        "reviewer": "" if now is None else now.reviewer,
        "conflict": bool(now is not None and now.conflict),
    }
    words = "nothing stands about it now" if not stands else f"{facts['reviewer']} said {stands}"
    words += f" {facts['new_label']}" if stands == "relabel" else ""
    known = "" if stored else "nothing to take back; " if decision == "undo" else "known already; "
    lines = [f"{path}: {known}{words}"]
    if result is not None:
        lines += _differ(result)
    tell(options, facts, lines)
    return 0


def run_import(options: argparse.Namespace) -> int:
    """Take over the decisions of a file, all or none."""
    from gradattn_core.export import update_candidates
    from gradattn_core.interchange.sources import read_decisions

    store, audit_id = open_audit(options)
    read = read_decisions(store, audit_id, Path(options.file), all_reviewed=options.all_reviewed)
    if not read.claims:
        raise StoreError(f"{options.file}, read as {read.format}, has no decision in it; {_HOW[read.format]}")
    result = store.claims.take_over(
        audit_id,
        read.claims,
        reviewer=options.reviewer,
        new_classes=options.new_classes,
        dry_run=options.dry_run,
    )
    if not options.dry_run:
        update_candidates(store, audit_id)
    facts = {
        "audit_id": audit_id,
        "format": read.format,
        "read": len(read.claims),
        "stored": result.stored,
        "known": result.known,
        "differing": result.differing,
        "dry_run": options.dry_run,
    }
    lines = [
        f"read         {len(read.claims):,} decisions from {options.file}, {read.format}",
        f"{'new         ' if options.dry_run else 'taken over  '} {result.stored:,}",
        f"known        {result.known:,}",
        *_differ(result),
    ]
    if options.dry_run:
        lines.append("nothing was changed (--dry-run)")
    elif store.audits.latest_id() == audit_id:
        lines.append(f"candidates   {outfolder.candidates(store.directory)}")
    tell(options, facts, lines)
    return 0


def _differ(result: TakenOver) -> list[str]:
    if not result.differing:
        return []
    count = len(result.differing)
    of = f"of {result.differing[0]}" if count == 1 else f"of {count:,} pictures, the first is {result.differing[0]}"
    return [
        f"differs      {of}: another reviewer said something else; both are kept and the newest stands "
        "(gradattn export decisions --conflicts)"
    ]


def _listed(store: Store, audit_id: str, text: str) -> str:
    """The path as the audit lists it, of an image that was named so or by its file."""
    if store.images.known(audit_id, [text]):
        return text
    root = Path(store.audits.one(audit_id).root if store.data_root is None else store.data_root)
    inside = os.path.relpath(os.path.abspath(text), root).replace(os.sep, "/")
    return inside if store.images.known(audit_id, [inside]) else text
