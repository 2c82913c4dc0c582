"""Brings an audit's parquet files into the database in one transaction, and writes the candidates."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gradattn_core import outfolder
from gradattn_core.audit.interpret import interpret_shards
from gradattn_core.audit.plan import Plan, can_be_continued, is_stored, load_plan, remove_audit
from gradattn_core.audit.rank import agreement, count_suspects, ranked_without_model
from gradattn_core.audit.stored_maps import count_kept_maps, precisions_of_maps
from gradattn_core.audit.sweep import count_taken_over, count_widened, swept_table
from gradattn_core.dataset.labels import spelling
from gradattn_core.estimates import ASSUMPTIONS, first_to_review
from gradattn_core.export import write_candidates
from gradattn_core.outfolder import failures_beside, regions_beside
from gradattn_core.progress import INTERPRET, MERGE, Progress, silent
from gradattn_core.ranking.noise import class_pairs, noise_estimate
from gradattn_core.records import AuditSummary, ClassPair
from gradattn_core.store.store import Store
from gradattn_core.store.unjudged import by_kind, warnings_about

_SUSPICIOUS_AGREEMENT = 0.995
_DOUBTFUL_AGREEMENT = 0.2


def merge(plan: Plan, progress: Progress = silent) -> AuditSummary:
    """Store the finished audit, export its candidates, and clear the work folder; safe to repeat at any point."""
    progress(MERGE.name, 0, 1)
    if not is_stored(plan.out, plan.audit_id):
        _store(plan)
    _keep_features(plan)
    summary = summarise(plan.out, plan.audit_id)
    _clear_superseded(plan)
    remove_audit(plan.folder)
    progress(MERGE.name, 1, 1)
    return summary


def _store(plan: Plan) -> None:
    sweeps = [plan.files.sweep(index) for index in range(plan.shards)]
    shards = range(interpret_shards(plan))
    evidence = [plan.files.interpret(index) for index in shards]
    failures = pa.concat_tables(
        [pq.read_table(failures_beside(path)) for path in (plan.files.listing, *sweeps, *evidence)]
    ).to_pandas()
    scores = pd.read_parquet(plan.files.rank, columns=["suspicion", *ASSUMPTIONS, "suggested_label", "is_suspect"])
    given = swept_table(plan, ["given_label"])["given_label"].to_pylist()
    estimate = noise_estimate(given, scores)
    features = outfolder.features(plan.out) / plan.audit_id
    audit = {
        "audit_id": plan.audit_id,
        "dataset": plan.config.dataset,
        "root": plan.root,
        "white": plan.white,
        "model": plan.config.judge,
        "checkpoint": plan.config.checkpoint,
        "head": plan.head,
        "classes": list(plan.classes),
        "parameters": asdict(plan.config),
        "versions": {"precision": plan.precision, **plan.versions, **_of_maps(plan)},
        "fingerprint": plan.fingerprint,
        "started_at": datetime.fromisoformat(plan.started_at),
        "finished_at": datetime.now(UTC),
        "state": "complete",
        "images": len(scores),
        "failures": int(failures["stage"].isin(["list", "decode"]).sum()),
        "skipped": int((failures["stage"] == "skip").sum()),
        "suspects": int(scores["is_suspect"].sum()),
        "estimated_errors": estimate.total,
        "estimated_low": estimate.low,
        "estimated_high": estimate.high,
        "warnings": [
            *_warnings(plan, given),
            *warnings_about(by_kind(failures), set(given)),
            *_about_labels(plan, given, scores),
            *_about_foreign(scores),
            *_about_maps(plan, failures),
        ],
        "features": features.relative_to(plan.out).as_posix(),
    }
    Store(plan.out).audits.merge(
        audit,
        {
            "images": sweeps,
            "predictions": [plan.files.predictions],
            "scores": [plan.files.findings],
            "interpretations": evidence,
            "regions": [plan.files.regions(index) for index in shards],
            "class_pairs": class_pairs(given, scores, suspects=scores["is_suspect"]),
            "neighbours": [plan.files.neighbours],
            "exemplars": [plan.files.exemplars],
            "failures": failures,
        },
    )


def summarise(out: Path, audit_id: str) -> AuditSummary:
    """Write the candidates of a stored audit and summarise it; safe to repeat."""
    store = Store(out)
    target = write_candidates(store.candidates.page(audit_id), outfolder.candidates(out))
    audit = store.audits.one(audit_id)
    worst = store.audits.class_pairs(audit_id).head(10)
    first = first_to_review(audit.suspects, audit.images)
    found = store.audits.expected_found(audit_id, first)
    agreeing, measured = store.audits.measured_regions(audit_id)
    check = store.draws.checked(audit_id)
    of_maps = audit.versions.get("map_precision", "float32")
    drawn = "" if of_maps == "float32" else f"maps in {of_maps}"
    return AuditSummary(
        audit_id=audit_id,
        images=audit.images,
        failures=audit.failures,
        skipped=audit.skipped,
        suspects=audit.suspects,
        estimated_errors=audit.estimated_errors,
        class_pairs=tuple(ClassPair(*pair) for pair in worst.itertuples(index=False, name=None)),
        database=store.database,
        candidates=target,
        warnings=audit.warnings,
        estimated_low=None if math.isnan(audit.estimated_low) else audit.estimated_low,
        estimated_high=None if math.isnan(audit.estimated_high) else audit.estimated_high,
        first=first,
        found=0.0 if math.isnan(found) else found,
        news=store.audits.news(audit_id),
        measured=measured,
        agreeing=agreeing,
        not_judged=by_kind(store.audits.failures(audit_id)),
        checked="" if check is None else check.sentence,
        computed=", ".join(filter(None, (audit.versions.get("device"), audit.versions.get("precision"), drawn))),
    )


def _of_maps(plan: Plan) -> dict[str, str]:
    """The precision of an audit's maps, where it has some."""
    found = precisions_of_maps(plan)
    return {"map_precision": found} if found else {}


