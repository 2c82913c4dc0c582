"""``gradattn summary`` and ``gradattn pairs``, and the table at the end of an audit: what was found, in short."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.table import Table

from gradattn_core.cli.options import CommandParser, Commands, command, open_audit, out_folder, require_one_of
from gradattn_core.cli.terminal import console, escape, is_number, table, tell
from gradattn_core.errors import StoreError
from gradattn_core.estimates import agreement, first_to_review, percent
from gradattn_core.kinds import KINDS, suggestion

if TYPE_CHECKING:
    import pandas as pd

    from gradattn_core.records import AuditSummary, Difference, FloatArray, Unjudged
    from gradattn_core.store.audits import Audit
    from gradattn_core.store.proof import SpotCheck
    from gradattn_core.store.review import ReviewProgress
    from gradattn_core.store.store import Store

_FACTS = (
    *("audit_id", "dataset", "model", "head", "finished_at", "images", "suspects"),
    *("failures", "skipped"),
    *("estimated_errors", "estimated_low", "estimated_high"),
)
_WORST_PAIRS = 5
# Of a table on the screen; a program gets all of them.
_CLASSES, _PAIRS = 10, 20
_EXAMPLES = 3
# Of so many pairs the files are named in the text; --json names those of all.
_PAIRS_WITH_EXAMPLES = 3
_KINDS_NOT_JUDGED = 5


@dataclass(frozen=True)
class Health:
    """How an audited dataset is.

    Attributes:
        first, expected_found: the ``first`` most suspect images hold this share, 0 to 1, of all that the model believes
            to be wrong.
        check: of ``Store.draws.checked``.
        classes: of ``Store.audits.class_health``.
        kinds: how many suspects there are of each kind of doubt.
        agreeing, measured: of ``Store.audits.measured_regions``.
        not_judged: what could not be used or was passed over.
    """

    audit: Audit
    first: int
    expected_found: float
    classes: pd.DataFrame
    kinds: dict[str, int]
    review: ReviewProgress
    agreeing: int
    measured: int
    not_judged: tuple[Unjudged, ...]
    check: SpotCheck | None


@dataclass(frozen=True)
class PairReport:
    """A given label, what suspects of it look like, and where to look.

    Attributes:
        expected: how many of the ``suspects`` the model believes to have a wrong label; ``share`` is the suspects' of
            all images of the class.
        lift: how many times more suspects there are than if the two classes had nothing to do with each other.
        where: most of the evidence for the suggested label lies, see :func:`place`.
        suggested_label: empty where the suspects are of no class of the dataset; ``outside_labels`` are then the
            model's own classes for them, the commonest first.
        most_suspect: paths of the most suspect images; ``exemplars`` of sure ones by label.
    """

    given_label: str
    suggested_label: str
    suspects: int
    decided: int
    expected: float
    lift: float
    share: float
    mean_suspicion: float
    where: str
    most_suspect: list[str]
    exemplars: dict[str, list[str]]
    outside_labels: list[str]


def add(commands: Commands) -> None:
    summary = command(
        commands,
        "summary",
        run_summary,
        "How many labels are wrong, as the model believes or a random check measured, in total and per class, the "
        "kinds of doubt, and how far the review is.",
        "  gradattn summary\n  gradattn summary --top 5 --json",
    )
    _source(summary)
    summary.add_argument(
        "--top", type=int, metavar="N", help=f"how many classes, worst first (default {_CLASSES}; all with --json)"
    )
    pairs = command(
        commands,
        "pairs",
        run_pairs,
        "Which class is polluted by which: given label, what its suspects look like, how many, and where to look.",
        "  gradattn pairs\n  gradattn pairs --given kite --top 3\n  gradattn pairs --json",
    )
    _source(pairs)
    pairs.add_argument("--given", metavar="LABEL", help="only this given label")
    pairs.add_argument("--suggested", metavar="LABEL", help="only this suggested label; '' for none of the classes")
    pairs.add_argument(
        "--top", type=int, metavar="N", help=f"how many pairs, worst first (default {_PAIRS}; all with --json)"
    )


def _source(parser: CommandParser) -> None:
    out_folder(parser)
    parser.add_argument("--audit", metavar="ID", help="which audit (default: the latest)")
    parser.add_argument("--json", action="store_true", help="JSON on standard output")


def run_summary(options: argparse.Namespace) -> int:
    """Show the health of the audited dataset and how far its review is."""
    from gradattn_core.store.unjudged import by_kind

    top = _top(options, _CLASSES)
    store, audit_id = open_audit(options)
    audit = store.audits.one(audit_id)
    first = first_to_review(audit.suspects, audit.images)
    health = Health(
        audit,
        first,
        store.audits.expected_found(audit_id, first),
        store.audits.class_health(audit_id),
        store.audits.kinds(audit_id),
        store.review.progress(audit_id),
        *store.audits.measured_regions(audit_id),
        by_kind(store.audits.failures(audit_id)),
        store.draws.checked(audit_id),
    )
    tell(options, _health_facts(health, top), partial(_show_health, health, top))
    return 0


def run_pairs(options: argparse.Namespace) -> int:
    """Show the class pairs with suspects, those with most labels believed wrong first."""
    top = _top(options, _PAIRS)
    store, audit_id = open_audit(options)
    frame = store.audits.class_pairs(audit_id)
    for column, label in (("given_label", options.given), ("suggested_label", options.suggested)):
        # The empty one is no class: it is suggested where a picture is of none.
        if label is not None and (label or column == "given_label"):
            require_one_of(f"audit {audit_id} has no class {label!r}", label, store.audits.classes(audit_id))
            frame = frame[frame[column] == label]
    pairs = [_pair_report(store, audit_id, row) for row in frame.head(top).itertuples()]
    nothing = "no suspects" if options.given is None and options.suggested is None else "no suspects of this pair"
    tell(options, pairs, partial(_show_pairs, pairs, len(frame)) if pairs else [nothing])
    return 0


def show_audit(summary: AuditSummary, out: str) -> None:
    """The short table at the end of an audit."""
    from gradattn_core.wording import estimate_of

    screen = console()
    screen.print(
        f"[bold]{summary.images:,}[/] images, [bold]{summary.suspects:,}[/] suspects, "
        f"{summary.failures:,} failures, {summary.skipped:,} files skipped"
    )
    screen.print(estimate_of(summary), soft_wrap=True)
    if summary.checked:
        screen.print(summary.checked, soft_wrap=True)
    if summary.measured:
        screen.print(agreement(summary.agreeing, summary.measured), soft_wrap=True)
    if summary.news is not None:
        screen.print(news(summary.news), soft_wrap=True, highlight=False)
    if summary.class_pairs:
        screen.print(_worst_pairs(summary))
    show_not_judged(summary.not_judged)
    for warning in summary.warnings:
        screen.print(f"[yellow]note[/] {escape(warning)}", soft_wrap=True)
    if summary.seconds:
        times = ", ".join(f"{stage} {seconds:,.0f} s" for stage, seconds in summary.seconds.items())
        screen.print(f"[dim]{times}[/]", soft_wrap=True)
    if summary.computed:
        screen.print(f"computed    {escape(summary.computed)}", soft_wrap=True, highlight=False)
    screen.print(f"candidates  {escape(str(summary.candidates))}", soft_wrap=True, highlight=False)
    screen.print(f"database    {escape(str(summary.database))}", soft_wrap=True, highlight=False)
    screen.print(f"next        gradattn ui --out {escape(out)}", soft_wrap=True, highlight=False)


def show_not_judged(groups: Sequence[Unjudged], everywhere: str = "gradattn export failures names each") -> None:
    """A line for each of the first groups of what was not judged, and where the others are."""
    screen = console()
    for group in groups[:_KINDS_NOT_JUDGED]:
        where = f" of {group.given_label}" if group.given_label else ""
        counted = f"{group.files:,} {group.ending or 'without an ending'}"
        screen.print(
            escape(f"not judged  {counted if group.files > 1 else group.example}{where}: {group.reason}"),
            soft_wrap=True,
            highlight=False,
        )
    if len(groups) > _KINDS_NOT_JUDGED:
        rest = sum(group.files for group in groups[_KINDS_NOT_JUDGED:])
        screen.print(f"[dim]and {rest:,} more files; {everywhere}[/]")


def news(since: Difference) -> str:
    """One line on what has changed since the audit before."""
    return f"since audit {escape(since.since)}: {since.words} [dim](gradattn diff lists them)[/]"


def place(evidence: FloatArray) -> str:
    """Where most of the evidence for the other class lies, in words.

    Args:
        evidence: [grid height, grid width] signed map; negative speaks for the other class.

    Returns:
        ``upper left``, ``top``, ``middle`` …; ``all over`` where no ninth of the picture holds more than twice its
        share; empty where nothing speaks for the other class.
    """
    from gradattn_core.wording import STANDS_OUT, heaviest_ninth

    heaviest = heaviest_ninth((-evidence).clip(min=0))
    if heaviest is None:
        return ""
    ninth, share = heaviest
    return ninth.name if share >= STANDS_OUT else "all over"


def _top(options: argparse.Namespace, default: int) -> int:
    """How many rows: as the option says, or of a table ``default``, and in JSON all."""
    if options.top is None:
        return sys.maxsize if options.json else default
    if options.top < 1:
        raise StoreError(f"--top {options.top} leaves nothing to show; give 1 or more")
    return int(options.top)


def _health_facts(health: Health, top: int) -> dict[str, object]:
    return {
        **{name: getattr(health.audit, name) for name in _FACTS},
        "first": health.first,
        "expected_found": health.expected_found,
        "spot_check": health.check,
        "classes": health.classes.head(top),
        "kinds": health.kinds,
        "measured_suspects": health.measured,
        "agreeing_suspects": health.agreeing,
        "review": health.review,
        "not_judged": list(health.not_judged),
        "warnings": health.audit.warnings,
    }


def _show_health(health: Health, top: int) -> None:
    from gradattn_core.wording import estimate

    audit, screen = health.audit, console()
    screen.print(f"[bold]{escape(audit.dataset)}[/]  {escape(audit.audit_id)}", soft_wrap=True, highlight=False)
    screen.print(
        estimate(
            audit.estimated_errors,
            audit.estimated_low,
            audit.estimated_high,
            images=audit.images,
            first=health.first,
            found=health.expected_found,
        ),
        soft_wrap=True,
    )
    if health.check is not None:
        screen.print(health.check.sentence, soft_wrap=True)
    if health.measured:
        screen.print(agreement(health.agreeing, health.measured), soft_wrap=True)
    screen.print(_review(health.review), soft_wrap=True)
    if health.not_judged:
        screen.print(f"{audit.failures:,} failures, {audit.skipped:,} files skipped")
    show_not_judged(health.not_judged)
    for warning in audit.warnings:
        screen.print(f"[yellow]note[/] {escape(warning)}", soft_wrap=True)
    screen.print()
    screen.print(_class_table(health.classes.head(top), health.check))
    if len(health.classes) > top:
        screen.print(f"[dim]{len(health.classes) - top:,} more classes; --top {len(health.classes)} shows all[/]")
    if health.kinds:
        screen.print()
        screen.print(_kind_table(health.kinds))


def _review(review: ReviewProgress) -> str:
    from gradattn_core.wording import belief, count_of

    if not review.reviewed:
        return f"review: nothing decided yet, {review.suspects:,} suspects wait"
    sure = is_number(review.precision)
    wrong = f" ({percent(review.precision, counted=True)} of the clear ones were wrong)" if sure else ""
    left = count_of(review.suspects - review.suspects_decided, "undecided suspect")
    return (
        f"review: {review.reviewed:,} decided{wrong}: {review.wrong:,} wrong, {review.right:,} right, "
        f"{review.unsure:,} unsure; {belief(review.estimated_left, review.left_low, review.left_high, of=left)}"
    )


def _class_table(classes: pd.DataFrame, check: SpotCheck | None) -> Table:
    measured = {} if check is None else {each.label: f"{each.low:,}–{each.high:,}" for each in check.classes}
    heads = ["images", "suspects", "believed wrong", "range", "of its class", "decided"]
    drawn = table(["class"], [*heads, *(["random check"] if measured else [])])
    row: Any
    for row in classes.itertuples():
        wrong = row.wrong if is_number(row.wrong) else 0.0
        drawn.add_row(
            escape(row.given_label),
            f"{row.images:,}",
            f"{row.suspects:,}",
            f"{wrong:,.1f}",
            f"{row.low:,.1f}–{row.high:,.1f}" if is_number(row.low) else "",
            percent(wrong / row.images, 1),
            f"{row.decided:,}",
            *([measured.get(row.given_label, "")] if measured else []),
        )
    return drawn


def _kind_table(kinds: dict[str, int]) -> Table:
    drawn = table(["kind of doubt"], ["suspects"])
    drawn.add_column("what it means", overflow="fold")
    for kind, suspects in kinds.items():
        drawn.add_row(escape(kind), f"{suspects:,}", KINDS.get(kind, ""))
    return drawn


def _worst_pairs(summary: AuditSummary) -> Table:
    drawn = table(
        ["given", "looks like"],
        ["suspects", "believed wrong", "of its class"],
        title="worst class pairs",
        title_justify="left",
    )
    for pair in summary.class_pairs[:_WORST_PAIRS]:
        drawn.add_row(
            escape(pair.given_label),
            escape(suggestion(pair.suggested_label)),
            f"{pair.suspects:,}",
            f"{pair.expected:,.1f}",
            percent(pair.share, 1),
        )
    return drawn


def _pair_report(store: Store, audit_id: str, row: Any) -> PairReport:
    """With what there is to see of a row of ``Store.audits.class_pairs``."""
    given, suggested = row.given_label, row.suggested_label
    evidence = store.audits.pair_map(audit_id, given, suggested)
    examples = store.candidates.page(audit_id, given=given, suggested=suggested, top=_EXAMPLES)
    return PairReport(
        given_label=given,
        suggested_label=suggested,
        suspects=row.suspects,
        decided=row.decided,
        expected=row.expected,
        lift=row.lift,
        share=row.share,
        mean_suspicion=row.mean_suspicion,
        where="" if evidence is None else place(evidence),
        most_suspect=list(examples["path"]),
        exemplars={
            label: list(store.images.exemplars(audit_id, label)["path"]) for label in (given, suggested) if label
        },
        outside_labels=[] if suggested else store.audits.outside_labels(audit_id, given)[:_EXAMPLES],
    )


def _show_pairs(pairs: list[PairReport], count: int) -> None:
    drawn = table(["given", "looks like"], ["suspects", "believed wrong", "lift", "of its class"])
    drawn.add_column("where it shows", no_wrap=True)
    for pair in pairs:
        drawn.add_row(
            escape(pair.given_label),
            escape(suggestion(pair.suggested_label)),
            f"{pair.suspects:,}",
            f"{pair.expected:,.1f}" if is_number(pair.expected) else "",
            f"{pair.lift:.1f}×" if is_number(pair.lift) else "",
            percent(pair.share, 1) if is_number(pair.share) else "",
            pair.where,
        )
    screen = console()
    screen.print(drawn)
    if count > len(pairs):
        screen.print(f"[dim]{count - len(pairs):,} more pairs; --top {count} shows them all[/]")
    for pair in pairs[:_PAIRS_WITH_EXAMPLES]:
        names = (escape(pair.given_label), escape(suggestion(pair.suggested_label, "; ".join(pair.outside_labels))))
        screen.print(f"\n{' → '.join(names)}", soft_wrap=True, highlight=False)
        examples = {"most suspect": pair.most_suspect}
        examples |= {f"a sure {label}": paths for label, paths in pair.exemplars.items()}
        for what, paths in examples.items():
            for path in paths[:_EXAMPLES]:
                screen.print(f"  {escape(what)}: {escape(path)}", soft_wrap=True, highlight=False)
