"""``gradattn apply``."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from gradattn_core.apply import (
    Applied,
    Image,
    LeftAlone,
    Plan,
    apply_in_place,
    counted,
    make_tree,
    read_plan,
    sound_changes,
    undo,
)
from gradattn_core.cli.findings import open_store
from gradattn_core.cli.progress import late_progress
from gradattn_core.cli.wording import escape
from gradattn_core.errors import ApplyError
from gradattn_core.export import encode
from gradattn_core.files import write_output
from gradattn_core.store.store import Store

DONE, LEFT_SOME_ALONE = 0, 1
_MANIFESTS = ("csv", "parquet", "jsonl")


def run(options: argparse.Namespace) -> int:
    """Correct the dataset in the way that was chosen, or take that back."""
    _refuse_idle_options(options)
    store = open_store(options, data_root=options.data_root)
    if options.undo:
        return _undo(options)
    audit_id = options.audit or store.audits.latest_id()
    if options.manifest is not None:
        return _manifest(options, store, audit_id)
    if options.dry_run:
        return _dry_run(options, store, audit_id)
    with late_progress("apply", quiet=options.quiet or options.json) as progress:
        plan = read_plan(store, audit_id, everything=not options.in_place)
        if options.in_place:
            applied = apply_in_place(plan, Path(options.out), progress)
        else:
            applied = make_tree(plan, Path(options.to), options.link or "symlink", progress)
    facts = {"audit_id": audit_id, **asdict(applied)}
    return _report(options, facts, _sentences(options, plan, applied), applied.left_alone)


def _refuse_idle_options(options: argparse.Namespace) -> None:
    if options.link is not None and options.to is None:
        raise ApplyError(f"--link {options.link} says how --to makes its tree; give --to DIR")
    for name in ("audit", "data_root"):
        given = getattr(options, name)
        if options.undo and given is not None:
            typed = f"--{name.replace('_', '-')} {given}"
            raise ApplyError(f"{typed} does not go with --undo: the last --in-place is taken back where it was made")
    if options.top < 0:
        raise ApplyError(f"--top {options.top} is negative; give 0 or more")


def _dry_run(options: argparse.Namespace, store: Store, audit_id: str) -> int:
    with late_progress("check", quiet=options.quiet or options.json) as progress:
        plan = read_plan(store, audit_id, everything=True)
        _, left = sound_changes(plan, progress)
    objections = {skipped.path: skipped.reason for skipped in left}
    if options.json:
        rows = [
            {"path": image.path, "given_label": image.given_label, "label": image.label}
            | {"objection": objections.get(image.path)}
            for image in plan.changes
        ]
        counts = dict(zip(("relabelled", "removed", "as_before"), counted(plan.images), strict=True))
        print(json.dumps({"audit_id": plan.audit_id, **counts, "changes": rows}, ensure_ascii=False))
    elif not options.quiet:
        _show_changes(plan, plan.changes, objections, options.top)
    return DONE


def _show_changes(plan: Plan, changes: Sequence[Image], objections: dict[str, str], top: int) -> None:
    console = Console()
    relabelled, removed, as_before = counted(plan.images)
    console.print(
        f"[bold]{relabelled:,}[/] relabelled, [bold]{removed:,}[/] removed, "
        f"{as_before:,} of {len(plan.images):,} images as they are",
        soft_wrap=True,
    )
    if not changes:
        console.print("no standing decision changes a label; gradattn ui is where they are made", soft_wrap=True)
        return
    table = Table("given", "becomes", box=None, pad_edge=False)
    table.add_column("images", justify="right")
    for (given, label), images in Counter((image.given_label, image.label) for image in changes).most_common(top):
        table.add_row(escape(given), _becomes(label), f"{images:,}")
    console.print(table)
    console.print()
    for image in changes[:top]:
        said = f"  [yellow]would be left alone: {escape(objections[image.path])}[/]" if image.path in objections else ""
        console.print(
            f"{escape(image.path)}: {escape(image.given_label)} → {_becomes(image.label)}{said}",
            soft_wrap=True,
            highlight=False,
        )
    if len(changes) > top:
        console.print(f"[dim]{len(changes) - top:,} more; --top {len(changes)} shows all[/]")
    hidden = len(objections) - sum(image.path in objections for image in changes[:top])
    if hidden:
        console.print(f"[yellow]{hidden:,} of those would be left alone[/]")


def _becomes(label: str | None) -> str:
    return "[italic](removed)[/]" if label is None else escape(label)


def _manifest(options: argparse.Namespace, store: Store, audit_id: str) -> int:
    target = Path(options.manifest)
    form = target.suffix.lower().removeprefix(".")
    if form not in _MANIFESTS:
        raise ApplyError(f"{target} does not end in .{', .'.join(_MANIFESTS)}, which gradattn audit reads")
    plan = read_plan(store, audit_id, everything=True)
    if plan.manifest is not None and target.exists() and target.samefile(plan.manifest):
        raise ApplyError(f"{target} is the audited manifest itself; give another file, or --in-place")
    write_output(target, encode("corrected", store.review.corrected(audit_id, folder=target.parent), form))
    applied = Applied(*counted(plan.images))
    facts = {"audit_id": audit_id, **asdict(applied)}
    return _report(options, facts, _sentences(options, plan, applied), ())


def _undo(options: argparse.Namespace) -> int:
    with late_progress("undo", quiet=options.quiet or options.json) as progress:
        undone = undo(Path(options.out), progress)
    sentence = f"{undone.files:,} files are back where they were (applied from audit {undone.audit_id})"
    if not undone.files:
        sentence = "nothing could be taken back"
    return _report(options, asdict(undone), [sentence], undone.left_alone)


def _sentences(options: argparse.Namespace, plan: Plan, applied: Applied) -> list[str]:
    counts = f"{applied.relabelled:,} relabelled, {applied.removed:,} removed"
    if options.in_place:
        already = f"; {applied.already:,} were already" if applied.already else ""
        back = [f"back  gradattn apply --undo --out {options.out}"] if applied.relabelled + applied.removed else []
        return [f"{plan.manifest or plan.root}: {counts}{already}", *back]
    target = options.to or options.manifest
    return [f"{target}: {counts}, {applied.as_before:,} as they were", *applied.notes, f"next  gradattn audit {target}"]


def _report(
    options: argparse.Namespace, facts: dict[str, Any], sentences: Sequence[str], left: Sequence[LeftAlone]
) -> int:
    if options.json:
        print(json.dumps(facts, ensure_ascii=False))
    elif not options.quiet:
        console = Console()
        for sentence in sentences:
            console.print(escape(sentence), soft_wrap=True, highlight=False)
        for skipped in left[: options.top]:
            console.print(
                f"[yellow]left alone[/] {escape(skipped.path)}: {escape(skipped.reason)}",
                soft_wrap=True,
                highlight=False,
            )
        if len(left) > options.top:
            console.print(f"[yellow]{len(left) - options.top:,} more were left alone; --json lists all[/]")
    return LEFT_SOME_ALONE if left else DONE