def _warnings(plan: Plan, given: list[str]) -> list[str]:
    share = agreement(plan)
    # Read anew: something may have been noted while others computed.
    warnings = list(load_plan(plan.folder).notes)
    taken = count_taken_over(plan)
    if taken and plan.config.has_model:
        warnings.append(
            f"{taken:,} images were taken over from earlier audits, {len(given) - taken:,} were swept anew."
        )
    widened = count_widened(plan)
    if widened:
        warnings.append(
            f"{widened:,} images were swept in a wider precision: the model's numbers became too large for "
            f"{plan.precision}."
        )
    if ranked_without_model(plan):
        seen = "" if plan.config.in_sample == "yes" else ", those that look wrong from its shallow layers included"
        warnings.append(
            f"The model agrees with {share:.1%} of the labels{seen}: it was trained on them and knows wrong ones by "
            "heart. It had no vote, its shallowest features ranked the images; a model that never saw these labels "
            "would find more. Say --in-sample no where it did not."
        )
    elif plan.head == "as-is" and share >= _SUSPICIOUS_AGREEMENT:
        warnings.append(
            f"The model agrees with {share:.1%} of the labels: if it was trained on these images, say --in-sample yes; "
            "--head finetune judges each image by a model that never saw its label."
        )
    elif plan.head == "given" and share >= _SUSPICIOUS_AGREEMENT:
        warnings.append(
            f"The predictions agree with {share:.1%} of the labels: if the model that made them was trained on these "
            "labels, it knows wrong ones by heart; predictions of pictures that it has not seen find more."
        )
    commonest = max(Counter(given).values()) / len(given)
    if plan.head != "as-is" and share < 1.2 * commonest:
        warnings.append(
            f"Predictions that have not seen a picture's label agree with only {share:.1%} of the labels, where always "
            f"naming the commonest would with {commonest:.1%}: the labels say next to nothing about the pictures, or "
            "all of them are wrong. Are they the right column, and of these pictures?"
        )
    elif share < max(_DOUBTFUL_AGREEMENT, 1.2 / len(plan.classes)):
        warnings.append(
            f"The {'predictions agree' if plan.head == 'given' else 'model agrees'} with only {share:.1%} of the "
            "labels: suspicion by them means little here; check the class alignment or take a stronger model."
        )
    return warnings


