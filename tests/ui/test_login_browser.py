"""Logging in at a provider, in a real browser: nothing is shown before, and decisions are signed with that name."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.helpers import pictured_audit
from tests.helpers.browser import free_port, saved, sees, served
from tests.helpers.pictured_audit import path_of

pytest.importorskip("authlib", reason="the extra gradattn[login] is not installed")
from tests.helpers.login_provider import CLIENT, SECRET, login_provider

pytestmark = pytest.mark.browser

_SECRETS = """
[auth]
redirect_uri = "http://localhost:{port}/oauth2callback"
cookie_secret = "{cookie}"
client_id = "{client}"
client_secret = "{secret}"
server_metadata_url = "{provider}/.well-known/openid-configuration"
"""


def test_a_reviewer_logs_in_decides_under_that_name_and_logs_out(browser: Browser, tmp_path: Path) -> None:
    store = pictured_audit.pictured_store(tmp_path)
    person = {"sub": "1", "name": "Ada L.", "email": "ada@example.org"}
    port = free_port()
    with login_provider(person) as provider:
        (tmp_path / ".streamlit").mkdir()
        (tmp_path / ".streamlit" / "secrets.toml").write_text(
            _SECRETS.format(port=port, cookie=secrets.token_hex(), client=CLIENT, secret=SECRET, provider=provider)
        )
        with served(store.directory, started_in=tmp_path, port=port) as address:
            page = browser.new_context().new_page()
            page.goto(f"{address}/review")
            button = page.get_by_role("button", name="Log in")
            expect(button).to_be_visible()
            expect(page.locator("[data-seen]")).to_have_count(0)
            button.click()
            page.get_by_role("link", name="It is me").click()
            expect(page).to_have_title("Overview · gradattn")
            page.get_by_role("button", name="Audit and reviewer").click()
            expect(page.get_by_text("Logged in as ada@example.org")).to_be_visible()
            page.goto(f"{address}/review")
            sees(page, path_of(0))
            expect(page.get_by_role("textbox", name="Reviewer")).to_have_count(0)
            page.keyboard.press("k")
            sees(page, path_of(1))
            saved(page)
            page.get_by_role("button", name="Audit and reviewer").click()
            page.get_by_role("button", name="Log out").click()
            expect(page.get_by_role("button", name="Log in")).to_be_visible()
            expect(page.locator("[data-seen]")).to_have_count(0)
            page.context.close()
    assert store.decisions.page()[["decision", "reviewer"]].to_numpy().tolist() == [["keep", "ada@example.org"]]
