"""Audits a dataset whose wrong labels are known: seconds per stage, peak memory, and how well the errors are found.

    python bench/audit.py ROOT --truth ROOT.truth.csv --model vit_tiny_patch16_224 --checkpoint FILE

The truth is a CSV with ``path``, ``given_label``, and ``true_label`` or ``is_error`` (0 or 1).
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from pathlib import Path

import pandas as pd
from sklearn.metrics import average_precision_score

from gradattn_core.audit.run import audit_images
from gradattn_core.config import AuditConfig
from gradattn_core.store.store import Store


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", metavar="ROOT")
    parser.add_argument("--truth", type=Path, required=True, metavar="FILE")
    parser.add_argument("--model", required=True)
    parser.add_argument("--checkpoint", metavar="FILE")
    parser.add_argument("--head", default="auto")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        config = AuditConfig(
            options.dataset, out, model=options.model, checkpoint=options.checkpoint, head=options.head
        )
        summary = audit_images(config)
        ranked = Store(out).candidates.page(summary.audit_id, min_suspicion=0.0)
    found = ranked.merge(pd.read_csv(options.truth, dtype=str), on="path", suffixes=("", "_truth"))
    wrong = found["is_error"] == "1" if "is_error" in found else found["given_label"] != found["true_label"]
    errors = int(wrong.sum())
    row = {
        "images": f"{summary.images:,}",
        "wrong": f"{errors:,}",
        "suspects": f"{summary.suspects:,}",
        "estimated wrong": f"{summary.estimated_errors:,.0f}",
        **{stage: f"{seconds:.0f} s" for stage, seconds in summary.seconds.items()},
        "peak memory": f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB",
        "average precision": f"{average_precision_score(wrong, found['suspicion']):.4f}",
        "of the wrong in the first 1.2 x": f"{wrong.head(round(1.2 * errors)).sum() / errors:.1%}",
    }
    for line in (row.keys(), ("---" for _ in row), row.values()):
        print(f"| {' | '.join(line)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
