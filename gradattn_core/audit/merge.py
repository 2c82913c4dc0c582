"""Brings an audit's parquet files into the database in one transaction, and writes the candidates."""

from __future__ import annotations

import math
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from gradattn_core.audit.findings import doubts_file, exemplars_file, neighbours_file
from gradattn_core.audit.interpret import evidence_file, evidence_shards, regions_file
from gradattn_core.audit.plan import FEATURES, PLAN, Plan, load_plan, stored_audits
from gradattn_core.audit.rank import agreement, heads_file, predictions_file, ranked_without_model, scores_file
from gradattn_core.audit.reuse import MARK
from gradattn_core.audit.sweep import failures_file, sweep_file, swept, taken_over
from gradattn_core.estimates import first_to_review
from gradattn_core.export import CANDIDATES, write_candidates
from gradattn_core.files import remove_folder
from gradattn_core.progress import Progress, silent
from gradattn_core.ranking.noise import class_pairs, noise_estimate
from gradattn_core.records import AuditSummary
from gradattn_core.store.store import Store

_SUSPICIOUS_AGREEMENT = 0.995
_DOUBTFUL_AGREEMENT = 0.2


def merge(plan: Plan, progress: Progress = silent) -> AuditSummary:
    """Store the finished audit, export its candidates, and clear the work folder; safe to repeat at any point."""
    progress("store", 0, 1)
    if not is_stored(plan):
        _store(plan)
    _keep_features(plan)
    summary = finish(plan.out, plan.audit_id)
    _clear_superseded(plan)
    remove_folder(plan.folder, (PLAN, MARK))
    progress("store", 1, 1)
    return summary


def is_stored(plan: Plan) -> bool:
    """Whether the database has this audit: then a run was stopped while it cleared up."""
    return any(audit_id == plan.audit_id for audit_id, _ in stored_audits(plan.out))


def _store(plan: Plan) -> None:
    sweeps = [sweep_file(plan, index) for index in range(plan.shards)]
    shards = range(evidence_shards(plan))
    evidence = [evidence_file(plan, index) for index in shards]
    failures = pd.concat(
        [pd.DataFrame(list(plan.list_failures), columns=["path", "stage", "reason"])]
        + [pd.read_parquet(failures_file(path)) for path in (*sweeps, *evidence)],
        ignore_index=True,
    )
    scores = pd.read_parquet(scores_file(plan), columns=["suspicion", "suggested_label", "is_suspect"])
    given = swept(plan, ["given_label"])["given_label"].to_pylist()
    estimate = noise_estimate(given, scores)
    warnings = _warnings(plan, len(scores))
    audit: dict[str, Any] = {
        "audit_id": plan.audit_id,
        "dataset": plan.config.dataset,
        "root": plan.root,
        "model": plan.config.model,
        "checkpoint": plan.config.checkpoint,
        "head": plan.head,
        "classes": list(plan.classes),
        "parameters": asdict(plan.config),
        "versions": {**plan.versions, "precision": plan.precision},
        "fingerprint": plan.fingerprint,
        "started_at": datetime.fromisoformat(plan.started_at),
        "finished_at": datetime.now(UTC),
        "state": "complete",
        "images": len(scores),
        "failures": len(failures),
        "skipped": plan.skipped,
        "suspects": int(scores["is_suspect"].sum()),
        "estimated_errors": estimate.total,
        "estimated_low": estimate.low,
        "estimated_high": estimate.high,
        "warnings": list(warnings),
        "features": f"{FEATURES}/{plan.audit_id}",
    }
    Store(plan.out).audits.merge(
        audit,
        {
            "images": sweeps,
            "predictions": [predictions_file(plan)],
            "scores": [doubts_file(plan)],
            "interpretations": evidence,
            "regions": [regions_file(plan, index) for index in shards],
            "class_pairs": class_pairs(given, scores, suspects=scores["is_suspect"]),
            "neighbours": [neighbours_file(plan)],
            "exemplars": [exemplars_file(plan)],
            "failures": failures,
        },
    )


def finish(out: Path, audit_id: str) -> AuditSummary:
    """Write the candidates of a stored audit and summarise it; safe to repeat."""
    store = Store(out)
    target = write_candidates(store.candidates.page(audit_id), out / CANDIDATES)
    facts = store.audits.summary(audit_id)
    worst = store.audits.class_pairs(audit_id).head(10).to_dict("records")
    first = first_to_review(int(facts["suspects"]), int(facts["images"]))
    low, high = (None if pd.isna(facts[name]) else float(facts[name]) for name in ("estimated_low", "estimated_high"))
    found = store.audits.expected_found(audit_id, first)
    return AuditSummary(
        audit_id=audit_id,
        images=int(facts["images"]),
        failures=int(facts["failures"]),
        skipped=int(facts["skipped"]),
        suspects=int(facts["suspects"]),
        estimated_errors=float(facts["estimated_errors"]),
        class_pairs=tuple({str(key): value for key, value in row.items()} for row in worst),
        database=store.database,
        candidates=target,
        warnings=tuple(facts["warnings"]),
        estimated_low=low,
        estimated_high=high,
        first=first,
        found=0.0 if math.isnan(found) else found,
        news=store.audits.news(audit_id),
    )


def _warnings(plan: Plan, images: int) -> tuple[str, ...]:
    share = agreement(plan)
    found = list(plan.notes)
    taken = taken_over(plan)
    if taken:
        found.append(f"{taken:,} images were taken over from earlier audits, {images - taken:,} were swept anew.")
    if ranked_without_model(plan):
        seen = "" if plan.config.in_sample == "yes" else ", those that look wrong from its shallow layers included"
        found.append(
            f"The model agrees with {share:.1%} of the labels{seen}: it was trained on them and knows wrong ones by "
            "heart. It had no vote, its shallowest features ranked the images; a model that never saw these labels "
            "would find more. Say --in-sample no where it did not."
        )
    elif plan.head == "as-is" and share >= _SUSPICIOUS_AGREEMENT:
        found.append(
            f"The model agrees with {share:.1%} of the labels: if it was trained on these images, say --in-sample yes; "
            "--head finetune judges each image by a model that never saw its label."
        )
    if share < max(_DOUBTFUL_AGREEMENT, 1.2 / len(plan.classes)):
        found.append(
            f"The model agrees with only {share:.1%} of the labels: its suspicion means little here; "
            "check the class alignment or take a stronger model."
        )
    return tuple(found)


def _keep_features(plan: Plan) -> None:
    """Move what a later audit can take over (and the probe's weights) out of the work folder, beside the database."""
    target = plan.out / FEATURES / plan.audit_id
    target.mkdir(parents=True, exist_ok=True)
    maps = ("interpretations-*.parquet", "regions-*.parquet") if plan.head == "as-is" else ()
    for pattern in ("sweep-*.parquet", *maps, heads_file(plan).name):
        for path in plan.folder.glob(pattern):
            path.replace(target / path.name)
    # The mark comes last: a folder without it is never taken for a whole one.
    if (plan.folder / MARK).exists():
        (plan.folder / MARK).replace(target / MARK)


def _clear_superseded(plan: Plan) -> None:
    """Remove the sweeps of earlier states of this dataset that this audit has taken over.

    An unfinished audit goes too, because what it was begun on is there no more; one of the images and labels of now can
    be continued and stays.
    """
    for sweep in plan.sources:
        if sweep.dataset != plan.sweep.dataset or sweep.folder.name == plan.audit_id:
            continue
        begun = sweep.folder / PLAN
        if not begun.exists() or not load_plan(sweep.folder).listing.equals(plan.listing):
            remove_folder(sweep.folder, (PLAN, MARK))
