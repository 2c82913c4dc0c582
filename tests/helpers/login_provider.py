"""A login provider on this machine: OpenID Connect with an authorization code, for one person and one client."""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "gradattn", "shared secret of the client"


@contextmanager
def login_provider(person: dict[str, str]) -> Iterator[str]:
    """The address of a provider that asks whether it is ``person``, the claims of an ID token, and takes a click."""
    server = _Server(person)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.issuer
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    def __init__(self, person: dict[str, str]) -> None:
        super().__init__(("localhost", 0), _Provider)
        self.issuer = f"http://localhost:{self.server_port}"
        self.person = person
        self.key = RSAKey.generate_key(2048, {"kid": "only", "use": "sig", "alg": "RS256"})
        self.asked: dict[str, dict[str, str]] = {}


class _Provider(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        issuer = self.server.issuer
        if asked.path == "/.well-known/openid-configuration":
            places = {f"{name}_endpoint": f"{issuer}/{name}" for name in ("authorization", "token")}
            self._json({"issuer": issuer, "jwks_uri": f"{issuer}/keys", **places})
        elif asked.path == "/keys":
            self._json({"keys": [self.server.key.as_dict(private=False)]})
        elif asked.path == "/authorization":
            self._ask({name: values[0] for name, values in parse_qs(asked.query).items()})
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        # A code is good for one token.
        asked = self.server.asked.pop(form["code"][0], None)
        known = "Basic " + base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if asked is None or self.headers["Authorization"] != known or form["redirect_uri"] != [asked["redirect_uri"]]:
            self.send_error(400)
            return
        now = int(time.time())
        claims = {"iss": self.server.issuer, "aud": CLIENT, "iat": now, "exp": now + 60, "nonce": asked["nonce"]}
        token = jwt.encode({"alg": "RS256", "kid": "only"}, claims | self.server.person, self.server.key)
        self._json({"access_token": secrets.token_hex(), "token_type": "Bearer", "expires_in": 60, "id_token": token})

    def log_message(self, format: str, *args: object) -> None:
        """Be quiet."""

    def _ask(self, asked: dict[str, str]) -> None:
        code = secrets.token_hex()
        self.server.asked[code] = asked
        back = f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"
        self._answer("text/html", f'<a href="{back.replace("&", "&amp;")}">It is me</a>'.encode())

    def _json(self, value: object) -> None:
        self._answer("application/json", json.dumps(value).encode())

    def _answer(self, kind: str, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