def _about_labels(plan: Plan, given: list[str], scores: pd.DataFrame) -> list[str]:
    """That suspects differ from their class by its spelling only, and that one picture has several labels."""
    sentences = []
    pairs = zip(given, scores["suggested_label"], scores["is_suspect"], strict=True)
    spelt = sum(
        suspect and suggested != "" and spelling(label) == spelling(suggested) for label, suggested, suspect in pairs
    )
    if spelt:
        who = "1 suspect looks" if spelt == 1 else f"{spelt:,} suspects look"
        sentences.append(f"{who} like another spelling of the own class: --merge-spellings would leave none of these.")
    contents = swept_table(plan, ["content_hash"])["content_hash"].to_pylist()
    labels = pd.DataFrame({"content": contents, "label": given}).groupby("content")["label"].nunique()
    several = labels[labels > 1]
    if len(several):
        which = "1 picture lies" if len(several) == 1 else f"{len(several):,} pictures lie"
        wrong = int((several - 1).sum())
        sentences.append(
            f"{which} under several labels, byte for byte the same: at least {wrong:,} of these labels "
            f"{'is' if wrong == 1 else 'are'} wrong, or the pictures show several classes; an audit judges one label a "
            "picture."
        )
    return sentences


def _about_foreign(scores: pd.DataFrame) -> list[str]:
    """How many suspects are of no class of the dataset, if any are."""
    foreign = int((scores["is_suspect"] & (scores["suggested_label"] == "")).sum())
    if not foreign:
        return []
    who = "1 suspect looks" if foreign == 1 else f"{foreign:,} suspects look"
    return [f"{who} like none of the dataset's classes: the model has others and finds one of those likelier."]


def _about_maps(plan: Plan, failures: pd.DataFrame) -> list[str]:
    """Why the maps have no numbers, or some suspects no map."""
    if not plan.config.has_model:
        return []
    sentences = []
    if not plan.config.adds_up:
        kind, better = f"correction {plan.config.correction}", "correction secant has"
        if plan.config.objective != "difference":
            kind, better = (
                f"objective {plan.config.objective} and {kind}",
                "objective difference with correction secant has",
            )
        sentences.append(
            f"Maps of {kind} do not add up to the model's log-odds, so their evidence has no numbers; {better} them."
        )
    missing = failures.loc[failures["stage"] == INTERPRET.name, "reason"]
    kept = count_kept_maps(plan)
    if kept:
        maps = "1 map was" if kept == 1 else f"{kept:,} maps were"
        sentences.append(
            f"{maps} kept from earlier audits, {count_suspects(plan) - kept - len(missing):,} were drawn anew"
            + (": the probe of the kept ones has hardly moved." if plan.head == "probe" else ".")
        )
    if len(missing):
        who = "1 suspect has" if len(missing) == 1 else f"{len(missing):,} suspects have"
        sentences.append(f"{who} no map; the commonest reason: {str(missing.value_counts().idxmax()).rstrip('.')}.")
    return sentences


def _keep_features(plan: Plan) -> None:
    """Move what a later audit can take over (and the probe's weights) out of the work folder, beside the database."""
    folder, files = outfolder.features(plan.out) / plan.audit_id, plan.files
    folder.mkdir(parents=True, exist_ok=True)
    maps = files.interpret_files() if plan.head != "finetune" else []
    # The mark comes last: a folder without it is never taken for a whole one.
    for file in (*files.sweep_files(), *map(regions_beside, maps), *maps, files.heads, files.mark):
        if file.exists():
            file.replace(folder / file.name)


def _clear_superseded(plan: Plan) -> None:
    """Remove the sweeps of earlier states of this dataset that this audit has taken over.

    An unfinished audit goes too, because what it was begun on is there no more; one of the images and labels of now can
    be continued and stays.
    """
    for sweep in plan.sources:
        if sweep.dataset != plan.sweep.dataset or sweep.folder.name == plan.audit_id:
            continue
        if not can_be_continued(sweep.folder, plan.listing):
            remove_audit(sweep.folder)
