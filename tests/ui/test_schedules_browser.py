"""Schedules in a browser, where parts of a page are drawn by themselves: what is said stays, nothing waits for ever."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from gradattn_core.store.store import Store
from tests.helpers import prefect_runs
from tests.helpers.browser import served
from tests.helpers.tiny import make_tiny

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_why_nothing_was_scheduled_stays_and_a_double_click_changes_a_schedule_once(
    page: Page, store: Store, tmp_path: Path
) -> None:
    tiny, home = make_tiny(tmp_path / "tiny"), tmp_path / "prefect"
    home.mkdir()
    page.set_default_timeout(90_000)
    with prefect_runs.work(home), served(store.directory, environment={"PREFECT_HOME": str(home)}) as address:
        page.goto(f"{address}/audits")
        form = page.get_by_test_id("stForm").last
        for field, text in {"Dataset": "/nowhere", "When": "6h", "Name": "flowers"}.items():
            form.get_by_label(field, exact=True).fill(text)
        add = page.get_by_role("button", name="Add the schedule")
        add.click()
        reason = page.get_by_text("there is no such folder or file on the machine of this page")
        expect(reason).to_be_visible()
        expect(page.get_by_text("Nothing is scheduled yet.")).to_be_visible(timeout=90_000)
        expect(reason).to_be_visible()
        expect(form.get_by_label("When", exact=True)).to_have_value("6h")
        form.get_by_label("Dataset", exact=True).fill(str(tiny.dataset))
        add.click()
        expect(page.get_by_text("added schedule flowers: every 6h")).to_be_visible(timeout=90_000)
        expect(reason).to_have_count(0)
        page.get_by_role("button", name="Pause").dblclick()
        expect(page.get_by_text("schedule flowers is paused")).to_be_visible(timeout=90_000)
        expect(page.get_by_role("button", name="Resume")).to_be_visible(timeout=90_000)
        expect(page.get_by_text("schedule flowers is paused")).to_be_visible()
