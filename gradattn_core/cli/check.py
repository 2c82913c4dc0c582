"""``gradattn check``: what an audit of a dataset would see, before anything is swept."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from gradattn_core.cli.audit import audit_config, audit_options, import_timm
from gradattn_core.cli.options import Commands, command, output_style
from gradattn_core.cli.summary import show_not_judged
from gradattn_core.cli.terminal import console, escape, late_progress, table, tell
from gradattn_core.errors import GradattnError

if TYPE_CHECKING:
    from gradattn_core.audit.dry_run import Check

BEGINS, REFUSED = 0, 2
_CLASSES, _EXAMPLES = 20, 3
_HEADS = {
    "as-is": "the model's own classifier",
    "probe": "a K-fold linear probe on its frozen features",
    "finetune": "K-fold fine-tuning",
    "given": "the predictions that were brought",
}


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "check",
        run,
        "What an audit would see: classes, splits, formats, spellings, copies, what would be passed over, and who "
        "would judge. Takes the options of an audit; sweeps nothing and writes nothing.",
        "  gradattn check photos/\n"
        "  gradattn check photos/ --json\n"
        "  gradattn check labels.csv --label-column species --head probe\n"
        "\nexit code: 0 an audit would begin, whatever was found; 2 it would be refused, and why",
    )
    audit_options(parser)
    output_style(parser)


def run(options: argparse.Namespace) -> int:
    """Look at the dataset and say what is there."""
    import_timm()
    from gradattn_core.audit.dry_run import check_dataset

    config = audit_config(options)
    with late_progress("check", quiet=options.quiet or options.json) as progress:
        found = check_dataset(config, progress)
    tell(options, found, partial(_show, found))
    if found.refusal is None:
        return BEGINS
    if options.json:
        return REFUSED
    raise GradattnError(found.refusal)


def _show(found: Check) -> None:
    screen = console()
    for sentence in _sentences(found):
        screen.print(escape(sentence), soft_wrap=True, highlight=False)
    if found.splits:
        drawn = table(["split"], ["images", "classes"])
        for split in found.splits:
            drawn.add_row(escape(split.name), f"{split.images:,}", f"{split.classes:,}")
        screen.print(drawn)
    if found.classes:
        drawn = table(["class"], ["images"])
        for label, images in list(found.classes.items())[:_CLASSES]:
            drawn.add_row(escape(label), f"{images:,}")
        screen.print(drawn)
        if len(found.classes) > _CLASSES:
            screen.print(f"[dim]{len(found.classes) - _CLASSES:,} more classes; --json has all[/]")
    show_not_judged(found.not_judged, everywhere="--json has all")
    for unread in found.unreadable[:_EXAMPLES]:
        screen.print(f"unreadable  {escape(unread.path)}: {escape(unread.reason)}", soft_wrap=True, highlight=False)
    for warning in found.warnings:
        screen.print(f"[yellow]note[/] {escape(warning)}", soft_wrap=True)


def _sentences(found: Check) -> Iterator[str]:
    if found.images:
        formats = ", ".join(f"{count:,} {ending or 'in tables'}" for ending, count in found.formats.items())
        yield f"{found.images:,} images of {len(found.classes):,} classes in {found.root}: {formats}"
    if found.copies is None:
        yield "copies      not looked for, as the pictures lie elsewhere"
    elif found.copies.groups:
        copies = found.copies
        yield (
            f"copies      {copies.pictures:,} pictures are {copies.groups:,} contents; {copies.under_several_labels:,} "
            f"of these under several labels, {copies.across_splits:,} in several splits"
        )
        for group in copies.examples[:_EXAMPLES]:
            yield f"            {' = '.join(group[:3])}{' = …' if len(group) > 3 else ''}"
    elif found.images or found.splits:
        yield "copies      none"
    if found.tried:
        yield f"tried       {len(found.unreadable):,} of {found.tried:,} pictures cannot be read"
    if found.head:
        yield f"would judge {found.model}, by {_HEADS.get(found.head, found.head)} ({found.head})"
