"""Who is answered: tokens, other sites, read-only pages, broken questions; and what is said when something fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient
from streamlit.runtime.secrets import secrets_singleton

from gradattn_core.store.connection import transaction
from gradattn_core.store.store import Store
from tests.helpers.own_routes import Client
from tests.helpers.pictured_audit import AUDIT_ID, path_of
from ui.api import answers, assets, token
from ui.api.answers import Asked
from ui.server import ROUTES

DEEDS = ["decisions", "undo", "tags", "views", "bulk", "draw", "finished", "map/make", "map/select"]


def error(answer: Any) -> str:
    body = answer.json()
    assert set(body) == {"error", "token"}
    return str(body["error"])


def test_nothing_is_told_or_done_without_a_token_of_this_process(asking: Callable[..., Client]) -> None:
    client = asking(given="")
    for given in ("", "x", "x.y", "é.é", "e30.e30", "." * 300):
        headers = {b"X-Gradattn-Token": given.encode()} if given else {}
        told = {"audit": AUDIT_ID, "path": path_of(0)}
        for route in ROUTES:
            assert isinstance(route, Route) and route.methods
            path = route.path.replace("{kind}", "small")
            if path.startswith("/client/"):
                continue
            for method in route.methods - {"HEAD"}:
                answer = client.http.request(
                    method, path, params=told, json=told if method == "POST" else None, headers=headers
                )
                assert (answer.status_code, answer.json()["token"]) == (403, True), (method, path, given)


def test_a_token_ends_and_another_page_gets_the_same_for_a_while() -> None:
    now = 1_795_000_000.0
    given = token.issue(None, now=now)
    assert given == token.issue(None, now=now + 60), "or each rerun would empty the browser's cache"
    assert token.read(given, "all", now=now + 6 * 3600 - 1) is not None
    assert token.read(given, "all", now=now + 12 * 3600 + 1) is None
    # Half an hour to an hour where people log in.
    login = token.issue("ada@lab", now=now)
    assert login != given and token.read(login, "all", now=now + 3601) is None


@pytest.mark.parametrize("place", [0, 5, -5, -1])
def test_a_token_that_was_changed_is_none(place: int) -> None:
    given = token.issue("Ada", root="/pictures")
    changed = list(given)
    changed[place] = "B" if given[place] != "B" else "C"
    assert token.read(given, "all") is not None and token.read("".join(changed), "all") is None


def test_a_token_for_pictures_decides_nothing(asking: Callable[..., Client]) -> None:
    client = asking(token.issue(None, scope="pictures"))
    assert client.posted("decisions", decisions=[]).status_code == 403
    assert client.http.get("/list", params={"audit": AUDIT_ID}, headers=client.headers).status_code == 403


def test_a_token_in_the_address_opens_pictures_only(client: Client) -> None:
    assert client.http.get("/list", params={"audit": AUDIT_ID, "token": client.token}).status_code == 403


class TestLogin:
    @pytest.fixture(autouse=True)
    def login(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asking: object) -> Iterator[None]:
        """A login is configured, as Streamlit reads it: a file of secrets where the server was started."""
        folder = tmp_path / "started" / ".streamlit"
        folder.mkdir(parents=True)
        (folder / "secrets.toml").write_text('[auth]\nredirect_uri = "x"\ncookie_secret = "y"\n')
        monkeypatch.chdir(folder.parent)
        secrets_singleton._reset()
        yield
        # This process would keep them.
        secrets_singleton._reset()

    def test_only_who_has_logged_in_is_answered(self, asking: Callable[..., Client]) -> None:
        assert token.login_configured()
        assert asking().http.get("/progress", headers=asking().headers).status_code == 403
        assert asking(token.issue("")).posted("decisions", decisions=[]).status_code == 403
        assert asking(token.issue("ada@lab")).get("progress")["reviewed"] == 0

    def test_a_decision_has_the_name_of_the_login(self, asking: Callable[..., Client], store: Store) -> None:
        client = asking(token.issue("ada@lab"))
        said = [{"id": "1", "path": path_of(0), "decision": "keep"}]
        refused = client.posted("decisions", decisions=said, reviewer="Bob")
        assert (refused.status_code, error(refused)) == (
            409, "You are logged in as ada@lab and decide under that name only."
        )  # fmt: skip
        client.post("decisions", decisions=said, reviewer="")
        assert store.decisions.reviewers() == ["ada@lab"]


SITES: list[tuple[dict[str, str], int]] = [
    ({}, 200),
    ({"Origin": "http://testserver"}, 200),
    ({"Origin": "https://evil.example"}, 403),
    ({"Origin": "null"}, 403),
    ({"Origin": "http://testserver.evil.example"}, 403),
    ({"Origin": "https://labels.example", "X-Forwarded-Host": "labels.example"}, 200),
    ({"Sec-Fetch-Site": "same-origin", "Origin": "https://labels.example"}, 200),
    ({"Sec-Fetch-Site": "cross-site"}, 403),
    ({"Sec-Fetch-Site": "same-site"}, 403),
    ({"Sec-Fetch-Site": "cross-site", "Origin": "http://testserver"}, 403),
]


def test_other_sites_are_refused_even_with_a_token(client: Client) -> None:
    picture = {"audit": AUDIT_ID, "path": path_of(0), "token": client.pictures}
    for headers, status in SITES:
        for answer in (
            client.http.get("/progress", params={"audit": AUDIT_ID}, headers={**client.headers, **headers}),
            client.http.get("/picture/small", params=picture, headers=headers),
        ):
            assert answer.status_code == status, headers
            assert not any(name.startswith("access-control") for name in answer.headers)


def test_a_preflight_of_another_site_gets_no_leave(client: Client) -> None:
    answer = client.http.options("/decisions", headers={"Origin": "https://evil.example"})
    assert answer.status_code == 405 and "access-control-allow-origin" not in answer.headers


def test_a_read_only_page_stores_nothing(client: Client, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADATTN_READ_ONLY", "1")
    assert client.get("list")["suspects"]
    for route in DEEDS:
        answer = client.posted(
            route, decisions=[], id="1", path=path_of(0), paths=[path_of(0)], count=1, given="kite", on=True
        )
        assert (answer.status_code, error(answer)) == (409, "This page was opened read-only: nothing is stored.")
    assert store.decisions.count() == 0 and store.draws.count(AUDIT_ID) == 0 and not store.finished.all(AUDIT_ID)


BROKEN = [
    (b"", "the request is no JSON"),
    (b"{", "the request is no JSON"),
    (b"[]", "the request has to be a JSON object"),
    (b'{"reviewer": NaN}', "the request is no JSON: NaN is no JSON"),
    (b"[" * 100_000, "the request is no JSON"),
    (b'{"audit": 5, "reviewer": "Ada"}', "audit is not text"),
    (b'{"reviewer": "  "}', "reviewer is missing: a decision is stored with a name"),
    (b'{"reviewer": "' + b"x" * 101 + b'"}', "reviewer is longer than 100 letters"),
    (b'{"audit": "a", "reviewer": "Ada"}', "decisions is no list of objects"),
    (b'{"audit": "a", "reviewer": "Ada", "decisions": [5]}', "decisions is no list of objects"),
    (b'{"audit": "a", "reviewer": "Ada", "decisions": [{"id": 5}]}', "id of a decision is no text, or too long"),
    (b'{"audit": "a", "reviewer": "Ada", "decisions": [{"id": "5"}]}', "path of a decision is no text"),
]


def test_a_broken_request_is_told_what_is_wrong(client: Client) -> None:
    for body, says in BROKEN:
        answer = client.http.post("/decisions", content=body, headers=client.headers)
        assert answer.status_code == 400 and error(answer).startswith(says), body[:40]


def test_a_request_that_never_ends_is_cut_off(client: Client) -> None:
    answer = client.http.post("/decisions", content=b" " * (answers.LONGEST_BODY + 1), headers=client.headers)
    assert (answer.status_code, error(answer)) == (400, "the request is longer than 4 MiB")


def test_a_locked_database_is_worth_another_try(client: Client, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "PATIENCE", 0.2)
    with transaction(store.database, write=True, patience=1):
        answer = client.http.get("/progress", params={"audit": AUDIT_ID}, headers=client.headers)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "for more than" in error(answer)


def test_a_database_that_cannot_be_used_just_now_costs_no_decision(client: Client, store: Store) -> None:
    whole = store.database.read_bytes()
    said = [{"id": "1", "path": path_of(0), "decision": "keep"}]
    store.database.write_bytes(b"full" * 5000)
    answer = client.posted("decisions", decisions=said)
    # Worth another try, which 4xx is not.
    assert answer.status_code == 503 and "gradattn.duckdb" in error(answer)
    store.database.write_bytes(whole)
    assert client.post("decisions", decisions=said)["results"][0]["status"] == "stored"
    assert client.http.get("/progress", params={"audit": "gone"}, headers=client.headers).status_code == 409


def test_what_goes_wrong_inside_stays_inside(caplog: pytest.LogCaptureFixture, client: Client) -> None:
    def broken(_asked: Asked) -> object:
        raise RuntimeError("the combination is 1234")

    http = TestClient(Starlette(routes=[answers.get("broken", broken)]))
    with caplog.at_level(logging.ERROR):
        answer = http.get("/broken", params={"audit": "x", "token": client.token}, headers=client.headers)
    assert answer.status_code == 500 and "1234" not in answer.text
    assert "1234" in caplog.text and client.token not in caplog.text


def test_no_number_that_is_none_is_sent() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        answers.as_json({"suspicion": float("nan")})


def test_what_a_client_loads_is_told_beforehand_whole() -> None:
    for name in ("review", "grid", "pair", "map"):
        told = set(assets.modules(name))
        assert f"{name}.js" in told <= set(assets.assets())
        for each in told:
            code = assets.assets()[each].content.decode()
            assert {line.rsplit('"./', 1)[1].split('"')[0] for line in code.splitlines() if ' from "./' in line} <= told
