"""``gradattn audits`` lists what an output folder holds, ``gradattn clean`` frees its space."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gradattn_core import outfolder
from gradattn_core.cli.options import Commands, command, existing_out, out_folder, output_style
from gradattn_core.cli.terminal import console, escape, table, tell

if TYPE_CHECKING:
    from gradattn_core.audit.upkeep import Freed, KeptAudit


def add(commands: Commands) -> None:
    listing = command(
        commands,
        "audits",
        run_audits,
        "The audits of an output folder, finished and unfinished: dataset, time, images, suspects, decisions, space.",
        "  gradattn audits\n  gradattn audits --json",
    )
    out_folder(listing)
    output_style(listing)
    parser = command(
        commands,
        "clean",
        run_clean,
        "Free the space of an output folder: unfinished audits, features that a newer audit has too, drafts of killed "
        "processes, thumbnails. Finished audits, decisions, and what undoes a correction in place stay.",
        "  gradattn clean --dry-run                     # what would go, and how much\n"
        "  gradattn clean\n"
        "  gradattn clean --audit 20261101T0300-0a1b2c3d # one audit, finished or not; decisions stay",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would go, and remove nothing")
    parser.add_argument(
        "--audit", metavar="ID", help="only this audit, from the database too where it is finished; decisions stay"
    )
    out_folder(parser)
    output_style(parser)


def run_audits(options: argparse.Namespace) -> int:
    """List the audits."""
    from gradattn_core.audit.upkeep import kept_audits

    out = existing_out(options).absolute()
    audits, at_work = kept_audits(out), outfolder.is_locked(out)
    tell(options, {"audits": list(audits), "at_work": at_work}, partial(_show_audits, out, audits, at_work))
    return 0


def run_clean(options: argparse.Namespace) -> int:
    """Free space, or say how much there is to free."""
    from gradattn_core.audit.upkeep import clean, clean_audit

    out = existing_out(options).absolute()
    if options.audit is None:
        freed = clean(out, dry_run=options.dry_run)
    else:
        freed = clean_audit(out, options.audit, dry_run=options.dry_run)
    facts = {"dry_run": options.dry_run, "bytes": sum(item.bytes for item in freed), "freed": list(freed)}
    tell(options, facts, partial(_show_freed, out, freed, dry_run=options.dry_run))
    return 0


def _show_audits(out: Path, audits: list[KeptAudit], at_work: bool) -> None:
    screen = console()
    if not audits:
        screen.print(f"there is no audit in {escape(str(out))}", soft_wrap=True, highlight=False)
        return
    drawn = table(["audit", "dataset", "state", "when"], ["images", "suspects", "decided", "work", "features"])
    for audit in audits:
        counts = ("" if number is None else f"{number:,}" for number in (audit.suspects, audit.decisions))
        spaces = (space(size) if size else "" for size in (audit.work_bytes, audit.feature_bytes))
        when = audit.when[:16].replace("T", " ")
        names = (escape(audit.audit_id), escape(audit.dataset), audit.state, escape(when))
        drawn.add_row(*names, f"{audit.images:,}", *counts, *spaces)
    screen.print(drawn)
    if at_work:
        screen.print("[yellow]note[/] an audit is at work here, or the dataset is being corrected")


def _show_freed(out: Path, freed: list[Freed], *, dry_run: bool) -> None:
    screen = console()
    for item in freed:
        screen.print(f"{space(item.bytes):>9}  {escape(item.path)}  {item.what}", soft_wrap=True, highlight=False)
    total = space(sum(item.bytes for item in freed))
    said = f"{total} would be freed" if dry_run else f"{total} freed"
    screen.print(f"{escape(str(out))}: {said if freed else 'nothing to free'}", soft_wrap=True, highlight=False)


def space(size: int) -> str:
    """Bytes as people say them: ``0 B``, ``12 kB``, ``3.4 MB``."""
    if size < 1000:
        return f"{size} B"
    for unit, step in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12)):
        if size < 1000 * step * 0.9995 or unit == "TB":
            break
    return f"{size / step:.0f} {unit}" if size >= 10 * step else f"{size / step:.1f} {unit}"
