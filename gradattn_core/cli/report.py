"""``gradattn report``: what was found, as one file to hand on."""

from __future__ import annotations

import argparse
from pathlib import Path

from gradattn_core.cli.options import Commands, command, data_root, open_store, out_folder, output_style, which_audit
from gradattn_core.cli.terminal import tell
from gradattn_core.errors import StoreError


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "report",
        run_report,
        "Write one HTML file to hand on: what was audited, how many labels are wrong, the class pairs, and the first "
        "suspects with their evidence.",
        "  gradattn report -o report.html\n  gradattn report -o report.html --top 100",
    )
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="where to write, .html")
    parser.add_argument("--top", type=int, default=24, metavar="N", help="how many suspects it shows (default 24)")
    out_folder(parser)
    which_audit(parser)
    parser.add_argument("--data-root", metavar="DIR", help="where the pictures are now, if they were moved")
    output_style(parser)


def run_report(options: argparse.Namespace) -> int:
    """Write the report."""
    from gradattn_core.files import write_output
    from gradattn_core.report.document import report_of

    if options.top < 0:
        raise StoreError(f"--top {options.top} is negative; give 0 or more")
    store = open_store(options, data_root=data_root(options))
    audit_id = options.audit or store.audits.latest_id()
    report = report_of(store, audit_id, top=options.top)
    write_output(Path(options.output), report.content)
    facts = {
        "audit_id": audit_id,
        "output": options.output,
        "bytes": len(report.content),
        "suspects": report.suspects,
        "without_picture": report.without_picture,
    }
    size = f"{len(report.content) / 1e6:.1f} MB"
    lines = [f"wrote        {options.output}, {size}: {report.suspects:,} of {report.of:,} suspects"]
    if report.without_picture:
        lines.append(f"note         {report.without_picture:,} of their pictures are gone, or are others now")
    tell(options, facts, lines)
    return 0
