"""The audit as a Prefect flow, on a real server: the same result as without Prefect, and what Prefect shows of it."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import MISSING, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from markdown_it import MarkdownIt
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, TaskRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments.runner import RunnerDeployment
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Scheduled
from prefect.testing.utilities import prefect_test_harness

from flows.artifacts import SUMMARY_KEY, progress_key, summary_markdown
from flows.audit import audit_flow, run_as_flow
from flows.known import schedules
from gradattn_core.audit import AuditConfig, make_plan, output_lock, run_audit, survey_dataset
from gradattn_core.audit.config import AUDIT_CORRECTIONS, AUDIT_OBJECTIVES, HEADS, INTERPRET
from gradattn_core.errors import DatasetError, GradattnError, StoreError
from gradattn_core.model import FineTuning
from gradattn_core.records import AuditSummary
from tests.tiny import Tiny, make_tiny

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "a | b",
    "**bold** [x](javascript:1) ![y](z)",
    "two\nlines `code`",
    "🦅 &amp; co\\",
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp("tiny"), per_class=14)


@pytest.fixture(scope="module")
def client() -> Iterator[SyncPrefectClient]:
    """A Prefect server of this test's own, and a client that reads from it."""
    with prefect_test_harness(server_startup_timeout=120), get_client(sync_client=True) as found:
        yield found


