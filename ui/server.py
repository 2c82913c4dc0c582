"""The server of the page: Streamlit's own, with the routes that the clients talk to beside it.

``streamlit run ui/server.py`` finds ``app``. The routes lie below ``gradattn/``, and below ``server.baseUrlPath`` where
Streamlit does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import streamlit as st
from starlette.routing import BaseRoute, Mount
from streamlit import config, net_util

from ui.api import assets, blind, bulk, cards, freshness, lists, measuring, pair, renditions, threshold, writes
from ui.api.makers import makers
from ui.map import points

ROUTES: list[BaseRoute] = [
    *(*assets.ROUTES, *lists.ROUTES, *writes.ROUTES, *renditions.ROUTES),
    *(*blind.ROUTES, *cards.ROUTES, *threshold.ROUTES, *bulk.ROUTES, *pair.ROUTES, *points.ROUTES, *measuring.ROUTES),
    *freshness.ROUTES,
]
"""Those of other rooms are spliced in here."""

# Streamlit asks the internet for this machine's address there whenever a page comes from a name that it does not know.
# Who opens the page under such a name lists it in STREAMLIT_SERVER_CORS_ALLOWED_ORIGINS.
net_util.get_external_ip = lambda: None

_BASE = str(config.get_option("server.baseUrlPath") or "").strip("/")


@asynccontextmanager
async def _lifespan(_app: st.App) -> AsyncIterator[None]:
    """At its end, pictures that nobody waits for any more are not made, nor is anything measured."""
    try:
        yield
    finally:
        makers().stop()
        measuring.stop()


app = st.App(
    Path(__file__).with_name("app.py"),
    routes=[Mount(f"/{_BASE}/gradattn" if _BASE else "/gradattn", routes=ROUTES)],
    lifespan=_lifespan,
)
