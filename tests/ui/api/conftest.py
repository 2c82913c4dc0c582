"""Our own routes, asked without a browser: the very routes that the page's server has."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from gradattn_core.store.store import Store
from tests.helpers.own_routes import Client
from ui.api import token
from ui.server import ROUTES


@pytest.fixture
def asking(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Client]]:
    """A page over the audit with pictures, with a token of its own where one is given; ``GRADATTN_LEARNING`` is off."""
    monkeypatch.setenv("GRADATTN_LEARNING", "0")

    with TestClient(Starlette(routes=ROUTES)) as http:
        yield lambda given=None: Client(http, token.issue(None) if given is None else given)


@pytest.fixture
def client(asking: Callable[..., Client]) -> Client:
    return asking()
