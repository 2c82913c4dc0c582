"""What a schedule tells after a run: which event, and the automation that passes it on to a web address."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events.actions import CallWebhook
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

from flows.news import EVENT, web_address
from gradattn_core.errors import GradattnError


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
            web_address(self.webhook, "--webhook")
        if self.page_url is not None:
            web_address(self.page_url, "--page-url")

    @property
    def threshold(self) -> int | None:
        """``above``, or 0 without it where there is an address: whoever gives one wants to be told."""
        return 0 if self.above is None and self.webhook is not None else self.above


def pass_on(client: SyncPrefectClient, deployment: DeploymentResponse, url: str) -> None:
    """An automation that posts the payload of the deployment's event to ``url``."""
    hook = Webhook(url=url, headers={"Content-Type": "application/json"})  # type: ignore[arg-type]
    block = hook.save(_block(deployment), overwrite=True)
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
        block = client.read_block_document_by_name(_block(deployment), "webhook", include_secrets=False)
    except ObjectNotFound:
        return
    client.delete_block_document(block.id)


def _block(deployment: DeploymentResponse) -> str:
    return f"gradattn-{deployment.id}"
