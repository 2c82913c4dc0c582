"""Tells what is new since the audit before: an event on Prefect, which an automation can pass on."""

from __future__ import annotations

from urllib.parse import urlsplit

from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.events.filters import EventFilter, EventNameFilter, EventResourceFilter

from gradattn_core.errors import GradattnError
from gradattn_core.records import AuditSummary

EVENT = "gradattn.audit.new-suspects"
_RESOURCE = "gradattn.audit."


def tell(summary: AuditSummary, dataset: str, page_url: str | None, *, above: int) -> bool:
    """Emit :data:`EVENT` once per audit if it has more than ``above`` new suspects; the first audit's are all new.

    Returns:
        whether it was emitted now.
    """
    count = summary.suspects if summary.news is None else summary.news.new_suspects
    if count <= above or already_told(summary.audit_id):
        return False
    emit_event(
        EVENT,
        resource={"prefect.resource.id": _RESOURCE + summary.audit_id, "prefect.resource.name": dataset},
        payload={
            "text": sentence(count, summary.suspects, dataset, page_url),
            "dataset": dataset,
            "audit_id": summary.audit_id,
            "new_suspects": count,
            "suspects": summary.suspects,
            "images": summary.images,
            "candidates": str(summary.candidates),
            "page": page_url,
        },
    )
    return True


def sentence(new: int, suspects: int, dataset: str, page_url: str | None) -> str:
    """What a chat shows. Chat programs read ``<!channel>`` and the like as commands, which a path must not give."""
    shown = " ".join(dataset.split()).replace("<", "‹").replace(">", "›")
    where = f"; review them at {page_url}" if page_url else ""
    return f"gradattn: {new:,} new suspects in {shown} ({suspects:,} in all){where}"


def page_address(text: str | None) -> str | None:
    """The address of the review page as a link can hold it; None for none.

    Raises:
        GradattnError: it is no web address.
    """
    if not text:
        return None
    web_address(text, "review page")
    return text.translate({ord(character): f"%{ord(character):02X}" for character in "()<>[]\\\"'`"})


def web_address(text: str, what: str) -> str:
    """``text`` itself.

    Raises:
        GradattnError: ``what`` it is for, and that it is no http or https address.
    """
    try:
        parts = urlsplit(text)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and text.isprintable() and " " not in text
    except ValueError:
        fine = False
    if not fine:
        raise GradattnError(f"{what} {text!r} is no web address; one like https://example.org/path works")
    return text


def already_told(audit_id: str) -> bool:
    """Whether the event is on the server: a run that repeats or continues a stored audit has no news of its own."""
    wanted = EventFilter(event=EventNameFilter(name=[EVENT]), resource=EventResourceFilter(id=[_RESOURCE + audit_id]))
    with get_client(sync_client=True) as client:
        return bool(client.read_events(wanted, limit=1).events)
