"""From a request to a handler's answer: who asks, from where, with what; and errors as one sentence in JSON.

A handler is a plain function from :class:`Asked` to whatever JSON can say. It runs on a thread of the server's pool.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gradattn_core.errors import GradattnError, NewerSchemaError, StoreBusyError, StoreError, UnreadableImageError
from gradattn_core.store.store import Store
from ui.api import token
from ui.api.shapes import plain
from ui.launch import directory, read_only

LONGEST_BODY = 4 * 2**20
"""Bytes; a lasso's 50,000 paths fit."""
PATIENCE = 5.0
"""Seconds that a request waits for the database, before its client is asked to try again."""
LONGEST_NAME = 100
"""Letters of a reviewer's name."""

_LOG = logging.getLogger("gradattn.ui")
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_AGAIN = {"Retry-After": "1"}
_NO_TOKEN = "This page has to say again who it is: reload it."
_Value = TypeVar("_Value")


class AskedWrongly(GradattnError):
    """A parameter is unknown, missing or unusable; the message names it."""


class Conflict(GradattnError):
    """What is asked cannot be done as things stand, such as a decision on a read-only page."""


class Absent(GradattnError):
    """There is no such thing."""


@dataclass(frozen=True)
class Asked:
    """One request.

    Attributes:
        session: whom its token speaks for.
        parameters: of the address; of a POST, the body's fields.
    """

    session: token.Session
    parameters: Mapping[str, object]

    @property
    def store(self) -> Store:
        return Store(directory(), read_only=read_only(), data_root=self.session.root, patience=PATIENCE)

    @property
    def audit(self) -> str:
        return self.text("audit")

    def text(self, name: str, default: str | None = None, longest: int = 10_000) -> str:
        """A parameter that is text; without a default it has to be there."""
        return self._one(name, str, default, longest)

    def texts(self, name: str, most: int = 100_000) -> tuple[str, ...]:
        """A parameter that is a list of texts, empty where it is absent."""
        found = self.parameters.get(name, [])
        if not isinstance(found, list) or not all(is_text(each) for each in found):
            raise AskedWrongly(f"{name} is no list of texts")
        if len(found) > most:
            raise AskedWrongly(f"{name} names {len(found):,}, more than {most:,}")
        return tuple(found)

    def flag(self, name: str) -> bool:
        """Whether a parameter is true, or in an address ``1``."""
        found = self.parameters.get(name, False)
        if found not in (True, False, "1", "0", ""):
            raise AskedWrongly(f"{name} is either 1 or 0")
        return found in (True, "1")

    def reviewer(self) -> str:
        """Whose name a decision is stored with: whoever logged in, else the name that the request gives.

        Raises:
            AskedWrongly: there is none.
            Conflict: it gives another name than the one that logged in.
        """
        given = self.text("reviewer", "", LONGEST_NAME).strip()
        login = self.session.login
        if login is not None:
            if given not in ("", login):
                raise Conflict(f"You are logged in as {login} and decide under that name only.")
            return login
        if not given:
            raise AskedWrongly("reviewer is missing: a decision is stored with a name")
        return given

    def writing(self) -> Asked:
        """Itself, where this page stores anything at all."""
        if read_only():
            raise Conflict("This page was opened read-only: nothing is stored.")
        return self

    def _one(self, name: str, kind: type[_Value], default: _Value | None, longest: int) -> _Value:
        found = self.parameters.get(name)
        found = default if found is None else found
        if found is None:
            raise AskedWrongly(f"{name} is missing")
        if not isinstance(found, kind) or (isinstance(found, str) and not is_text(found)):
            raise AskedWrongly(f"{name} is not {'text' if kind is str else 'what it has to be'}")
        if isinstance(found, str) and len(found) > longest:
            raise AskedWrongly(f"{name} is longer than {longest} letters")
        return found


Handler: TypeAlias = Callable[[Asked], object]
Runner: TypeAlias = Callable[[Handler, Asked], Awaitable[object]]


