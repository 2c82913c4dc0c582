"""Galleries of the pages driven without a browser: what they show, and what somebody selects in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from streamlit.testing.v1 import AppTest


def shown(app: AppTest) -> dict[str, Any]:
    """What the gallery that can be selected from was given to draw."""
    drawn = [json.loads(element.proto.json) for element in app.get("bidi_component")]
    [gallery] = [data for data in drawn if data["selectable"]]
    return dict(gallery)


def paths(app: AppTest) -> list[str]:
    return [card["path"] for group in shown(app)["groups"] for card in group["cards"]]


def headings(app: AppTest) -> list[str]:
    return [group["heading"] for group in shown(app)["groups"]]


def marks(app: AppTest) -> list[str]:
    return [card["mark"] for group in shown(app)["groups"] for card in group["cards"]]


def select(app: AppTest, indices: Sequence[int], token: str | None = None) -> AppTest:
    """Select these pictures, by default those of the gallery that is shown."""
    app.session_state["gallery"] = {
        "selected": {"token": token or shown(app)["token"], "indices": list(indices)},
    }
    app.run()
    assert not app.exception
    return app
