"""What an audit shows on Prefect's page: how far each stage is, the summary, the top suspects, the review page."""

from __future__ import annotations

import string
import time
from collections.abc import Iterable
from contextlib import suppress
from uuid import UUID

import pandas as pd
from httpx import HTTPError
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from gradattn_core.estimates import agreement
from gradattn_core.kinds import suggestion
from gradattn_core.records import AuditSummary, Difference
from gradattn_core.wording import estimate_of, sentence

SUMMARY_KEY, SUSPECTS_KEY, PAGE_KEY = "audit-summary", "audit-suspects", "audit-review-page"
TOP_SUSPECTS = 20
_PAIRS = 20
_SECONDS_BETWEEN = 1.0
_SECONDS_UNHEARD = 30.0
# Prefect's client asks a server whose database is away again and again, for a minute each time.
_ONCE = {PREFECT_CLIENT_MAX_RETRIES: 0}
_ENTITIES = {ord(character): f"&#{ord(character)};" for character in string.punctuation}


def progress_key(stage: str) -> str:
    """The key of a stage's progress artifact."""
    return f"audit-progress-{stage}"


def track(stage: str, unit: str, total: int, parts: Iterable[int], done: int = 0) -> Iterable[int]:
    """Pass finished parts on while a progress artifact tells how many of ``total`` are done; ``done`` were before.

    A server that does not answer for a while costs the telling, not the audit.
    """
    artifact: UUID | None = None
    with suppress(HTTPError), temporary_settings(_ONCE):
        created = create_progress_artifact(
            100.0 * done / max(1, total), key=progress_key(stage), description=f"{stage}: {done} of {total} {unit}"
        )
        if not isinstance(created, UUID):
            raise TypeError("progress is told from synchronous flows only")
        artifact = created
    due = time.monotonic() + _SECONDS_BETWEEN
    for part in parts:
        yield part
        done += 1
        # Ten thousand shards need not be ten thousand requests, nor one that is not heard a hundred.
        if done == total or time.monotonic() >= due:
            heard = _update(artifact, 100.0 * done / total, f"{stage}: {done} of {total} {unit}")
            due = time.monotonic() + (_SECONDS_BETWEEN if heard else _SECONDS_UNHEARD)
    if not total:
        _update(artifact, 100.0, f"{stage}: nothing to do")


def publish(summary: AuditSummary, dataset: str, suspects: pd.DataFrame, page_url: str | None) -> None:
    """Leave the findings as artifacts of the flow run.

    Args:
        suspects: the first of ``Store.candidates.page``.
        page_url: of the review page, as :func:`flows.notify.page_address` checked it; None where it is not known.
    """
    create_markdown_artifact(summary_markdown(summary, dataset), key=SUMMARY_KEY, description="What the audit found")
    create_markdown_artifact(
        suspects_markdown(suspects), key=SUSPECTS_KEY, description="The labels most likely wrong, worst first"
    )
    if page_url is not None:
        create_link_artifact(page_url, "Review the suspects", key=PAGE_KEY, description="The review page")


def summary_markdown(summary: AuditSummary, dataset: str) -> str:
    """Counts, what is new, worst class pairs, where the files are; labels and paths come out as plain text."""
    counts = (
        ("images", f"{summary.images:,}"),
        ("suspects", f"{summary.suspects:,}"),
        ("failures", f"{summary.failures:,}"),
        ("files skipped", f"{summary.skipped:,}"),
    )
    files = (("candidates", summary.candidates), ("database", summary.database))
    parts = [
        f"## {plain(dataset)}",
        _table(("", "count"), counts),
        sentence(estimate_of(summary)),
        *([sentence(summary.checked)] if summary.checked else []),
        *([sentence(agreement(summary.agreeing, summary.measured))] if summary.measured else []),
        *([] if summary.news is None else ["### Since the audit before", _news_table(summary.news)]),
        *(f"*Note:* {plain(warning)}" for warning in summary.warnings),
        *([f"Computed on {plain(summary.computed)}."] if summary.computed else []),
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


def suspects_markdown(suspects: pd.DataFrame) -> str:
    """A table of suspects in the order given; paths and labels come out as plain text."""
    if suspects.empty:
        return "No suspects.\n"
    rows = (
        (
            f"{suspect.rank}",
            *(
                plain(str(text))
                for text in (suspect.path, suspect.given_label, suggestion(str(suspect.suggested_label)))
            ),
            f"{suspect.suspicion:.0%}",
            plain(suspect.kind) if isinstance(suspect.kind, str) else "",
        )
        for suspect in suspects.itertuples()
    )
    return _table(("", "path", "given", "looks like", "suspicion", "kind of doubt"), rows) + "\n"


def plain(text: str) -> str:
    """Text of one line that markdown shows as it is: every character that could be markup becomes an entity."""
    return " ".join(text.split()).translate(_ENTITIES)


def _update(artifact: UUID | None, progress: float, description: str) -> bool:
    """Whether the server has heard it, or need not."""
    if artifact is None:
        return True
    try:
        with temporary_settings(_ONCE):
            update_progress_artifact(artifact, progress, description)
    except HTTPError:
        return False
    return True


def _pair_table(summary: AuditSummary) -> str:
    rows = (
        (
            plain(pair.given_label),
            plain(suggestion(pair.suggested_label)),
            f"{pair.suspects:,}",
            f"{pair.expected:,.1f}",
            f"{pair.share:.1%}",
        )
        for pair in summary.class_pairs[:_PAIRS]
    )
    return _table(("given", "looks like", "suspects", "believed wrong", "of its class"), rows)


def _news_table(news: Difference) -> str:
    rows = (
        ("suspects", f"{news.new_suspects:,}", f"{news.gone_suspects:,}"),
        ("images", f"{news.new_images:,}", f"{news.gone_images:,}"),
    )
    return _table(("", "new", "gone"), rows)


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