def get(path: str, handler: Handler, run: Runner = run_in_threadpool) -> Route:
    """A question: parameters in the address, the answer as JSON. ``run`` says on which thread it is found."""

    async def endpoint(request: Request) -> Response:
        return await guarded(request, "all", lambda session: _answer(handler, Asked(session, _query(request)), run))

    return Route(f"/{path}", endpoint, methods=["GET"])


def post(path: str, handler: Handler, run: Runner = run_in_threadpool) -> Route:
    """Something to be done, or a question too long for an address: a JSON object in, JSON out."""

    async def endpoint(request: Request) -> Response:
        async def answer(session: token.Session) -> Response:
            return await _answer(handler, Asked(session, await _body(request)), run)

        return await guarded(request, "all", answer)

    return Route(f"/{path}", endpoint, methods=["POST"])


async def guarded(
    request: Request, scope: token.Scope, answer: Callable[[token.Session], Awaitable[Response]]
) -> Response:
    """The answer to whoever may ask; to all others, and where it fails, one sentence."""
    try:
        if not is_own(request):
            return refusal(403, "Another site asks, and is not answered.")
        given = request.headers.get("x-gradattn-token") or (
            request.query_params.get("token", "") if scope == "pictures" else ""
        )
        session = token.read(given, scope)
        if session is None:
            return refusal(403, _NO_TOKEN, token=True)
        return await answer(session)
    except Conflict as error:
        return refusal(409, str(error))
    except (Absent, UnreadableImageError) as error:
        return refusal(404, str(error))
    except StoreBusyError as error:
        return refusal(503, str(error), headers=_AGAIN)
    except NewerSchemaError as error:
        # Nothing is given up: what waits to be sent is sent once this page's server is as new as the database.
        return refusal(503, f"{error}. What you decide is kept in this browser until then.", headers=_AGAIN)
    except StoreError as error:
        # Our own refusal, or the world's: a full disk may have room again, and no decision is to be given up for it.
        return refusal(409, str(error)) if error.__cause__ is None else refusal(503, str(error), headers=_AGAIN)
    except GradattnError as error:
        return refusal(400, str(error))
    except Exception:
        # Not the address: it may hold a token.
        _LOG.exception("%s %s failed", request.method, request.url.path)
        return refusal(500, "Something went wrong here; the server's log says what.")


def is_text(value: object) -> bool:
    """Whether it is text that can be stored; JSON may hold halves of characters, such as of an emoji that was cut."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_own(request: Request) -> bool:
    """Whether a request comes from this very site, as far as a browser tells; others are refused, token or not."""
    told = request.headers.get("sec-fetch-site")
    if told is not None:
        return told in ("same-origin", "none")
    origin = request.headers.get("origin")
    # Behind a proxy the host may be the server's own; the proxy then says which one the browser asked.
    hosts = (request.headers.get("host"), request.headers.get("x-forwarded-host"))
    return origin is None or urlsplit(origin).netloc in hosts


def refusal(status: int, sentence: str, *, token: bool = False, headers: Mapping[str, str] | None = None) -> Response:
    """An error as JSON; ``token`` tells a client that a new token would help."""
    return as_json({"error": sentence, "token": token}, status, headers)


def as_json(answer: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Strict JSON, never cached; dataclasses by their fields. Raises ValueError for numbers that are none."""
    content = json.dumps(answer, default=plain, allow_nan=False, separators=(",", ":"))
    return Response(content, status, {**_HEADERS, **(headers or {})}, "application/json")


async def _answer(handler: Handler, asked: Asked, run: Runner) -> Response:
    return as_json(await run(handler, asked))


def _query(request: Request) -> Mapping[str, object]:
    return {name: value for name, value in request.query_params.items() if name != "token"}


async def _body(request: Request) -> Mapping[str, object]:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > LONGEST_BODY:
            raise AskedWrongly(f"the request is longer than {LONGEST_BODY // 2**20} MiB")
    try:
        body = json.loads(bytes(content), parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise AskedWrongly(f"the request is no JSON: {error}") from None
    if not isinstance(body, dict):
        raise AskedWrongly("the request has to be a JSON object")
    return body


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")
