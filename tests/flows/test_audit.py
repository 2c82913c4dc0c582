"""The audit as a Prefect flow, on a real server: the same result as without Prefect, and what Prefect shows of it."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from flows.artifacts import (
    PAGE_KEY,
    SUMMARY_KEY,
    SUSPECTS_KEY,
    TOP_SUSPECTS,
    progress_key,
)
from flows.audit import audit_flow, run_as_flow
from flows.schedules import require_absolute
from flows.status import schedules
from gradattn_core import outfolder
from gradattn_core.audit.plan import make_plan, survey_dataset
from gradattn_core.audit.run import audit_images
from gradattn_core.config import AuditConfig, FineTuning, parameters
from gradattn_core.errors import DatasetError, GradattnError, StoreError
from gradattn_core.records import AuditSummary
from gradattn_core.store.store import Store
from tests.helpers.prefect_runs import latest_run, tasks_of
from tests.helpers.signals import interrupt_once_there
from tests.helpers.tiny import Tiny, model_options


@pytest.fixture(scope="module")
def client() -> Iterator[SyncPrefectClient]:
    """A Prefect server of this test's own, and a client that reads from it."""
    with prefect_test_harness(server_startup_timeout=120), get_client(sync_client=True) as found:
        yield found


@pytest.fixture(scope="module")
def plain(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of the audit without Prefect."""
    out = tmp_path_factory.mktemp("plain")
    audit_images(tiny.config(out))
    return out


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
    without = audit_images(tiny.config(plain))
    assert without_places(summary) == without_places(without)
    assert summary.candidates == tmp_path / "candidates.csv" and summary.database.is_file()
    assert ("sweep", 42, 42) in told and ("merge", 1, 1) in told

    run = latest_run(client)
    assert run.state is not None and run.state.is_completed()
    assert run.name == f"audit of {tiny.dataset}"
    assert run.parameters["dataset"] == str(tiny.dataset) and run.parameters["finetuning"]["epochs"] == 5
    shards = {f"sweep shard {index}" for index in range(3)}
    names = {"plan", "rank", "interpret shard 0", "findings", "merge"} | shards
    assert names <= set(tasks_of(client, run, names))
    shown = artifacts_of(client, run)
    assert shown[progress_key("sweep")] == shown[progress_key("interpret")] == 100.0
    assert "| images | 42 |" in shown[SUMMARY_KEY] and "candidates&#46;csv" in shown[SUMMARY_KEY]
    assert "Since the audit before" not in shown[SUMMARY_KEY] and PAGE_KEY not in shown
    assert shown[SUSPECTS_KEY].count("\n") == 2 + min(TOP_SUSPECTS, summary.suspects)


def test_a_fine_tuned_flow_gives_the_result_of_the_audit_without_prefect(
    tiny: Tiny, client: SyncPrefectClient, tmp_path: Path
) -> None:
    config = tiny.config(tmp_path / "plain", head="finetune", folds=2, finetuning=FineTuning(epochs=1))
    audit_images(config)
    run_as_flow(replace(config, out=str(tmp_path / "flow")))
    assert (tmp_path / "flow/candidates.csv").read_bytes() == (tmp_path / "plain/candidates.csv").read_bytes()
    assert artifacts_of(client, latest_run(client))[progress_key("finetune")] == 100.0


def test_a_finished_audit_is_not_made_again(tiny: Tiny, plain: Path, client: SyncPrefectClient) -> None:
    (plain / "candidates.csv").unlink()
    first = audit_images(tiny.config(plain))
    (plain / "candidates.csv").unlink()
    again = run_as_flow(tiny.config(plain))
    assert again.audit_id == first.audit_id and again.candidates.is_file()
    run = latest_run(client)
    assert set(tasks_of(client, run, {"plan"})) == {"plan"}
    assert set(artifacts_of(client, run)) == {SUMMARY_KEY, SUSPECTS_KEY}


def test_what_is_new_since_the_audit_before_is_in_the_summary(
    tiny: Tiny, plain: Path, client: SyncPrefectClient, tmp_path: Path
) -> None:
    out, dataset = tmp_path / "out", tmp_path / "dataset"
    shutil.copytree(plain, out)
    shutil.copytree(tiny.dataset, dataset)
    first = replace(tiny.config(out), dataset=str(dataset))
    audit_images(first)
    moved = dataset / "blue/blue-05.png"
    moved.rename(dataset / "red/blue-05.png")
    (dataset / "green/green-06.png").unlink()
    summary = run_as_flow(first)
    store = Store(out, read_only=True)
    after, before, another = store.audits.all()["audit_id"]
    news = store.audits.news(after)
    assert news is not None and (news.new_images, news.gone_images, news.relabelled_images) == (1, 2, 1)
    assert summary.news == news == store.audits.difference(before, after)
    assert news.since == before and summary.audit_id == after
    # The audit of the same pictures in another place is no audit before.
    assert store.audits.news(before) is None and store.audits.news(another) is None
    shown = artifacts_of(client, latest_run(client))[SUMMARY_KEY]
    assert f"| suspects | {news.new_suspects} | {news.gone_suspects} |" in shown and "| images | 1 | 2 |" in shown


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
    client: SyncPrefectClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(DatasetError, match="nothing-here"):
        run_as_flow(AuditConfig(str(tmp_path / "nothing-here"), out=str(tmp_path / "out")))
    # Its owner reads the log on Prefect's page: the sentence, and no word on where in the code it arose.
    said = [record for record in caplog.records if record.name == "prefect.task_runs" and record.levelname == "ERROR"]
    assert said and not any(record.exc_info for record in said) and "nothing-here" in said[0].getMessage()
    run = latest_run(client)
    assert run.state is not None and run.state.is_failed() and "nothing-here" in str(run.state.message)
    assert tasks_of(client, run, {"plan"})["plan"].run_count == 1


def test_a_second_audit_into_the_same_folder_is_refused(tiny: Tiny, client: SyncPrefectClient, tmp_path: Path) -> None:
    with outfolder.lock(str(tmp_path)), pytest.raises(StoreError, match="another audit is at work there"):
        run_as_flow(tiny.config(tmp_path))
    run = latest_run(client)
    assert run.state is not None and run.state.is_failed()


def test_without_a_server_nothing_is_known_and_none_is_started(tmp_path: Path) -> None:
    with (
        temporary_settings({PREFECT_HOME: tmp_path}, restore_defaults={PREFECT_API_URL}),
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
    model += ["--model-arguments", json.dumps(config.model_arguments), "--precision", config.precision]
    options = ["--head", "probe", "--shard-size", "1", "--batch-size", "8", "--out", "out", "--flow"]
    process = subprocess.Popen(
        [sys.executable, "-m", "gradattn_core", "audit", str(tiny.dataset), *model, *options],
        cwd=tmp_path,
        env={**os.environ, "PREFECT_HOME": str(tmp_path / "prefect")},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    # It reaches the temporary server too.
    complaint = interrupt_once_there(process, tmp_path, "out/work/*/sweep-00003.parquet")
    assert process.returncode == 130
    assert "Traceback" not in complaint and "continues where it stopped" in complaint
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/work/*/sweep-*.parquet")}
    assert 4 <= len(kept) < 42
    summary = audit_images(config)
    continued = tmp_path / "out/features" / summary.audit_id
    assert all((continued / path.name).stat().st_mtime_ns == moment for path, moment in kept.items())
    audit_images(replace(config, out=str(tmp_path / "undisturbed")))
    assert (tmp_path / "out/candidates.csv").read_bytes() == (tmp_path / "undisturbed/candidates.csv").read_bytes()


def test_the_flow_offers_every_parameter_of_an_audit_described_and_with_its_choices() -> None:
    schema = audit_flow.parameters.model_dump()
    offered = schema["properties"]
    config = {item.name: item for item in fields(AuditConfig)}
    # What is told after a run, and where, is no part of the audit.
    assert list(offered) == [*config, "notify_above", "page_url"]
    assert all(len(parameter["description"]) > 10 for parameter in offered.values())
    defaults = {name: item.default for name, item in inspect.signature(audit_flow.fn).parameters.items()}
    for name, item in config.items():
        if item.default is not MISSING:
            assert defaults[name] == item.default, name
    assert defaults["finetuning"] == FineTuning() and schema["required"] == ["dataset"]
    choices = {parameter.name: list(parameter.choices) for parameter in parameters() if parameter.choices}
    assert {name: offered[name]["enum"] for name in choices} == choices
    assert choices["head"] == ["auto", "as-is", "probe", "finetune"] and len(choices) > 5


def test_a_schedule_refuses_paths_that_start_from_somewhere(tiny: Tiny, tmp_path: Path) -> None:
    require_absolute(tiny.config(tmp_path))
    require_absolute(replace(tiny.config(tmp_path), dataset="s3://bucket/photos"))
    for name in ("dataset", "out", "checkpoint", "class_map"):
        change: dict[str, Any] = {name: "somewhere"}
        with pytest.raises(GradattnError, match=f"{name} 'somewhere' is relative"):
            require_absolute(replace(tiny.config(tmp_path), **change))


@pytest.mark.slow
def test_a_killed_flow_leaves_no_server_behind(tiny: Tiny, tmp_path: Path) -> None:
    home = {**os.environ, "PREFECT_HOME": str(tmp_path / "prefect")}
    command = [sys.executable, "-m", "gradattn_core", "audit", str(tiny.dataset), *model_options(tiny), "--flow"]
    with subprocess.Popen([*map(str, command), "--shard-size", "1"], cwd=tmp_path, env=home) as flow:
        deadline = time.monotonic() + 300
        while not any(tmp_path.glob("gradattn-out/work/*/sweep-00001.parquet")) and time.monotonic() < deadline:
            time.sleep(0.2)
        servers = subprocess.run(["pgrep", "-f", "-P", str(flow.pid), "flows.server"], capture_output=True, text=True)
        flow.kill()
    [server] = servers.stdout.split()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{server}").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not Path(f"/proc/{server}").exists()
