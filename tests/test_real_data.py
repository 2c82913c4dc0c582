"""Whole audits of real photographs by a real ImageNet model, against known wrong labels; minutes each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from gradattn_core.audit.run import audit_images
from gradattn_core.config import AuditConfig
from gradattn_core.store.store import Store

pytestmark = pytest.mark.slow


def audited(shared_data: Path, name: str, out: Path, head: str) -> pd.DataFrame:
    """Every image in order of rank, with ``wrong`` from the truth file."""
    weights = shared_data / "weights" / "vit_tiny_patch16_224.safetensors"
    dataset = shared_data / "data" / name
    summary = audit_images(
        AuditConfig(str(dataset), str(out), model="vit_tiny_patch16_224", checkpoint=str(weights), head=head)
    )
    truth = pd.read_csv(dataset.with_name(f"{name}.truth.csv"), dtype=str)
    ranked = (
        Store(out).candidates.page(summary.audit_id, min_suspicion=0.0).merge(truth, on="path", suffixes=("", "_truth"))
    )
    assert len(ranked) == len(truth) and not summary.failures
    return ranked.assign(wrong=ranked["given_label"] != ranked["true_label"])


def test_planted_errors_in_photographs_are_at_the_top(shared_data: Path, tmp_path: Path) -> None:
    ranked = audited(shared_data, "imagenette", tmp_path, "as-is")
    planted = int(ranked["wrong"].sum())
    assert ranked["wrong"].head(round(1.2 * planted)).sum() >= 0.95 * planted
    store = Store(tmp_path)
    audit_id = store.audits.latest_id()
    # The crop of a landscape picture is its middle: the map must not reach beyond what the model saw.
    for row in store.candidates.page(audit_id, top=10).to_dict("records"):
        evidence = store.images.evidence(audit_id, row["path"])
        assert evidence is not None and np.isfinite(evidence.scores).all()
        assert evidence.crop.width == pytest.approx(evidence.crop.height, rel=0.01)
        assert evidence.crop.left > 0 or evidence.crop.top > 0
        assert evidence.crop.right < row["width"] + 1e-3 and evidence.crop.bottom < row["height"] + 1e-3


@pytest.mark.timeout(2400)
def test_human_label_noise_is_found_by_a_probe(shared_data: Path, tmp_path: Path) -> None:
    ranked = audited(shared_data, "cifar10n", tmp_path, "probe")
    assert average_precision_score(ranked["wrong"], ranked["suspicion"]) >= 0.80
