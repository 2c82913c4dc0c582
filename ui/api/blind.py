"""Lists that prove something: what Review's client asks beside suspects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ui.api.answers import Asked, AskedWrongly, get, guarded, post
from ui.api.filters import list_query
from ui.api.token import Session
from ui.review.panels import plot, standing

_THEME = frozenset({"theme"})


def stands(asked: Asked) -> Mapping[str, object]:
    """``GET standing``: sentences on a blind list, what stands at its end, and what can be done next."""
    query = list_query(asked, also=_THEME)
    return asdict(standing(asked.store, asked.audit, query.name, query.share))


def draw(asked: Asked) -> Mapping[str, object]:
    """``POST draw``: so many pictures for a random check."""
    count = asked.writing().parameters.get("count")
    if not isinstance(count, int) or isinstance(count, bool):
        raise AskedWrongly("count is no whole number")
    drawn = asked.store.draws.spot_check(asked.audit, count)
    return {"drawn": len(drawn.paths)}


async def _plot(request: Request) -> Response:
    """``GET plot``: the review so far, as a picture for an ``<img>``."""

    async def answer(session: Session) -> Response:
        parameters = {name: value for name, value in request.query_params.items() if name not in ("token", "theme")}
        asked = Asked(session, parameters)
        dark = request.query_params.get("theme") == "dark"
        content = await run_in_threadpool(plot, asked.store, asked.audit, list_query(asked).share, dark=dark)
        return Response(content, headers={"Cache-Control": "no-store"}, media_type="image/png")

    return await guarded(request, "pictures", answer)


ROUTES = [get("standing", stands), post("draw", draw), Route("/plot", _plot, methods=["GET"])]
