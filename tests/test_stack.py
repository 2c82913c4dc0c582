"""The stack on a real container engine: upgraded, watched, killed part by part, without its database, with two workers.

The tests stand in the order in which they are run: the first one leaves the stack upgraded and up for the others.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from tests.helpers.browser import opened_browser
from tests.helpers.compose_stack import Stack, seen, wait_until, why_not
from tests.helpers.tiny import Tiny

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(3600)]

DECIDE = """
import csv, os
from gradattn_core.store.store import Store
path = next(csv.DictReader(open("/results/candidates.csv")))["path"]
Store("/results").decide(os.listdir("/results/features")[0], path, "keep", reviewer="Ada")
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    if reason := why_not():
        pytest.skip(reason)
    stack = Stack()
    try:
        yield stack
    finally:
        stack.remove()


@pytest.fixture(scope="module")
def tiny(stack: Stack) -> Tiny:
    return stack.dataset(per_class=30)


@pytest.fixture(scope="module")
def plain(stack: Stack, tiny: Tiny) -> bytes:
    """What an audit that nothing disturbed finds."""
    stack.schedule(tiny, "plain", "/results/plain", "--shard-size=2")
    assert stack.wait_for_end(stack.run("plain")) == "Completed"
    return stack.candidates("plain").read_bytes()


def test_an_upgrade_keeps_schedules_runs_decisions_and_results(stack: Stack, tiny: Tiny) -> None:
    stack.build_old()
    stack.old = True
    stack.compose("up", "--detach", "--wait")
    stack.schedule(tiny, "kept", "/results")
    run = stack.run("kept")
    assert stack.wait_for_end(run) == "Completed"
    stack.compose("exec", "-T", "worker", "python", "-c", DECIDE)
    before = stack.candidates().read_bytes()
    stack.compose("down")

    stack.old = False
    # The line that was documented then, given again: another password than the volume's.
    stack.password = "of-now"
    with ThreadPoolExecutor(1) as beside:
        starting = beside.submit(stack.compose, "up", "--build", "--detach", "--wait")
        stack.watch()
        starting.result()
    (schedule,) = json.loads(stack.gradattn("schedule", "list", "--json"))
    assert (schedule["deployment"], schedule["out"], schedule["state"]) == ("audit/kept", "/results", "ready")
    assert stack.state_of(run) == "Completed" and stack.candidates().read_bytes() == before
    assert stack.wait_for_end(stack.run("kept")) == "Completed"
    stack.compose("exec", "-T", "worker", "gradattn", "export", "--csv", "/tmp/decided.csv")
    decided = stack.compose("exec", "-T", "worker", "cat", "/tmp/decided.csv")
    assert [row["decision"] for row in csv.DictReader(decided.splitlines())].count("keep") == 1


def test_both_pages_open_and_ask_nobody_but_the_stack(stack: Stack) -> None:
    with urlopen(f"{stack.prefect}/", timeout=30) as page:
        assert page.status == 200
    asked: set[str] = set()
    with opened_browser() as browser:
        for address, sign in ((stack.prefect, "Dashboard"), (stack.page, "Overview")):
            view = browser.new_page()
            view.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
            view.on("websocket", lambda socket: asked.add(urlsplit(socket.url).netloc))
            view.goto(address)
            view.get_by_text(sign).first.wait_for(timeout=120_000)
            view.wait_for_timeout(10_000)
            view.close()
    assert asked - {""} == {urlsplit(stack.prefect).netloc, urlsplit(stack.page).netloc}


def test_each_part_killed_in_the_middle_of_an_audit_changes_nothing(stack: Stack, tiny: Tiny, plain: bytes) -> None:
    stack.schedule(tiny, "killed", "/results/killed", "--shard-size=2")
    run = stack.run("killed")
    shards = 0
    for service in ("worker", "server", "database", "page"):
        shards = stack.wait_for_more("killed/*/*/sweep-*.parquet", shards)
        stack.compose("kill", "--signal", "KILL", service)
        assert not stack.candidates("killed").exists(), f"{service} was not killed in the middle"
        stack.compose("start", service)
    # Each has another network since.
    stack.watch()
    assert stack.wait_for_end(run) == "Completed"
    assert stack.candidates("killed").read_bytes() == plain
    tasks = stack.ask("task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}, "limit": 200})
    assert not [task["name"] for task in tasks if task["state"]["type"] == "RUNNING"]


def test_an_audit_that_ends_while_the_database_is_away_is_reported_once_it_is_back(
    stack: Stack, tiny: Tiny, plain: bytes
) -> None:
    stack.schedule(tiny, "unheard", "/results/unheard", "--shard-size=2")
    run = stack.run("unheard")
    stack.wait_for_more("unheard/work/*/rank.parquet")
    stack.compose("stop", "--timeout", "2", "database")
    assert not stack.candidates("unheard").exists(), "the audit had ended"
    said = stack.refused("schedule", "list")
    assert "as while its database is away" in said, said
    wait_until(stack.candidates("unheard").exists)
    # Longer than a process tries to report.
    time.sleep(150)
    stack.compose("start", "database")
    assert stack.wait_for_end(run) == "Completed"
    assert stack.candidates("unheard").read_bytes() == plain


def test_two_workers_run_two_schedules_at_a_time(stack: Stack, tiny: Tiny, plain: bytes) -> None:
    stack.compose("up", "--detach", "--wait", "--scale", "worker=2")
    names = ("left", "right")
    for name in names:
        stack.schedule(tiny, name, f"/results/{name}", "--shard-size=2")
    with ThreadPoolExecutor(len(names)) as beside:
        runs = list(beside.map(stack.run, names))
    assert [stack.wait_for_end(run) for run in runs] == ["Completed", "Completed"]
    found = [stack.ask(f"flow_runs/{run}") for run in runs]
    assert {run["labels"]["prefect.worker.name"] for run in found} == {"worker", "worker 2"}
    assert max(run["start_time"] for run in found) < min(run["end_time"] for run in found)
    assert {stack.candidates(name).read_bytes() for name in names} == {plain}
    stack.compose("up", "--detach", "--wait", "--scale", "worker=1")


def test_nothing_was_asked_of_the_internet(stack: Stack) -> None:
    assert stack.asked() == set()


def test_a_hub_that_is_not_there_ends_a_run_soon_in_one_sentence(stack: Stack, tiny: Tiny) -> None:
    stack.gradattn("schedule", "add", seen(tiny.dataset), "--name=hub", "--out=/results/hub", "--cron=0 3 1 1 *")
    stack.watch()
    run = stack.run("hub")
    assert stack.wait_for_end(run) == "Failed"
    found = stack.ask(f"flow_runs/{run}")
    assert "its published weights could not be had" in found["state"]["message"]
    assert found["total_run_time"] < 60
    # Its process may still say something after its state is told.
    time.sleep(10)
    assert "Traceback" not in stack.compose("logs", "--no-log-prefix", "--since", "2m", "worker")
    # What the watchers would have seen of others.
    assert "huggingface.co" in stack.asked()
