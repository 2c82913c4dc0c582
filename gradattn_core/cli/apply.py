"""``gradattn apply``: the dataset as the reviewers' decisions have it."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gradattn_core.cli.options import Commands, command, data_root, open_store, out_folder, output_style
from gradattn_core.cli.terminal import console, escape, late_progress, table, tell
from gradattn_core.dataset.address import whole_picture
from gradattn_core.errors import ApplyError

if TYPE_CHECKING:
    from gradattn_core.apply.corrections import ApplyResult, Corrections, UntouchedFile
    from gradattn_core.store.store import Store

DONE, LEFT_SOME_ALONE = 0, 1
_MANIFESTS = ("csv", "parquet", "jsonl")
_ANNOTATIONS = "json"


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "apply",
        run,
        "Make the corrected dataset of the reviewers' standing decisions: relabelled images under their new label, "
        "removed ones left out, all others as they are.",
        "  gradattn apply --dry-run\n"
        "  gradattn apply --to corrected/ && gradattn audit corrected/\n"
        "  gradattn apply --manifest corrected.csv\n"
        "  gradattn apply --in-place                    # the dataset itself\n"
        "  gradattn apply --undo                        # and back\n"
        "\nexit code: 0 all done, 1 done but for files that were left alone, 2 nothing done",
    )
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
    way.add_argument(
        "--to",
        metavar="DIR",
        help="a new tree DIR/<label>/… with every image; of annotated boxes the dataset as it is laid out; the dataset "
        "is only read",
    )
    way.add_argument(
        "--manifest",
        metavar="FILE",
        help="a new manifest path,label (.csv, .parquet or .jsonl); as export corrected; of boxes a COCO file (.json)",
    )
    way.add_argument(
        "--in-place",
        action="store_true",
        help="the dataset itself: move files between its class folders, removed ones to OUT/removed; or rewrite its "
        "manifest, the original kept in OUT/manifests; every step is in OUT/applied.jsonl before it is taken",
    )
    way.add_argument("--undo", action="store_true", help="take the last --in-place back; never over what changed since")
    out_folder(parser)
    parser.add_argument("--audit", metavar="ID", help="which audit's images (default: the latest)")
    parser.add_argument(
        "--link",
        choices=("symlink", "hard", "copy"),
        help="what --to makes (default symlink; images are copied where links cannot be made)",
    )
    parser.add_argument(
        "--data-root",
        metavar="DIR",
        help="where the dataset is now, if it was moved since the audit (default: $GRADATTN_DATA_ROOT, else where the "
        "audit found it)",
    )
    parser.add_argument(
        "--judged-only",
        action="store_true",
        help="of --to and --manifest: leave out files that the audit could not read, or passed over; they are taken "
        "along without it",
    )
    parser.add_argument("--top", type=int, default=20, metavar="N", help="how many files to list (default 20)")
    output_style(parser)


def run(options: argparse.Namespace) -> int:
    """Correct the dataset in the way that was chosen, or take that back."""
    from gradattn_core.apply.annotated import write_annotations
    from gradattn_core.apply.corrections import read_corrections
    from gradattn_core.apply.in_place import apply_in_place
    from gradattn_core.apply.tree import make_tree

    _refuse_idle_options(options)
    store = open_store(options, data_root=data_root(options))
    if options.undo:
        return _undo(options)
    audit_id = options.audit or store.audits.latest_id()
    if options.manifest is not None:
        return _manifest(options, store, audit_id)
    if options.dry_run:
        return _dry_run(options, store, audit_id)
    with late_progress("apply", quiet=options.quiet or options.json) as progress:
        corrections = read_corrections(store, audit_id, everything=not options.in_place)
        if options.in_place:
            applied = apply_in_place(corrections, Path(options.out), progress)
        elif corrections.are_boxes:
            if options.judged_only:
                raise ApplyError("--judged-only leaves files out, and a box that was not judged is none; leave it out")
            applied = write_annotations(corrections, Path(options.to), options.link or "symlink", progress)
        else:
            applied = make_tree(
                corrections, Path(options.to), options.link or "symlink", progress, judged_only=options.judged_only
            )
    facts = {"audit_id": audit_id, **asdict(applied)}
    return _report(options, facts, _sentences(options, corrections, applied), applied.left_alone)


def _refuse_idle_options(options: argparse.Namespace) -> None:
    if options.link is not None and options.to is None:
        raise ApplyError(f"--link {options.link} says how --to makes its tree; give --to DIR")
    for name in ("audit", "data_root"):
        given = getattr(options, name)
        if options.undo and given is not None:
            typed = f"--{name.replace('_', '-')} {given}"
            raise ApplyError(f"{typed} does not go with --undo: the last --in-place is taken back where it was made")
    if options.judged_only and options.to is None and options.manifest is None:
        raise ApplyError("--judged-only says what --to and --manifest leave out; give one of them")
    if options.top < 0:
        raise ApplyError(f"--top {options.top} is negative; give 0 or more")


def _dry_run(options: argparse.Namespace, store: Store, audit_id: str) -> int:
    from gradattn_core.apply.corrections import check_changes, count_changes, read_corrections, require_dataset

    with late_progress("check", quiet=options.quiet or options.json) as progress:
        corrections = read_corrections(store, audit_id, everything=True)
        require_dataset(corrections)
        _, left = check_changes(corrections, progress)
    objections = {skipped.path: skipped.reason for skipped in left}
    rows = [
        {
            "path": image.path,
            "given_label": image.given_label,
            "label": image.label,
            "objection": objections.get(image.path),
        }
        for image in corrections.changes
    ]
    counts = dict(zip(("relabelled", "removed", "as_before"), count_changes(corrections.images), strict=True))
    facts = {"audit_id": corrections.audit_id, **counts, "changes": rows}
    tell(options, facts, partial(_show_changes, corrections, objections, options.top))
    return DONE


def _show_changes(corrections: Corrections, objections: dict[str, str], top: int) -> None:
    from gradattn_core.apply.corrections import count_changes

    screen, changes = console(), corrections.changes
    relabelled, removed, as_before = count_changes(corrections.images)
    screen.print(
        f"[bold]{relabelled:,}[/] relabelled, [bold]{removed:,}[/] removed, "
        f"{as_before:,} of {len(corrections.images):,} images as they are",
        soft_wrap=True,
    )
    if not changes:
        screen.print("no standing decision changes a label; gradattn ui is where they are made", soft_wrap=True)
        return
    drawn = table(["given", "becomes"], ["images"])
    for (given, label), images in Counter((image.given_label, image.label) for image in changes).most_common(top):
        drawn.add_row(escape(given), _becomes(label), f"{images:,}")
    screen.print(drawn)
    screen.print()
    for image in changes[:top]:
        said = f"  [yellow]would be left alone: {escape(objections[image.path])}[/]" if image.path in objections else ""
        screen.print(
            f"{escape(image.path)}: {escape(image.given_label)} → {_becomes(image.label)}{said}",
            soft_wrap=True,
            highlight=False,
        )
    if len(changes) > top:
        screen.print(f"[dim]{len(changes) - top:,} more; --top {len(changes)} shows all[/]")
    hidden = len(objections) - sum(image.path in objections for image in changes[:top])
    if hidden:
        screen.print(f"[yellow]{hidden:,} of those would be left alone[/]")


def _becomes(label: str | None) -> str:
    return "[italic](removed)[/]" if label is None else escape(label)


def _manifest(options: argparse.Namespace, store: Store, audit_id: str) -> int:
    from gradattn_core.apply.annotated import write_coco
    from gradattn_core.apply.corrections import ApplyResult, count_changes, read_corrections
    from gradattn_core.export import encode
    from gradattn_core.files import write_output

    target = Path(options.manifest)
    form = target.suffix.lower().removeprefix(".")
    if form not in (*_MANIFESTS, _ANNOTATIONS):
        raise ApplyError(f"{target} does not end in .{', .'.join(_MANIFESTS)}, which gradattn audit reads")
    corrections = read_corrections(store, audit_id, everything=True)
    if corrections.are_boxes and form != _ANNOTATIONS:
        raise ApplyError(
            f"{corrections.dataset} is annotated boxes, of which {target} can hold none; give FILE.json for those of "
            "COCO, or --to DIR (gradattn export corrected has a table of them)"
        )
    if form == _ANNOTATIONS:
        if not corrections.are_boxes:
            raise ApplyError(f"{target} is for annotated boxes; of pictures give .{', .'.join(_MANIFESTS)}")
        with late_progress("apply", quiet=options.quiet or options.json) as progress:
            written = write_coco(corrections, target, progress)
        facts = {"audit_id": audit_id, **asdict(written)}
        return _report(options, facts, _sentences(options, corrections, written), written.left_alone)
    if corrections.manifest is not None and target.exists() and target.samefile(corrections.manifest):
        raise ApplyError(f"{target} is the audited manifest itself; give another file, or --in-place")
    frame = store.review.corrected(audit_id, folder=target.parent, judged_only=options.judged_only)
    write_output(target, encode("corrected", frame, form))
    taken_along = 0 if options.judged_only else sum(file.is_picture for file in corrections.unjudged)
    applied = ApplyResult(
        *count_changes(corrections.images),
        taken_along=taken_along,
        left_out=len(corrections.unjudged) + corrections.unplaced - taken_along,
    )
    facts = {"audit_id": audit_id, **asdict(applied)}
    return _report(options, facts, _sentences(options, corrections, applied), ())


def _undo(options: argparse.Namespace) -> int:
    from gradattn_core.apply.in_place import undo

    with late_progress("undo", quiet=options.quiet or options.json) as progress:
        undone = undo(Path(options.out), progress)
    sentence = f"{undone.files:,} files are back where they were (applied from audit {undone.audit_id})"
    if not undone.files:
        sentence = "nothing could be taken back"
    return _report(options, asdict(undone), [sentence], undone.left_alone)


def _sentences(options: argparse.Namespace, corrections: Corrections, applied: ApplyResult) -> list[str]:
    counts = f"{applied.relabelled:,} relabelled, {applied.removed:,} removed"
    if options.in_place:
        already = f"; {applied.already:,} were already" if applied.already else ""
        back = [f"back  gradattn apply --undo --out {options.out}"] if applied.relabelled + applied.removed else []
        return [f"{corrections.manifest or corrections.root}: {counts}{already}", *applied.notes, *back]
    target = options.to or options.manifest
    others = []
    if applied.taken_along:
        others.append(_taken_along(corrections, applied))
    if applied.left_out:
        others.append(f"{applied.left_out:,} files of the dataset that were not judged are not in it")
    first = f"{target}: {counts}, {applied.as_before:,} as they were"
    root = f" --image-root {whole_picture(corrections.root)}" if corrections.are_boxes and options.manifest else ""
    return [first, *others, *applied.notes, f"next  gradattn audit {target}{root}"]


def _taken_along(corrections: Corrections, applied: ApplyResult) -> str:
    if corrections.are_boxes:
        return f"{applied.taken_along:,} boxes that were not judged are in it too"
    return f"{applied.taken_along:,} that were not judged are in it too; --judged-only leaves them out"


def _report(
    options: argparse.Namespace, facts: dict[str, object], sentences: Sequence[str], left: Sequence[UntouchedFile]
) -> int:
    tell(options, facts, partial(_show, sentences, left, options.top))
    return LEFT_SOME_ALONE if left else DONE


def _show(sentences: Sequence[str], left: Sequence[UntouchedFile], top: int) -> None:
    screen = console()
    for sentence in sentences:
        screen.print(escape(sentence), soft_wrap=True, highlight=False)
    for skipped in left[:top]:
        screen.print(
            f"[yellow]left alone[/] {escape(skipped.path)}: {escape(skipped.reason)}", soft_wrap=True, highlight=False
        )
    if len(left) > top:
        screen.print(f"[yellow]{len(left) - top:,} more were left alone; --json lists all[/]")
