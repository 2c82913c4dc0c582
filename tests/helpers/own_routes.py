"""A client of our own routes, without a browser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.testclient import TestClient

from tests.helpers.pictured_audit import AUDIT_ID
from ui.api import token


@dataclass(frozen=True)
class Client:
    """A page that asks, for nobody who has logged in unless told otherwise."""

    http: TestClient
    token: str

    def get(self, route: str, **parameters: str | int) -> Any:
        """An answer's JSON; it has to be one."""
        answer = self.http.get(f"/{route}", params={"audit": AUDIT_ID, **parameters}, headers=self.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, route: str, **body: object) -> Any:
        """The same for something to be done, by Ada."""
        answer = self.posted(route, **body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def posted(self, route: str, **body: object) -> Any:
        """The whole answer."""
        asked = {"audit": AUDIT_ID, "reviewer": "Ada"} | body
        return self.http.post(f"/{route}", json=asked, headers=self.headers)

    @property
    def headers(self) -> Mapping[str, str]:
        return {"X-Gradattn-Token": self.token}

    @property
    def pictures(self) -> str:
        """A token for addresses."""
        return token.issue(None, scope="pictures")
