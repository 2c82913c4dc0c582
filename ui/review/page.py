"""Review: one suspect after another, each with its evidence, decided with one key. The client does it all."""

from __future__ import annotations

from dataclasses import asdict

from ui import client, components
from ui.review.choices import choices


def show() -> None:
    audit = components.audit_id()
    client.mount(
        "review",
        key=f"review-{audit}",
        audit=audit,
        reviewer=components.reviewer(),
        choices=asdict(choices(components.store(), audit)),
    )


show()
