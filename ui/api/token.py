"""Who may ask: a token that the page's script signs for whoever it is drawn for, and every route but the code reads.

Streamlit admits a session (its login, its check of origins); the token hands that admission on to plain HTTP. It is
signed with a secret of this process: after a restart every page needs a new one, which its own reconnect brings.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import asdict, dataclass
from typing import Literal

from streamlit.auth_util import get_secrets_auth_section

Scope = Literal["all", "pictures"]

_SECRET = secrets.token_bytes(32)
# A token is the same one for a while, or each rerun would make every picture's address another and its cache useless.
_PERIOD = 6 * 3600.0
_PERIOD_OF_LOGINS = 1800.0


@dataclass(frozen=True)
class Session:
    """Whom a token speaks for.

    Attributes:
        login: the name somebody logged in with; None where no login is configured.
        root: a folder that somebody named on the page as the place of the pictures, None for none.
        scope: ``pictures`` for addresses, which end up in the logs of proxies; nothing can be decided with those.
        until: end of validity, seconds since 1970.
    """

    login: str | None
    root: str | None
    scope: Scope
    until: float


def issue(login: str | None, *, root: str | None = None, scope: Scope = "all", now: float | None = None) -> str:
    """A token for a page, valid for one to two periods: six hours, or half an hour where people log in."""
    period = _period(login)
    until = ((time.time() if now is None else now) // period + 2) * period
    body = _text(json.dumps(asdict(Session(login, root, scope, until)), separators=(",", ":")).encode())
    return f"{body}.{_signature(body)}"


def seconds_to_next(login: str | None) -> float:
    """In so many seconds :func:`issue` gives another token; the one of now holds for a period longer."""
    period = _period(login)
    return period - time.time() % period


def read(token: str, scope: Scope, now: float | None = None) -> Session | None:
    """Whom a token speaks for; None where it is not ours, has expired, or does not reach so far.

    Where a login is configured, nobody is spoken for who has not logged in.
    """
    body, _, signature = token.partition(".")
    if not (token.isascii() and hmac.compare_digest(signature, _signature(body))):
        return None
    session = Session(**json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))
    if session.until < (time.time() if now is None else now) or session.scope not in ("all", scope):
        return None
    return None if login_configured() and not session.login else session


def login_configured() -> bool:
    """Whether people log in here: an ``[auth]`` section in Streamlit's secrets."""
    return bool(get_secrets_auth_section())


def _period(login: str | None) -> float:
    return _PERIOD if login is None else _PERIOD_OF_LOGINS


def _signature(body: str) -> str:
    return _text(hmac.digest(_SECRET, body.encode(), hashlib.sha256))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
