"""What random pictures prove: ``gradattn spot-check`` draws and measures, ``gradattn progress`` says when to stop."""

from __future__ import annotations

import argparse
import io
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from gradattn_core.cli.options import Commands, command, open_audit, out_folder, output_style, which_audit
from gradattn_core.cli.terminal import is_number, tell
from gradattn_core.errors import StoreError

if TYPE_CHECKING:
    from gradattn_core.store.draws import Draw
    from gradattn_core.store.proof import Checked, SpotCheck, Until
    from gradattn_core.store.store import Store

_CLASSES = 10
_NEXT = {
    "suspects": "the most suspect pictures",
    "random": "pictures drawn at random, shown without their suspicion",
    "done": "nothing; the review may stop",
}


def add(commands: Commands) -> None:
    check = command(
        commands,
        "spot-check",
        run_spot_check,
        "Measure how many labels are wrong: draw pictures at random, and say the exact interval of their verdicts.",
        "  gradattn spot-check 100                      # draw; then review them in gradattn ui, or as CSV:\n"
        "  gradattn spot-check 100 --csv check.csv      # path, given label, and empty columns to fill\n"
        "  gradattn spot-check --read check.csv --reviewer ann\n"
        "  gradattn spot-check                          # what was measured so far",
    )
    check.add_argument("count", metavar="N", nargs="?", type=int, help="how many to draw (default: none, only say)")
    _source(check)
    form = check.add_mutually_exclusive_group()
    form.add_argument(
        "--csv",
        metavar="FILE",
        help="write the drawn pictures that have no verdict there, in mixed order, without what the model thinks; in "
        "the column decision write keep, relabel (and the new_label), remove or unsure",
    )
    form.add_argument("--read", metavar="FILE", help="take over the decisions of such a file")
    check.add_argument("--reviewer", metavar="NAME", help="who decided what --read takes over")
    progress = command(
        commands,
        "progress",
        run_progress,
        "How far the review is: what was found, how many wrong labels are left at most, and how many reviews to go.",
        "  gradattn progress\n  gradattn progress --until 0.5% --json\n  gradattn progress --until 3% -o review.png",
    )
    progress.add_argument(
        "--until", metavar="SHARE", type=share, default=0.01, help="of all labels that may be left wrong (default 1%%)"
    )
    progress.add_argument(
        "-o", "--output", metavar="FILE", help="a plot of what was found, and of what is left at most"
    )
    _source(progress)


def run_spot_check(options: argparse.Namespace) -> int:
    """Draw, write, read, and say what is known."""
    from gradattn_core.export import encode, update_candidates
    from gradattn_core.files import write_output

    if (options.read is None) != (options.reviewer is None):
        raise StoreError("--read FILE needs --reviewer NAME: who decided what stands in it; one goes with the other")
    if options.count is not None and options.read is not None:
        raise StoreError(f"--read {options.read} draws nothing; leave out the {options.count}")
    store, audit_id = open_audit(options)
    read = 0 if options.read is None else _read(store, audit_id, Path(options.read), options.reviewer)
    if read:
        update_candidates(store, audit_id)
    drawn = None if options.count is None else store.draws.spot_check(audit_id, options.count)
    waiting = store.draws.waiting(audit_id, "spot check")
    if options.csv is not None:
        write_output(Path(options.csv), encode("spot-check", store.draws.checklist(audit_id), "csv"))
    checked = store.draws.checked(audit_id)
    warnings = _gone(store, audit_id, waiting)
    facts = {
        "audit_id": audit_id,
        "drawn": None if drawn is None else asdict(drawn),
        "read": read,
        "checked": checked,
        "waiting": waiting,
        "file": options.csv,
        "warnings": warnings,
    }
    tell(options, facts, _sentences(options, drawn, read, checked, len(waiting), warnings))
    return 0


def run_progress(options: argparse.Namespace) -> int:
    """Say how far the review is, and draw it."""
    file = None if options.output is None else Path(options.output)
    if file is not None and file.suffix.lower() != ".png":
        raise StoreError(f"the plot {file} is a picture; end its name in .png")
    if file is not None and not file.absolute().parent.is_dir():
        raise StoreError(f"the plot {file}: its folder is not there")
    store, audit_id = open_audit(options)
    until = store.draws.until(audit_id, options.until)
    checked = store.draws.checked(audit_id)
    if file is not None:
        from gradattn_core.files import write_output
        from gradattn_core.render.plots import review_figure

        content = io.BytesIO()
        review_figure(
            until.history_reviewed, until.history_found, until.history_high, until.share, until.target, until.confidence
        ).save(content, "PNG")
        write_output(file, content.getvalue())
    facts = {"audit_id": audit_id, **asdict(until), "checked": checked, "file": options.output, "warnings": []}
    tell(options, facts, _standing(until, checked, options.output))
    return 0


def share(text: str) -> float:
    """The value of ``--until``: a share of all labels, as ``1%`` or ``0.01``."""
    try:
        number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        number = -1.0
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share of all labels between 0 and 100%, such as 1% or 0.01")
    return number


