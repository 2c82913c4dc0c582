"""``gradattn demo``: digits with planted wrong labels, audited as a user would, and how many were found."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gradattn_core.cli.audit import audit
from gradattn_core.cli.options import Commands, command, output_style
from gradattn_core.cli.summary import show_audit
from gradattn_core.cli.terminal import console, tell

if TYPE_CHECKING:
    import pandas as pd

    from gradattn_core.config import AuditConfig
    from gradattn_core.records import AuditSummary
    from gradattn_core.render.layout import Paper

_SHOWN = 12
_SIDE = 136  # three figures to a row are 960 pixels wide


@dataclass(frozen=True, slots=True)
class Hits:
    """How well the ranking found the planted errors.

    Attributes:
        planted: how many labels are wrong.
        in_top: how many of the first ``planted`` of the list are wrong.
        average_precision: of the suspicion of all images, in [0, 1].
    """

    planted: int
    in_top: int
    average_precision: float


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "demo",
        run,
        "Audit handwritten digits with planted wrong labels, offline.",
        "  gradattn demo --out demo",
    )
    parser.add_argument("--out", default="demo", metavar="DIR", help="folder for dataset and results (default demo)")
    parser.add_argument("--flow", action="store_true", help="run as a Prefect flow")
    output_style(parser)


def run(options: argparse.Namespace) -> int:
    """Write the digits, audit them, compare with the truth, and draw the worst suspects."""
    from gradattn_core.demo.digits import write_digits

    out = Path(options.out)
    truth = write_digits(out / "digits")
    summary = audit(demo_config(out), flow=options.flow, quiet=options.quiet or options.json)
    hits = compare(out, summary.audit_id, truth)
    picture = draw(out, summary.audit_id)
    facts = {**asdict(hits), "picture": picture, "candidates": summary.candidates}
    tell(options, facts, partial(_show, summary, hits, picture))
    return 0


def _show(summary: AuditSummary, hits: Hits, picture: Path) -> None:
    show_audit(summary, str(picture.parent))
    screen = console()
    screen.print(
        f"\n{hits.planted} labels were made wrong on purpose: [bold]{hits.in_top}[/] of them are among the first "
        f"{hits.planted} of the list (average precision {hits.average_precision:.2f}).",
        soft_wrap=True,
        highlight=False,
    )
    screen.print(f"picture     {picture}", soft_wrap=True, markup=False, highlight=False)


def demo_config(out: Path) -> AuditConfig:
    """The audit of the demo: the shipped model, which has never seen these digits, and a K-fold probe."""
    from gradattn_core.config import AuditConfig
    from gradattn_core.demo.model import GLYPH_VIT, GLYPH_VIT_WEIGHTS

    arguments = {name: value for name, value in GLYPH_VIT.items() if name != "model_name"}
    return AuditConfig(
        dataset=str(out / "digits"),
        out=str(out),
        model=str(GLYPH_VIT["model_name"]),
        checkpoint=str(GLYPH_VIT_WEIGHTS),
        model_arguments=arguments,
        head="probe",
        batch_size=128,
    )


def compare(out: Path, audit_id: str, truth: pd.DataFrame) -> Hits:
    """Compare the ranking of all images with the planted errors."""
    from sklearn.metrics import average_precision_score

    from gradattn_core.store.store import Store

    ranked = Store(out).candidates.page(audit_id, min_suspicion=0.0).merge(truth, on="path", suffixes=("", "_truth"))
    wrong = ranked["given_label"] != ranked["true_label"]
    planted = int(wrong.sum())
    return Hits(planted, int(wrong.head(planted).sum()), float(average_precision_score(wrong, ranked["suspicion"])))


def draw(out: Path, audit_id: str, paper: Paper = "light") -> Path:
    """One picture of the first suspects with their evidence; the one on dark paper is a file of its own."""
    from gradattn_core.dataset.decoding import read_image
    from gradattn_core.kinds import suggestion
    from gradattn_core.render.figures import Style, contact_sheet, evidence_figure
    from gradattn_core.store.store import Store

    store = Store(out)
    figures, style = [], Style(side=_SIDE, paper=paper)
    for row in store.candidates.page(audit_id, top=_SHOWN).to_dict("records"):
        evidence = store.images.evidence(audit_id, row["path"])
        if evidence is not None:
            picture = read_image(store.images.file(audit_id, row["path"])).image
            title = f"{row['rank']}. filed under {row['given_label']}, looks like {suggestion(row['suggested_label'])}"
            figures.append(evidence_figure(picture, evidence, lines=[title], style=style))
    target = out / ("suspects.png" if paper == "light" else f"suspects-{paper}.png")
    contact_sheet(figures, 3, paper).save(target)
    return target
