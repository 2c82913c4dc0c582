"""Class pair: suspects filed as one class that look like another, between typical pictures of both."""

from __future__ import annotations

from ui import client, components


def show() -> None:
    audit = components.audit_id()
    client.mount("pair", key=f"pair-{audit}", audit=audit, reviewer=components.reviewer())


show()