def _source(parser: argparse.ArgumentParser) -> None:
    out_folder(parser)
    which_audit(parser)
    output_style(parser)


def _read(store: Store, audit_id: str, source: Path, reviewer: str) -> int:
    """Take over the decisions of a file, all or none; returns how many. What the reviewer said already is passed over.

    Raises:
        StoreError: where the file cannot be read, or names a picture that was not drawn, a label it does not have, or a
            new label that is another spelling of a class.
    """
    from gradattn_core.csv_tables import read_checklist
    from gradattn_core.dataset.labels import spelling
    from gradattn_core.store.log import Decision, verdict

    filled = read_checklist(source)
    if not filled:
        raise StoreError(
            f"{source} has no decision in it; fill the column decision with keep, relabel, remove or unsure"
        )
    drawn = set(store.draws.drawn(audit_id))
    for path in filled:
        if path not in drawn:
            raise StoreError(f"{source}: {path!r} was not drawn from the pictures of audit {audit_id}")
    page = store.candidates.page(audit_id, paths=list(filled), everything=True).set_index("path")
    classes = store.audits.classes(audit_id)
    said = {}
    for path, cells in filled.items():
        row = page.loc[path]
        if (written := cells["given_label"]) != row["given_label"]:
            raise StoreError(
                f"{source}: {path!r} has the label {row['given_label']!r} in audit {audit_id}, not {written!r}"
            )
        if cells["new_label"] == written:
            raise StoreError(f"{source}: {path!r} has the label {written!r} already; keep says that it is right")
        if (new := cells["new_label"]) and new not in classes:
            for name in classes:
                if spelling(name) == spelling(new):
                    raise StoreError(f"{source}: {path!r} is relabelled {new!r}, but that class is written {name!r}")
        try:
            decision = verdict(Decision(cells["decision"], reviewer, cells["new_label"] or None, cells["note"]))
        except StoreError as error:
            raise StoreError(f"{source}, {path!r}: {error}") from None
        if (decision.decision, cells["new_label"], reviewer) != (row["decision"], row["new_label"], row["reviewer"]):
            said[path] = decision
    return store.decisions.append_each(audit_id, said)


def _gone(store: Store, audit_id: str, waiting: list[str]) -> list[str]:
    """One sentence, if pictures on this machine's disk that wait for a verdict are there no more."""
    from gradattn_core.dataset.address import is_url

    places = zip(waiting, store.images.places(audit_id, waiting), strict=True)
    gone = [path for path, place in places if not is_url(place.address) and not Path(place.address).exists()]
    if not gone:
        return []
    return [
        f"{len(gone):,} of the drawn pictures cannot be found, the first is {gone[0]!r}: put back what is gone, or "
        "decide remove or unsure; nothing is drawn in its place, because the sample would not be random then"
    ]


def _sentences(
    options: argparse.Namespace,
    drawn: Draw | None,
    read: int,
    checked: SpotCheck | None,
    waiting: int,
    warnings: list[str],
) -> list[str]:
    lines = []
    if drawn is not None:
        lines.append(f"drawn        {len(drawn.paths):,} of {drawn.pool:,} pictures that nobody had decided")
    if options.read is not None:
        lines.append(f"taken over   {read:,} decisions of {options.reviewer}")
    if options.csv is not None:
        lines.append(f"to fill      {waiting:,} rows in {options.csv}")
    told = "nothing was drawn yet; gradattn spot-check 100 draws" if checked is None else checked.sentence
    lines.append(f"measured     {told}")
    if checked is not None:
        lines += [f"  {_of_class(each)}" for each in checked.classes[:_CLASSES]]
    return [*lines, *(f"note         {warning}" for warning in warnings)]


def _of_class(checked: Checked) -> str:
    return (
        f"{checked.label}: {checked.low:,} to {checked.high:,} of {checked.pictures:,} wrong "
        f"({checked.wrong:,} of {checked.checked:,} checked)"
    )


def _standing(until: Until, checked: SpotCheck | None, file: str | None) -> list[str]:
    sure = f", {until.unsure:,} unsure" if until.unsure else ""
    waits = f"; {until.waiting:,} wait for a verdict" if until.waiting else ""
    goal = f"at most {100 * until.share:g}% of all labels ({until.target:,}) wrong"
    lines = [
        f"reviewed     {until.reviewed:,} of {until.pictures:,} pictures: {until.wrong:,} wrong{sure}",
        f"random       {until.drawn:,} were drawn{waits}",
        f"believed     {until.believed:,.0f} of the {until.unseen:,} unseen labels are wrong, as the model sees it",
        f"proved       {until.sentence}",
        f"next         {_NEXT[until.kind]}",
    ]
    if until.kind == "done":
        lines.append(f"left         no more reviews for {goal}")
    elif is_number(until.expected):
        lines.append(f"left         about {until.expected:,.0f} reviews for {goal}, if the suspicions are right")
    if checked is not None:
        lines.append(f"spot check   {checked.sentence}")
    return lines if file is None else [*lines, f"plot         {file}"]
