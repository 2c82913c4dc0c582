"""Grid: many suspects at a glance, decided together after a look at each. The client does it all."""

from __future__ import annotations

from dataclasses import asdict

from ui import client, components
from ui.review.choices import choices


def show() -> None:
    audit = components.audit_id()
    client.mount(
        "grid",
        key=f"grid-{audit}",
        audit=audit,
        reviewer=components.reviewer(),
        choices=asdict(choices(components.store(), audit)),
    )


show()
