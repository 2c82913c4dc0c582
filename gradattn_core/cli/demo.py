"""``gradattn demo``: digits with planted wrong labels, audited as a user would, and how many were found."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console
from sklearn.metrics import average_precision_score

from gradattn_core.cli.audit import audit
from gradattn_core.cli.show import show_summary
from gradattn_core.config import AuditConfig
from gradattn_core.dataset.decoding import read_image
from gradattn_core.demo.digits import write_digits
from gradattn_core.demo.model import GLYPH_VIT, GLYPH_VIT_WEIGHTS
from gradattn_core.render.figures import contact_sheet, evidence_figure
from gradattn_core.store.store import Store

_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Found:
    """How well the ranking found the planted errors.

    Attributes:
        planted: how many labels are wrong.
        in_top: how many of the first ``planted`` of the list are wrong.
        average_precision: of the suspicion of all images, in [0, 1].
    """

    planted: int
    in_top: int
    average_precision: float


def demo_config(out: Path) -> AuditConfig:
    """The audit of the demo: the shipped model, which has never seen these digits, and a K-fold probe."""
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


def run(options: argparse.Namespace) -> int:
    """Write the digits, audit them, compare with the truth, and draw the worst suspects."""
    out = Path(options.out)
    quiet = options.quiet or options.json
    truth = write_digits(out / "digits")
    summary = audit(demo_config(out), flow=options.flow, quiet=quiet)
    found = compare(out, summary.audit_id, truth)
    picture = draw(out, summary.audit_id)
    show_summary(summary, as_json=False, quiet=quiet, out=str(out))
    if options.json:
        facts = {"planted": found.planted, "in_top": found.in_top, "average_precision": found.average_precision}
        print(json.dumps({**facts, "picture": str(picture), "candidates": str(summary.candidates)}))
    elif not options.quiet:
        console = Console(highlight=False)
        console.print(
            f"\n{found.planted} labels were made wrong on purpose: [bold]{found.in_top}[/] of them are among the first "
            f"{found.planted} of the list (average precision {found.average_precision:.2f}).",
            soft_wrap=True,
        )
        console.print(f"picture     {picture}", soft_wrap=True, markup=False)
    return 0


def compare(out: Path, audit_id: str, truth: pd.DataFrame) -> Found:
    """Compare the ranking of all images with the planted errors."""
    ranked = Store(out).candidates.page(audit_id, min_suspicion=0.0).merge(truth, on="path", suffixes=("", "_truth"))
    wrong = ranked["given_label"] != ranked["true_label"]
    planted = int(wrong.sum())
    return Found(planted, int(wrong.head(planted).sum()), float(average_precision_score(wrong, ranked["suspicion"])))


def draw(out: Path, audit_id: str) -> Path:
    """One picture of the first suspects with their evidence."""
    store = Store(out)
    figures = []
    for row in store.candidates.page(audit_id, top=_SHOWN).to_dict("records"):
        evidence = store.images.evidence(audit_id, row["path"])
        if evidence is not None:
            picture = read_image(store.images.file(audit_id, row["path"])).image
            title = f"{row['rank']}. filed under {row['given_label']}, looks like {row['suggested_label']}"
            figures.append(evidence_figure(picture, evidence, lines=[title]))
    target = out / "suspects.png"
    contact_sheet(figures, columns=3).save(target)
    return target
