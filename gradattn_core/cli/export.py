"""What an audit found and what reviewers said as files of one table: ``gradattn export`` and its forms."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gradattn_core.cli import other_tools
from gradattn_core.cli.choosing import check_rows, checked_names, chosen_rows, row_options
from gradattn_core.cli.options import CommandParser, Commands, Run, command, open_store, out_folder
from gradattn_core.cli.terminal import print_bytes
from gradattn_core.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

    from gradattn_core.store.store import Store

_ESCAPED = "cells of CSV that a spreadsheet would run as a formula start with an apostrophe"


def run_images(options: argparse.Namespace) -> int:
    """Write every image."""
    return _export(
        options,
        "images",
        lambda store: store.candidates.page(options.audit or store.audits.latest_id(), everything=True),
    )


def run_pair_table(options: argparse.Namespace) -> int:
    """Write the class pairs."""
    return _export(options, "pairs", lambda store: store.audits.class_pairs(options.audit or store.audits.latest_id()))


def run_neighbours(options: argparse.Namespace) -> int:
    """Write the neighbours of every suspect."""
    return _export(
        options,
        "neighbours",
        lambda store: store.images.all_neighbours(options.audit or store.audits.latest_id()),
    )


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "export",
        run_candidates,
        "Write the candidates, or decisions, corrected labels, removals or failures, to a file or to the terminal.",
        "  gradattn export --csv candidates.csv\n"
        "  gradattn export --given kite --suggested 'bald eagle' --top 20\n"
        "  gradattn export --decided relabel --csv corrections.csv\n"
        "  gradattn export decisions --reviewer ann -o log.parquet\n"
        "  gradattn export corrected -o photos/corrected.csv && gradattn audit photos/corrected.csv",
    )
    parser.forms["candidates"] = parser
    _file_options(parser, "which audit (default: the latest)")
    row_options(parser)
    decisions = parser.add_form(
        "decisions",
        run_decisions,
        "The log of everything that was decided and undone, in all audits, newest first.",
        "  gradattn export decisions --standing --json\n  gradattn export decisions --reviewer ann -o log.parquet",
    )
    _file_options(decisions, "only from this audit (default: from all)")
    _decision_options(decisions)
    corrected = parser.add_form(
        "corrected",
        run_corrected,
        "A manifest path,label of the whole audit, with standing relabels applied and removed images left out.",
        "  gradattn export corrected -o photos/corrected.csv && gradattn audit photos/corrected.csv",
    )
    _file_options(
        corrected,
        "which audit (default: the latest)",
        "labels are as they are, for programs; gradattn audit reads csv, parquet and jsonl",
    )
    corrected.add_argument(
        "--judged-only",
        action="store_true",
        help="leave out pictures that the audit could not read, or whose labels were left out of it",
    )
    corrected.add_argument(
        "--data-root",
        metavar="DIR",
        help="the folder that the paths start from (default: the dataset's root as audited); they are absolute, but "
        "relative where they lie below the folder of FILE",
    )
    removals = parser.add_form(
        "removals",
        run_removals,
        "The images that are to be taken away, who said so, and why.",
        "  gradattn export removals --csv removals.csv",
    )
    _file_options(removals, "which audit (default: the latest)")
    failures = parser.add_form(
        "failures",
        run_failures,
        "What was not judged, and why: pictures that could not be read, files of other kinds, labels left out; and "
        "suspects without a map.",
        "  gradattn export failures\n  gradattn export failures --csv failures.csv",
    )
    _file_options(failures, "which audit (default: the latest)")
    for name, (run, summary) in _TABLES.items():
        form = parser.add_form(name, run, summary, f"  gradattn export {name} -o {name}.parquet")
        _file_options(form, "which audit (default: the latest)")
    other_tools.add_forms(parser)


def run_candidates(options: argparse.Namespace) -> int:
    """Write the suspects, or whichever images the options choose."""
    check_rows(options)
    return _export(
        options,
        "candidates",
        lambda store: chosen_rows(options, store, options.audit or store.audits.latest_id()),
    )


def run_decisions(options: argparse.Namespace) -> int:
    """Write the log of what was decided and undone."""
    return _export(
        options,
        "decisions",
        lambda store: store.decisions.page(
            top=options.top,
            # The log is of all audits where none is named.
            audit_id=None if options.audit is None else checked_names(options, store, options.audit),
            decision=options.decided,
            reviewer=options.reviewer,
            path_contains=options.path_contains,
            standing=options.standing,
            conflicts=options.conflicts,
        ),
    )


def run_corrected(options: argparse.Namespace) -> int:
    """Write the audited dataset as the reviewers left it, as a manifest."""
    target = options.csv or options.output
    status = _export(
        options,
        "corrected",
        lambda store: store.review.corrected(
            options.audit or store.audits.latest_id(),
            folder=Path(target).parent if target else None,
            judged_only=options.judged_only,
        ),
        data_root=options.data_root,
    )
    others = 0 if options.judged_only or not target else _unjudged_pictures(options)
    if others:
        print(f"{others:,} of them were not judged; --judged-only leaves them out", file=sys.stderr)
    return status


def _unjudged_pictures(options: argparse.Namespace) -> int:
    store = open_store(options, data_root=options.data_root)
    return int(store.review.unjudged(options.audit or store.audits.latest_id())["is_picture"].sum())


def run_removals(options: argparse.Namespace) -> int:
    """Write which images are to be taken away."""
    return _export(options, "removals", lambda store: store.review.removals(options.audit or store.audits.latest_id()))


def run_failures(options: argparse.Namespace) -> int:
    """Write what could not be used or was passed over."""
    return _export(options, "failures", lambda store: store.audits.failures(options.audit or store.audits.latest_id()))


_TABLES: dict[str, tuple[Run, str]] = {
    "images": (run_images, "Every image of the audit: its place in the order, what is suggested, what was decided."),
    "pairs": (run_pair_table, "The class pairs that have suspects, with counts, share and lift."),
    "neighbours": (run_neighbours, "The images most like each suspect, nearest first."),
}


def _columns(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _file_options(parser: CommandParser, audit: str, cells: str = _ESCAPED) -> None:
    out_folder(parser)
    parser.add_argument("--audit", metavar="ID", help=audit)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("-o", "--output", metavar="FILE", help="where to write (default: standard output)")
    form.add_argument("--csv", metavar="FILE", help="write CSV there")
    form.add_argument("--json", action="store_true", help="JSON records on standard output")
    parser.add_argument(
        "--format",
        choices=("csv", "parquet", "json", "jsonl"),
        help=f"default: the ending of FILE, else csv; {cells}",
    )
    parser.add_argument(
        "--columns",
        type=_columns,
        metavar="A,B,…",
        help="these columns in this order; --json has the names of all (default: all, of CSV the documented ones)",
    )
    parser.add_argument("--excel", action="store_true", help="CSV for Excel, which needs a mark to read letters like ü")


def _decision_options(parser: CommandParser) -> None:
    group = parser.add_argument_group("rows")
    group.add_argument("--top", type=int, metavar="N", help="only the first N, the newest")
    group.add_argument(
        "--decided", choices=("keep", "relabel", "remove", "unsure", "undo"), help="only where this was said"
    )
    group.add_argument("--reviewer", metavar="NAME", help="only what this reviewer said")
    group.add_argument("--path-contains", metavar="TEXT", help="only with this text in the path")
    group.add_argument("--standing", action="store_true", help="only decisions that stand")
    group.add_argument("--conflicts", action="store_true", help="only last words of reviewers who differ")


def _export(
    options: argparse.Namespace, table: str, rows: Callable[[Store], pd.DataFrame], *, data_root: str | None = None
) -> int:
    from gradattn_core.export import encode
    from gradattn_core.files import write_output

    # Not read-only: a database of an older schema is brought up to date.
    store = open_store(options, data_root=data_root)
    target, form = options.csv or options.output, _format(options)
    if options.excel and form != "csv":
        raise StoreError(f"--excel is for CSV, and this is {form}; leave it out")
    frame = rows(store)
    content = encode(table, frame, form, excel=options.excel, columns=options.columns)
    if target is not None:
        write_output(Path(target), content)
        print(f"{len(frame):,} rows in {target}", file=sys.stderr)
    else:
        print_bytes(content)
    return 0


def _format(options: argparse.Namespace) -> str:
    from gradattn_core.export import MEDIA_TYPES

    if options.csv is not None and options.format not in (None, "csv"):
        raise StoreError(f"--csv writes CSV; for {options.format} give -o FILE")
    if options.json and options.format not in (None, "json"):
        raise StoreError(f"--json and --format {options.format} contradict each other; give one")
    if options.json:
        return "json"
    if options.format is not None or options.csv is not None:
        return options.format or "csv"
    ending = Path(options.output).suffix.lower().removeprefix(".") if options.output else "csv"
    if ending not in MEDIA_TYPES:
        raise StoreError(f"{options.output} does not end in .{', .'.join(MEDIA_TYPES)}; give --format too")
    return ending