@pytest.fixture(scope="module")
def plain(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of the audit without Prefect."""
    out = tmp_path_factory.mktemp("plain")
    run_audit(tiny.config(out))
    return out


def latest_run(client: SyncPrefectClient) -> FlowRun:
    return client.read_flow_runs(sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=1)[0]


def tasks_of(client: SyncPrefectClient, run: FlowRun, names: set[str]) -> dict[str, TaskRun]:
    """The task runs by name, once Prefect has recorded those that are asked for: it does so a moment later."""
    deadline = time.monotonic() + 30
    while True:
        runs = {task.name: task for task in client.read_task_runs() if task.flow_run_id == run.id}
        recorded = {name for name, task in runs.items() if task.state is not None and task.state.is_final()}
        if names <= recorded:
            return runs
        assert time.monotonic() < deadline, f"{names - recorded} were not recorded"
        time.sleep(0.2)


def artifacts_of(client: SyncPrefectClient, run: FlowRun) -> dict[str | None, Any]:
    return {artifact.key: artifact.data for artifact in client.read_artifacts() if artifact.flow_run_id == run.id}


def without_places(summary: AuditSummary) -> AuditSummary:
    """What two audits of the same pictures have in common."""
    return replace(summary, audit_id="", database=Path(), candidates=Path(), seconds={})


def test_a_flow_gives_the_result_of_the_audit_without_prefect_and_shows_it(
    tiny: Tiny, plain: Path, client: SyncPrefectClient, tmp_path: Path
) -> None:
    told: list[tuple[str, int, int]] = []
    summary = run_as_flow(tiny.config(tmp_path), lambda *progress: told.append(progress))
    assert (tmp_path / "candidates.csv").read_bytes() == (plain / "candidates.csv").read_bytes()
    without = run_audit(tiny.config(plain))
    assert without_places(summary) == without_places(without)
    assert summary.candidates == tmp_path / "candidates.csv" and summary.database.is_file()
    assert ("sweep", 42, 42) in told and ("store", 1, 1) in told

    run = latest_run(client)
    assert run.state is not None and run.state.is_completed()
    assert run.name == f"audit of {tiny.dataset}"
    assert run.parameters["dataset"] == str(tiny.dataset) and run.parameters["finetuning"]["epochs"] == 5
    shards = {f"sweep shard {index}" for index in range(3)}
    names = {"plan", "judge", "interpret shard 0", "findings", "merge"} | shards
    assert names <= set(tasks_of(client, run, names))
    shown = artifacts_of(client, run)
    assert shown[progress_key("sweep")] == shown[progress_key("interpret")] == 100.0
    assert "| images | 42 |" in shown[SUMMARY_KEY] and "candidates&#46;csv" in shown[SUMMARY_KEY]


def test_a_fine_tuned_flow_gives_the_result_of_the_audit_without_prefect(
    tiny: Tiny, client: SyncPrefectClient, tmp_path: Path
) -> None:
    config = tiny.config(tmp_path / "plain", head="finetune", folds=2, finetuning=FineTuning(epochs=1))
    run_audit(config)
    run_as_flow(replace(config, out=str(tmp_path / "flow")))
    assert (tmp_path / "flow/candidates.csv").read_bytes() == (tmp_path / "plain/candidates.csv").read_bytes()
    assert artifacts_of(client, latest_run(client))[progress_key("fine-tune")] == 100.0


def test_a_finished_audit_is_not_made_again(tiny: Tiny, plain: Path, client: SyncPrefectClient) -> None:
    (plain / "candidates.csv").unlink()
    first = run_audit(tiny.config(plain))
    (plain / "candidates.csv").unlink()
    again = run_as_flow(tiny.config(plain))
    assert again.audit_id == first.audit_id and again.candidates.is_file()
    run = latest_run(client)
    assert set(tasks_of(client, run, {"plan"})) == {"plan"}
    assert set(artifacts_of(client, run)) == {SUMMARY_KEY}


def test_a_shard_that_cannot_be_written_once_is_retried(
    tiny: Tiny, plain: Path, client: SyncPrefectClient, tmp_path: Path
) -> None:
    config = tiny.config(tmp_path)
    blocked = make_plan(config, survey_dataset(config)).folder / "failures-sweep-00001.parquet"
    attempts: list[int] = []

    def obstruct(stage: str, done: int, total: int) -> None:
        """At first a folder is where a file has to be renamed to, which is an OSError; the next time it is gone."""
        if (stage, done, total) == ("sweep", 40, 42):
            attempts.append(done)
            if len(attempts) == 1:
                blocked.mkdir()
            elif blocked.is_dir():
                blocked.rmdir()

    run_as_flow(config, obstruct)
    shard = tasks_of(client, latest_run(client), {"sweep shard 1"})["sweep shard 1"]
    assert shard.run_count == 2
    assert (tmp_path / "candidates.csv").read_bytes() == (plain / "candidates.csv").read_bytes()


def test_what_the_user_must_change_is_not_retried_and_comes_out_as_it_is(
    client: SyncPrefectClient, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="nothing-here"):
        run_as_flow(AuditConfig(str(tmp_path / "nothing-here"), out=str(tmp_path / "out")))
    run = latest_run(client)
    assert run.state is not None and run.state.is_failed() and "nothing-here" in str(run.state.message)
    assert tasks_of(client, run, {"plan"})["plan"].run_count == 1


def test_a_second_audit_into_the_same_folder_is_refused(tiny: Tiny, client: SyncPrefectClient, tmp_path: Path) -> None:
    with output_lock(str(tmp_path)), pytest.raises(StoreError, match="another audit is at work there"):
        run_as_flow(tiny.config(tmp_path))
    run = latest_run(client)
    assert run.state is not None and run.state.is_failed()


def test_deployments_are_known_with_their_schedules_and_next_run(client: SyncPrefectClient) -> None:
    assert schedules().empty
    RunnerDeployment.from_flow(audit_flow, "birds", parameters={"dataset": HOSTILE[0]}, paused=True).apply()
    places = {"dataset": "/data", "out": "/results"}
    identity = RunnerDeployment.from_flow(audit_flow, "photos", parameters=places, cron="0 3 * * 1").apply()
    assert isinstance(identity, UUID)
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=5)
    client.create_flow_run_from_deployment(identity, state=Scheduled(scheduled_time=due))
    known = schedules()
    assert known.to_dict("records") == [
        {"deployment": "audit/birds", "dataset": HOSTILE[0], "out": "", "schedule": "", "active": False}
        | {"state": "not_ready", "next_run": ""},
        {"deployment": "audit/photos", "dataset": "/data", "out": "/results", "schedule": "0 3 * * 1", "active": True}
        | {"state": "not_ready", "next_run": due.isoformat()},
    ]
    command = [sys.executable, "-m", "flows.known"]
    server = {**os.environ, "PREFECT_API_URL": str(client.api_url).rstrip("/")}
    printed = subprocess.run(command, env=server, capture_output=True, text=True, check=True).stdout
    assert json.loads(printed) == known.to_dict("records")


def test_without_a_server_nothing_is_known_and_none_is_started() -> None:
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(GradattnError, match="no Prefect server"),
    ):
        schedules()


def test_the_command_line_says_a_user_error_in_one_sentence(client: SyncPrefectClient, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gradattn_core", "audit", "nothing-here", "--flow"]
    server = {**os.environ, "PREFECT_API_URL": str(client.api_url).rstrip("/")}
    missing = subprocess.run(command, cwd=tmp_path, env=server, capture_output=True, text=True, check=False)
    assert missing.returncode == 2 and missing.stdout == ""
    assert missing.stderr.startswith("gradattn: ") and missing.stderr.count("\n") == 1, missing.stderr


def test_a_server_that_does_not_answer_is_said_before_anything_is_done(tiny: Tiny, tmp_path: Path) -> None:
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(GradattnError, match=r"http://127\.0\.0\.1:9/api does not answer"),
    ):
        run_as_flow(tiny.config(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_ctrl_c_on_the_temporary_server_leaves_what_the_next_run_continues(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny.config(tmp_path / "out", shard_size=1)
    model = ["--model", config.model, "--checkpoint", str(config.checkpoint)]
    model += ["--model-arguments", json.dumps(config.model_arguments)]
    options = ["--head", "probe", "--shard-size", "1", "--batch-size", "8", "--out", "out", "--flow"]
    process = subprocess.Popen(
        [sys.executable, "-m", "gradattn_core", "audit", str(tiny.dataset), *model, *options],
        cwd=tmp_path,
        env={**os.environ, "PREFECT_HOME": str(tmp_path / "prefect")},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 150
        while not list(tmp_path.glob("out/work/*/sweep-00003.parquet")):
            assert process.poll() is None and time.monotonic() < deadline, process.returncode
            time.sleep(0.05)
        # The terminal sends it to every process of the group, to the temporary server too.
        os.killpg(process.pid, signal.SIGINT)
        _, complaint = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in complaint and "continues where it stopped" in complaint
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/work/*/sweep-*.parquet")}
    assert 4 <= len(kept) < 42
    summary = run_audit(config)
    continued = tmp_path / "out/features" / summary.audit_id
    assert all((continued / path.name).stat().st_mtime_ns == moment for path, moment in kept.items())
    run_audit(replace(config, out=str(tmp_path / "undisturbed")))
    assert (tmp_path / "out/candidates.csv").read_bytes() == (tmp_path / "undisturbed/candidates.csv").read_bytes()


def test_the_flow_offers_every_parameter_of_an_audit_described_and_with_its_choices() -> None:
    schema = audit_flow.parameters.model_dump()
    offered = schema["properties"]
    config = {item.name: item for item in fields(AuditConfig)}
    assert list(offered) == list(config)
    assert all(len(parameter["description"]) > 10 for parameter in offered.values())
    defaults = {name: item.default for name, item in inspect.signature(audit_flow.fn).parameters.items()}
    for name, item in config.items():
        if item.default is not MISSING:
            assert defaults[name] == item.default, name
    assert defaults["finetuning"] == FineTuning() and schema["required"] == ["dataset"]
    choices = {"head": HEADS, "interpret": INTERPRET, "objective": AUDIT_OBJECTIVES, "correction": AUDIT_CORRECTIONS}
    assert {name: set(offered[name]["enum"]) for name in choices} == {name: set(each) for name, each in choices.items()}


def test_labels_and_paths_are_shown_as_text_in_the_summary() -> None:
    pairs = tuple(
        {"given_label": label, "suggested_label": label[::-1], "suspects": 3, "expected": 2.5, "share": 0.25}
        for label in HOSTILE
    )
    place = Path("/data/a | <b>b</b>")
    files = (place / "gradattn.duckdb", place / "candidates.csv")
    summary = AuditSummary("id", 1234, 1, 2, 3, 4.4, pairs, *files, warnings=("_n_",))
    page = MarkdownIt("commonmark", {"html": True}).enable("table").parse(summary_markdown(summary, HOSTILE[0]))
    assert not [token for token in page if token.type == "html_block"]
    inline = [token for token in page if token.type == "inline"]
    allowed = {"text", "softbreak", "em_open", "em_close", "code_inline"}
    assert {child.type for token in inline for child in token.children or []} <= allowed
    shown = ["".join(child.content for child in token.children or []) for token in inline]
    for label in HOSTILE:
        row = shown.index(" ".join(label.split()), shown.index("looks like"))
        assert shown[row : row + 5] == [*map(one_line, (label, label[::-1])), "3", "2.5", "25.0%"]
    assert f"candidates: {files[1]}" in shown and shown[0] == HOSTILE[0]


def one_line(text: str) -> str:
    return " ".join(text.split())
