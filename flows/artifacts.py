"""What an audit shows on Prefect's page: how far each stage is, and the summary."""

from __future__ import annotations

import string
import time
from collections.abc import Iterable
from uuid import UUID

from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact

from gradattn_core.records import AuditSummary

SUMMARY_KEY = "audit-summary"
_PAIRS = 20
_SECONDS_BETWEEN = 1.0
_ENTITIES = {ord(character): f"&#{ord(character)};" for character in string.punctuation}


def progress_key(stage: str) -> str:
    """The key of a stage's progress artifact."""
    return f"audit-progress-{stage}"


def counted(stage: str, unit: str, total: int, parts: Iterable[int], done: int = 0) -> Iterable[int]:
    """Pass finished parts on while a progress artifact tells how many of ``total`` are done; ``done`` were before."""
    artifact = create_progress_artifact(
        100.0 * done / max(1, total), key=progress_key(stage), description=f"{stage}: {done} of {total} {unit}"
    )
    if not isinstance(artifact, UUID):
        raise TypeError("progress is told from synchronous flows only")
    told = time.monotonic()
    for part in parts:
        yield part
        done += 1
        # Ten thousand shards need not be ten thousand requests.
        if done == total or time.monotonic() - told >= _SECONDS_BETWEEN:
            update_progress_artifact(artifact, 100.0 * done / total, f"{stage}: {done} of {total} {unit}")
            told = time.monotonic()
    if not total:
        update_progress_artifact(artifact, 100.0, f"{stage}: nothing to do")


def publish_summary(summary: AuditSummary, dataset: str) -> None:
    """Leave the summary as a markdown artifact of the flow run."""
    create_markdown_artifact(summary_markdown(summary, dataset), key=SUMMARY_KEY, description="What the audit found")


def summary_markdown(summary: AuditSummary, dataset: str) -> str:
    """Counts, worst class pairs and where the files are; labels and paths come out as the plain text they are."""
    counts = (
        ("images", f"{summary.images:,}"),
        ("suspects", f"{summary.suspects:,}"),
        ("wrong labels expected", f"{summary.estimated_errors:,.0f}"),
        ("failures", f"{summary.failures:,}"),
        ("files skipped", f"{summary.skipped:,}"),
    )
    files = (("candidates", summary.candidates), ("database", summary.database))
    parts = [
        f"## {plain(dataset)}",
        _table(("", "count"), counts),
        *(f"*Note:* {plain(warning)}" for warning in summary.warnings),
    ]
    if summary.class_pairs:
        parts += ["### Worst class pairs", _pair_table(summary)]
    parts += [
        "### Files",
        "\n".join(f"- {name}: {plain(str(path))}" for name, path in files),
        f"Audit {plain(summary.audit_id)}. Review it with `gradattn ui --out DIR`, where DIR is the folder of these "
        "files.",
    ]
    return "\n\n".join(parts) + "\n"


def plain(text: str) -> str:
    """Text of one line that markdown shows as it is: every character that could be markup becomes an entity."""
    return " ".join(text.split()).translate(_ENTITIES)


def _pair_table(summary: AuditSummary) -> str:
    rows = (
        (
            plain(str(pair["given_label"])),
            plain(str(pair["suggested_label"])),
            f"{pair['suspects']:,}",
            f"{pair['expected']:,.1f}",
            f"{pair['share']:.1%}",
        )
        for pair in summary.class_pairs[:_PAIRS]
    )
    return _table(("given", "looks like", "suspects", "expected wrong", "of its class"), rows)


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
