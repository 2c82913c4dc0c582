"""What is told after a run: an event about new suspects, and the automation that passes it on to a web address."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit
from uuid import UUID

from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events import emit_event
from prefect.events.actions import CallWebhook
from prefect.events.filters import EventFilter, EventNameFilter, EventResourceFilter
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

from gradattn_core.errors import GradattnError
from gradattn_core.records import AuditSummary

EVENT = "gradattn.audit.new-suspects"
_RESOURCE = "gradattn.audit."


@dataclass(frozen=True)
class Notice:
    """What is told after a run.

    Attributes:
        above: an event is emitted if more suspects than this are new; None for never, if there is no webhook either.
        webhook: the address that the event is passed on to.
        page_url: of the review page, for runs and events to link to.
    """

    above: int | None = None
    webhook: str | None = None
    page_url: str | None = None

    def __post_init__(self) -> None:
        if self.above is not None and self.above < 0:
            raise GradattnError(f"--notify-above {self.above} is too small; 0 tells of every new suspect")
        if self.webhook is not None:
            _check_address(self.webhook, "--webhook")
        if self.page_url is not None:
            _check_address(self.page_url, "--page-url")

    @property
    def threshold(self) -> int | None:
        """``above``, or 0 without it where there is an address: whoever gives one wants to be told."""
        return 0 if self.above is None and self.webhook is not None else self.above


def tell(summary: AuditSummary, dataset: str, page_url: str | None, *, above: int) -> bool:
    """Emit :data:`EVENT` once per audit if it has more than ``above`` new suspects; the first audit's are all new.

    Returns:
        whether it was emitted now.
    """
    count = summary.suspects if summary.news is None else summary.news.new_suspects
    if count <= above or was_told(summary.audit_id):
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


def was_told(audit_id: str) -> bool:
    """Whether the event is on the server: a run that repeats or continues a stored audit has no news of its own."""
    event = EventFilter(event=EventNameFilter(name=[EVENT]), resource=EventResourceFilter(id=[_RESOURCE + audit_id]))
    with get_client(sync_client=True) as client:
        return bool(client.read_events(event, limit=1).events)


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
    _check_address(text, "review page")
    return text.translate({ord(character): f"%{ord(character):02X}" for character in "()<>[]\\\"'`"})


def pass_on(client: SyncPrefectClient, deployment: DeploymentResponse, url: str) -> None:
    """Make an automation that posts the payload of the deployment's event to ``url``."""
    hook = Webhook(url=url, headers={"Content-Type": "application/json"})  # type: ignore[arg-type]
    block = hook.save(_block_name(deployment), overwrite=True)
    assert isinstance(block, UUID)
    resource = f"prefect.deployment.{deployment.id}"
    client.create_automation(
        AutomationCore(
            name=f"gradattn: new suspects of {deployment.name}",
            trigger=EventTrigger(
                expect={EVENT},
                match_related={"prefect.resource.id": resource},
                posture=Posture.Reactive,
                threshold=1,
                within=timedelta(0),
            ),
            actions=[CallWebhook(block_document_id=block, payload="{{ event.payload | tojson }}")],
            owner_resource=resource,
        )
    )


def forget(client: SyncPrefectClient, deployment: DeploymentResponse) -> None:
    """Undo :func:`pass_on`; nothing where there was none."""
    client.delete_resource_owned_automations(f"prefect.deployment.{deployment.id}")
    try:
        block = client.read_block_document_by_name(_block_name(deployment), "webhook", include_secrets=False)
    except ObjectNotFound:
        return
    client.delete_block_document(block.id)


def _check_address(text: str, what: str) -> None:
    """Raises:
    GradattnError: ``what`` it is for, and that it is no http or https address.
    """
    try:
        parts = urlsplit(text)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and text.isprintable()
    except ValueError:
        is_address = False
    if not is_address or " " in text:
        raise GradattnError(f"{what} {text!r} is no web address; one like https://example.org/path works")


def _block_name(deployment: DeploymentResponse) -> str:
    return f"gradattn-{deployment.id}"
