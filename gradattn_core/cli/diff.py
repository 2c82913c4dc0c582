"""``gradattn diff``: what differs between two audits of a dataset."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from gradattn_core.cli.options import Commands, command, open_store, out_folder, output_style
from gradattn_core.cli.terminal import console, escape, is_number, table, tell
from gradattn_core.errors import StoreError
from gradattn_core.kinds import suggestion

if TYPE_CHECKING:
    import pandas as pd

    from gradattn_core.store.audits import Audit
    from gradattn_core.store.store import Store

_TITLES = {
    "new_suspects": "new suspects",
    "gone_suspects": "no longer suspects",
    "new_images": "new images",
    "gone_images": "images that are gone",
    "changed_images": "images changed at the same path",
    "relabelled_images": "images relabelled",
    "moved_images": "images moved under the same label",
}
_HEADS = {"given_label": "label", "suggested_label": "looks like", "old_path": "was", "old_label": "label before"}
_SIDE = (
    *("audit_id", "dataset", "finished_at", "images", "suspects"),
    *("estimated_errors", "estimated_low", "estimated_high"),
)


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "diff",
        run,
        "What a second audit of a dataset has that the first had not: suspects, images, labels.",
        "  gradattn diff                                # the newest audit against the one of its dataset before\n"
        "  gradattn diff 20261101T0300-0a1b2c3d 20261108T0300-4e5f6a7b --top 50\n"
        "  gradattn diff --csv new.csv",
    )
    parser.add_argument(
        "audits",
        metavar="AUDIT",
        nargs="*",
        help="the earlier and the later audit; of one, the difference to the one of the same dataset before it, or "
        "of its pictures elsewhere "
        "(default: of the newest)",
    )
    out_folder(parser)
    parser.add_argument("--top", type=int, default=10, metavar="N", help="how many of each list (default 10)")
    parser.add_argument(
        "--csv",
        metavar="FILE",
        help="write all new suspects there; cells that a spreadsheet would run as a formula start with an apostrophe",
    )
    output_style(parser)


def run(options: argparse.Namespace) -> int:
    """Show what differs between two audits."""
    if options.top < 0:
        raise StoreError(f"--top {options.top} is negative; give 0 or more")
    from gradattn_core.export import new_suspects_csv
    from gradattn_core.files import write_output

    store = open_store(options)
    before, after = _pair(store, options.audits)
    with _waiting(quiet=options.quiet or options.json):
        difference = store.audits.difference(before, after)
        # The CSV file has all new suspects, so then the lists are read whole.
        lists = store.audits.changes(before, after, top=None if options.csv else options.top)
    # What is in other lists is no news of its own.
    counts = {name: getattr(difference, name) for name in _TITLES}
    counts |= {"new_images": difference.added_images, "gone_images": difference.removed_images}
    if options.csv:
        write_output(Path(options.csv), new_suspects_csv(lists["new_suspects"]))
    sides = store.audits.one(before), store.audits.one(after)
    shown = {name: frame.head(options.top) for name, frame in lists.items()}
    facts = {name: _side(audit) for name, audit in zip(("before", "after"), sides, strict=True)}
    notes = [] if store.audits.are_of_one_dataset(before, after) or len(options.audits) == 2 else [_other(*sides)]
    facts_and_lists = {**facts, "counts": counts, **shown, "warnings": notes}
    tell(options, facts_and_lists, partial(_show, *sides, counts, shown, notes))
    return 0


def _other(before: Audit, after: Audit) -> str:
    """That the audit before is of another dataset."""
    return (
        f"{after.dataset} has no audit before this one, so it is compared with the newest one that has pictures of "
        f"it, of {before.dataset}; gradattn diff AUDIT AUDIT compares any two"
    )


def _waiting(*, quiet: bool) -> AbstractContextManager[object]:
    """A sign of life on a terminal while the database compares, seconds where there are millions of images."""
    return nullcontext() if quiet else Console(stderr=True).status("comparing")


def _pair(store: Store, audits: list[str]) -> tuple[str, str]:
    if len(audits) > 2:
        raise StoreError(f"{len(audits)} audits were named ({', '.join(audits)}); a difference is between two")
    if len(audits) == 2:
        return audits[0], audits[1]
    after = audits[0] if audits else store.audits.latest_id()
    return store.audits.previous_id(after), after


def _side(audit: Audit) -> dict[str, object]:
    return {name: getattr(audit, name) for name in _SIDE}


def _show(
    before: Audit, after: Audit, counts: dict[str, int], lists: dict[str, pd.DataFrame], notes: list[str]
) -> None:
    screen = console()
    screen.print(
        f"[bold]{escape(after.dataset)}[/]  {escape(before.audit_id)} → {escape(after.audit_id)}",
        soft_wrap=True,
        highlight=False,
    )
    screen.print(
        f"images {before.images:,} → {after.images:,}, suspects {before.suspects:,} → {after.suspects:,}, "
        f"labels wrong as the model believes {_estimate(before)} → {_estimate(after)}",
        soft_wrap=True,
    )
    for note in notes:
        screen.print(f"[yellow]note[/] {escape(note)}", soft_wrap=True, highlight=False)
    if not any(counts.values()):
        screen.print("nothing else differs")
    for name, title in _TITLES.items():
        if counts[name]:
            screen.print(f"\n{title}: [bold]{counts[name]:,}[/]")
            _show_list(screen, _short(lists[name]) if name == "gone_suspects" else lists[name], counts[name])


def _estimate(audit: Audit) -> str:
    if not is_number(audit.estimated_errors):
        return "?"
    low, high = audit.estimated_low, audit.estimated_high
    interval = f" ({low:,.0f} to {high:,.0f})" if is_number(low) and is_number(high) else ""
    return f"{audit.estimated_errors:,.0f}{interval}"


def _short(gone: pd.DataFrame) -> pd.DataFrame:
    """What became of each suspect in one column, and whether that is what reviewers said."""
    became = []
    for why, label, decision, new_label in gone[["why", "label_now", "decision", "new_label"]].itertuples(index=False):
        done = (why == "removed" and decision == "remove") or (why == "relabelled" and label == new_label)
        said = ", as decided" if done else f", decided: {decision}" if decision else ""
        became.append((f"{why}: {label}" if why == "relabelled" else why) + said)
    return gone[["rank", "path", "given_label", "suspicion"]].assign(**{"what became of it": became})


def _show_list(screen: Console, frame: pd.DataFrame, count: int) -> None:
    if len(frame):
        drawn = table([])
        for name in frame.columns:
            drawn.add_column(_HEADS.get(str(name), str(name)), overflow="fold")
        if "suggested_label" in frame:
            frame = frame.assign(suggested_label=frame["suggested_label"].map(suggestion))
        for row in frame.itertuples(index=False):
            drawn.add_row(*(f"{cell:.2f}" if isinstance(cell, float) else escape(str(cell)) for cell in row))
        screen.print(drawn)
    if count > len(frame):
        screen.print(f"[dim]{count - len(frame):,} more; --top {count} shows all[/]")
