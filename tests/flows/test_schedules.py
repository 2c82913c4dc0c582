"""Schedules from the command line, served by a real worker with a Prefect server of its own, as on a laptop."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect import task
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, PREFECT_HOME, temporary_settings
from prefect.states import Cancelling, Crashed, Pending, Running, Scheduled

from flows.artifacts import PAGE_KEY, SUMMARY_KEY, SUSPECTS_KEY, track
from flows.notify import tell, was_told
from flows.recovery import _has_process, lost_runs, orphaned_runs, skip_missed_runs, watch_runs
from flows.schedules import _with_absolute_paths, cron, every, make_pool, require_absolute
from flows.server import connect, local_address
from flows.status import next_time
from flows.worker import _names, _only_one_called
from gradattn_core import outfolder
from gradattn_core.audit.run import audit_images
from gradattn_core.cli import main
from gradattn_core.config import AuditConfig
from gradattn_core.errors import GradattnError
from gradattn_core.store.store import Store
from tests.helpers.prefect_runs import (
    PATIENCE,
    away,
    ended,
    environment,
    one_sentence,
    options,
    receiver,
    state_of,
    work,
)
from tests.helpers.tiny import Tiny, make_tiny
from ui.audits import timetable


@task
def unfinished_task() -> None:
    """A part that a process was at work on when it ended."""


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prefect's folder with a database in which a schedule was made before there was any worker."""
    home = tmp_path_factory.mktemp("prefect")
    (home / "early").mkdir()
    command = [sys.executable, "-m", "gradattn_core", "schedule", "add", "early", "--cron", "0 3 * * 1", "--json"]
    made = subprocess.run(command, cwd=home, env=environment(home), capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout) == {
        **{"name": "early", "created": True, "dataset": str(home / "early"), "out": str(home / "gradattn-out")},
        **{"schedule": "0 3 * * 1 (UTC)", "pool": "gradattn", "paused": False},
    }
    return home


@pytest.fixture(scope="module")
def worker(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    with work(home) as process:
        yield process


@pytest.fixture
def command(
    home: Path, worker: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """``gradattn schedule …`` in this process: exit code, standard output, standard error."""
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "CRITICAL")

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["schedule", *map(str, arguments)])
        said = capsys.readouterr()
        return status, said.out, said.err

    with temporary_settings({PREFECT_HOME: home}, restore_defaults={PREFECT_API_URL}):
        yield run


@pytest.fixture
def client(command: Command) -> Iterator[SyncPrefectClient]:
    """A client of the worker's own server."""
    address = local_address()
    assert address is not None
    with temporary_settings({PREFECT_API_URL: address}), get_client(sync_client=True) as found:
        yield found


def test_a_dataset_that_is_not_there_is_said_unless_it_is_another_machines(command: Command, tmp_path: Path) -> None:
    status, _, said = command("add", "nothing-here", "--every", "6h")
    assert status == 2 and "dataset 'nothing-here': there is no such file or folder" in one_sentence(said)
    far = ["add", "/far/away", "--out", "/far/out", "--every", "6h", "--json"]
    assert command(*far)[0] == 2
    status, out, _ = command(*far, "--elsewhere")
    assert status == 0 and json.loads(out)["dataset"] == "/far/away"
    assert command("remove", "away")[0] == 0


@pytest.mark.usefixtures("without_openvino")
def test_what_no_run_could_be_computed_by_is_refused_unless_it_is_another_machines(
    command: Command, tmp_path: Path
) -> None:
    asked = ["add", tmp_path, "--out", tmp_path / "out", "--every", "6h", "--name", "by-openvino"]
    asked += ["--device", "cpu", "--engine", "openvino"]
    status, _, said = command(*asked)
    assert status == 2 and "engine 'openvino' needs a package" in one_sentence(said)
    assert command(*asked, "--elsewhere")[0] == 0
    assert command("remove", "by-openvino")[0] == 0


def test_what_torch_computes_is_scheduled_without_bringing_torch() -> None:
    asks = (
        "import sys; from flows.schedules import _require_engine; from gradattn_core.config import AuditConfig; "
        "_require_engine(AuditConfig('photos')); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True).stdout == "False\n"


def test_a_pattern_and_an_address_in_an_archive_are_looked_for_and_become_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.tar", "b.tar", "photos.zip", "one[1].csv"):
        (tmp_path / name).touch()
    there = {
        "*.tar": f"{tmp_path}/*.tar",
        "{a,c}.tar": f"{tmp_path}/{{a,c}}.tar",
        "?.tar": f"{tmp_path}/?.tar",
        "one[1].csv": f"{tmp_path}/one[1].csv",
        "zip://::photos.zip": f"zip://::{tmp_path}/photos.zip",
        "zip://inside::photos.zip": f"zip://inside::{tmp_path}/photos.zip",
        "s3://bucket/photos": "s3://bucket/photos",
    }
    for dataset, whole in there.items():
        config = _with_absolute_paths(AuditConfig(dataset))
        assert config.dataset == whole
        require_absolute(config)
    for dataset in ("*.zap", "{c,d}.tar", "zip://::gone.zip", "gone"):
        with pytest.raises(GradattnError, match="no such file or folder on this machine"):
            _with_absolute_paths(AuditConfig(dataset))
    with pytest.raises(GradattnError, match="is relative"):
        require_absolute(AuditConfig("zip://::photos.zip", out="/out"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 3 31 2 *", "never falls due"),
        ("0 0 30 2 *", "never falls due"),
        ("* * * * * *", "five fields work"),
        ("* * * * * 2030", "five fields work"),
        ("61 * * * *", "five fields work"),
        ("@reboot", "five fields work"),
        ("", "five fields work"),
    ],
)
def test_a_cron_expression_that_never_falls_due_or_is_none_is_refused(text: str, words: str) -> None:
    with pytest.raises(GradattnError, match=words):
        cron(text, None)


def test_when_a_schedule_falls_due_next_is_known_without_a_worker() -> None:
    now = datetime.now(UTC)
    leap = next_time(cron("0 3 29 2 *", "Europe/Berlin"))
    assert leap is not None and leap > now and (leap.hour, leap.month, leap.day) == (2, 2, 29)
    daily = next_time(cron("@daily", None))
    assert daily == (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    hours = next_time(every("6h", "UTC"))
    assert hours is not None and now < hours <= now + timedelta(hours=6) and hours.hour % 6 == hours.minute == 0


def test_a_schedule_made_before_the_worker_is_served_by_it(command: Command) -> None:
    deadline = time.monotonic() + 90
    while not (early := listed(command)["audit/early"])["next_run"]:
        assert time.monotonic() < deadline
        time.sleep(1)
    due = datetime.fromisoformat(early["next_run"])
    assert (due.weekday(), due.hour, due.minute) == (0, 3, 0) and due > datetime.now(UTC)


def listed(command: Command) -> dict[str, dict[str, Any]]:
    status, out, _ = command("list", "--json")
    assert status == 0
    return {row["deployment"]: row for row in json.loads(out)}


def test_a_schedule_is_a_deployment_with_typed_parameters_and_absolute_paths(
    command: Command, client: SyncPrefectClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd [b]photos <i>").mkdir()
    monkeypatch.chdir(tmp_path)
    status, out, _ = command(
        *("add", "odd [b]photos <i>", "--cron", "0 3 * * 1", "--timezone", "Europe/Berlin"),
        *("--out", "found", "--head", "finetune", "--epochs", "7", "--notify-above", "10"),
    )
    assert status == 0 and "added schedule odd-b-photos-i: 0 3 * * 1 (Europe/Berlin)" in out
    deployment = client.read_deployment_by_name("audit/odd-b-photos-i")
    assert deployment.entrypoint == "flows.audit.audit_flow" and deployment.tags == ["gradattn"]
    assert deployment.work_pool_name == "gradattn" and deployment.enforce_parameter_schema
    assert deployment.parameters["dataset"] == str(tmp_path / "odd [b]photos <i>")
    assert deployment.parameters["out"] == str(tmp_path / "found")
    assert deployment.parameters["finetuning"]["epochs"] == 7 and deployment.parameters["notify_above"] == 10
    schema = deployment.parameter_openapi_schema
    assert schema is not None and schema["properties"]["folds"]["type"] == "integer"
    assert schema["properties"]["head"]["enum"] == ["auto", "as-is", "probe", "finetune"]
    assert command("remove", "odd-b-photos-i")[0] == 0


def test_adding_again_updates_pausing_and_removing_are_told(command: Command, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    assert "added schedule photos" in command("add", tmp_path / "photos", "--every", "6h")[1]
    assert "schedule photos is paused" in command("pause", "photos")[1]
    assert "paused already" in command("pause", "photos")[1]
    status, out, _ = command("add", tmp_path / "photos", "--every", "90m")
    assert status == 0 and "updated schedule photos: every 90m (UTC); it is paused" in out
    row = listed(command)["audit/photos"]
    assert row["schedule"] == "every 90m (UTC)" and not row["active"] and row["next_run"] == ""
    assert "schedule photos is active" in command("resume", "photos")[1]
    assert listed(command)["audit/photos"]["active"]

    (tmp_path / "other/photos").mkdir(parents=True)
    status, _, said = command("add", tmp_path / "other/photos", "--every", "6h")
    assert status == 2 and f"schedule photos is of another dataset, {tmp_path / 'photos'}" in one_sentence(said)
    status, _, said = command("remove", "fotos")
    assert status == 2 and "schedule 'fotos' is unknown; did you mean photos?" in one_sentence(said)
    assert command("run", "a/b")[0] == 2
    assert "removed schedule photos" in command("remove", "photos")[1]
    assert "audit/photos" not in listed(command)
    assert command("pause", "photos")[0] == 2


def test_a_run_leaves_its_findings_and_tells_of_new_suspects_once(
    command: Command, client: SyncPrefectClient, tiny: Tiny, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with receiver() as (address, received):
        notice = ["--webhook", address, "--page-url", "http://localhost:8501/a(b)"]
        timing = ["--every", "52w", "--name", "told"]
        assert command("add", tiny.dataset, *options(tiny, out), *timing, *notice)[0] == 0
        status, answer, _ = command("run", "told", "--json")
        assert status == 0 and json.loads(answer)["worker"]
        run = ended(client, json.loads(answer)["flow_run"])
        assert run.state is not None and run.state.is_completed(), run.state
        audit_images(tiny.config(tmp_path / "plain"))
        assert (out / "candidates.csv").read_bytes() == (tmp_path / "plain/candidates.csv").read_bytes()

        shown = {
            artifact.key: str(artifact.data) for artifact in client.read_artifacts() if artifact.flow_run_id == run.id
        }
        assert "| images | 42 |" in shown[SUMMARY_KEY] and "Since the audit before" not in shown[SUMMARY_KEY]
        first = (out / "candidates.csv").read_text("utf-8").splitlines()[1].split(",")[1]
        assert Path(first).name.partition(".")[0] in shown[SUSPECTS_KEY].replace("&#45;", "-")
        assert shown[PAGE_KEY] == "[Review the suspects](http://localhost:8501/a%28b%29)"

        deadline = time.monotonic() + 60
        while not received and time.monotonic() < deadline:
            time.sleep(0.2)
        (told,) = received
        suspects = len((out / "candidates.csv").read_text("utf-8").splitlines()) - 1
        assert told["new_suspects"] == told["suspects"] == suspects and told["dataset"] == str(tiny.dataset)
        assert told["page"] == shown[PAGE_KEY].partition("(")[2][:-1] and str(suspects) in told["text"]

        # A run that finds this audit finished has no news of its own.
        with temporary_settings({PREFECT_API_URL: local_address()}):
            summary = audit_images(tiny.config(out))
            # The server writes events down every few seconds.
            while not was_told(summary.audit_id) and time.monotonic() < deadline:
                time.sleep(0.2)
            assert not tell(summary, str(tiny.dataset), None, above=0)
            assert len(received) == 1
    assert command("remove", "told")[0] == 0
    assert not [each for each in client.read_automations_by_name("gradattn: new suspects of told")]


def test_a_run_into_a_folder_at_work_is_skipped_and_says_so(
    command: Command, client: SyncPrefectClient, tiny: Tiny, tmp_path: Path
) -> None:
    assert command("add", tiny.dataset, *options(tiny, tmp_path), "--every", "52w", "--name", "second")[0] == 0
    with outfolder.lock(str(tmp_path)):
        run = ended(client, json.loads(command("run", "second", "--json")[1])["flow_run"])
    sentence = f"output folder {tmp_path}: another audit is at work there, so this run is left out"
    assert run.state is not None and run.state.is_cancelled()
    assert (run.state.name, run.state.message) == ("Skipped", sentence)
    assert listed(command)["audit/second"]["last_run"] == "Skipped"
    assert command("remove", "second")[0] == 0


def test_a_log_has_the_sentence_of_a_run_that_ended_by_one_and_no_traceback(
    command: Command, client: SyncPrefectClient, home: Path, tmp_path: Path
) -> None:
    before = len((home / "worker.log").read_text("utf-8"))
    far = ["/far/away", "--out", tmp_path / "far", "--every", "52w", "--name", "far", "--elsewhere"]
    assert command("add", *far)[0] == 0
    with outfolder.lock(str(tmp_path / "far")):
        skipped = ended(client, json.loads(command("run", "far", "--json")[1])["flow_run"])
    failed = ended(client, json.loads(command("run", "far", "--json")[1])["flow_run"])
    for run in (skipped, failed):
        while _has_process(run):
            time.sleep(0.2)
    log = (home / "worker.log").read_text("utf-8")[before:]
    assert all(run.state is not None and str(run.state.message) in log for run in (skipped, failed))
    assert "Traceback" not in log and "unexpected exception" not in log, log
    assert command("remove", "far")[0] == 0


def test_a_schedule_that_version_0_1_had_stored_runs(
    command: Command, client: SyncPrefectClient, tiny: Tiny, tmp_path: Path
) -> None:
    stored = json.loads(Path(__file__).with_name("schedule_of_0_1.json").read_text("utf-8"))
    named = {**stored["parameters"], **tiny.parameters(), "out": str(tmp_path / "out")}
    unnamed = {name: value for name, value in named.items() if name not in ("objective", "correction")}
    said = "All maps are drawn anew, with correction secant: the audit before had complete ones."
    # A correction that was named when the schedule was made is kept; where none was, it is the one of now.
    for name, parameters, correction in (("named", named, "complete"), ("unnamed", unnamed, "secant")):
        client.create_deployment(
            client.create_flow_from_name("audit"),
            name,
            entrypoint=stored["entrypoint"],
            pull_steps=[],
            parameters=parameters,
            parameter_openapi_schema=stored["schema"],
            enforce_parameter_schema=True,
            work_pool_name="gradattn",
        )
        run = ended(client, json.loads(command("run", name, "--json")[1])["flow_run"])
        assert run.state is not None
        assert run.state.is_completed(), run.state.message
        audit_images(tiny.config(tmp_path / name, correction=correction))
        assert (tmp_path / "out/candidates.csv").read_bytes() == (tmp_path / name / "candidates.csv").read_bytes()
        warnings = Store(tmp_path / "out").audits.one(Store(tmp_path / "out").audits.latest_id()).warnings
        assert (said in warnings) == (name == "unnamed")
        assert command("remove", name)[0] == 0


def test_the_page_knows_the_schedules_of_the_worker_on_its_machine(
    command: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(home))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert timetable.server() == local_address()
    known = timetable.ask().result(60)
    assert set(known["deployment"]) == set(listed(command))


def test_a_second_worker_on_the_same_database_is_refused(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["worker", "--quiet"]) == 2
    assert "give this one another --name" in one_sentence(capsys.readouterr().err)
    assert main(["worker", "--quiet", "--name", "another"]) == 2
    assert "another worker is at work on Prefect's database" in one_sentence(capsys.readouterr().err)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["worker", "--quiet", "--name", "another", "--health-port", port]) == 2
    assert f"--health-port {port} cannot be used" in one_sentence(capsys.readouterr().err)


def test_runs_that_nobody_is_at_work_on_are_continued_and_those_that_live_are_left_alone(
    command: Command, client: SyncPrefectClient, tmp_path: Path
) -> None:
    (tmp_path / "birds").mkdir()
    assert command("add", tmp_path / "birds", "--every", "52w", "--pool", "nobody", "--name", "left")[0] == 0
    deployment = client.read_deployment_by_name("audit/left")
    make_pool(client, "nobody")
    client.send_worker_heartbeat("nobody", "gone")

    def left(state: State[Any], out: str, *, begun: int = 1) -> UUID:
        run = client.create_flow_run_from_deployment(deployment.id, parameters={"out": str(tmp_path / out)})
        for _ in range(begun):
            client.set_flow_run_state(run.id, Running(), force=True)
        client.set_flow_run_state(run.id, state, force=True)
        client.update_flow_run_labels(run.id, {"prefect.worker.name": "gone"})
        return run.id

    dead, living = left(Running(), "dead"), left(Running(), "living")
    tried, stopping = left(Running(), "tried", begun=3), left(Cancelling(), "stopping")
    starting = left(Pending(), "starting", begun=0)
    others = left(Running(), "others")
    client.update_flow_run_labels(others, {"prefect.worker.name": "somebody else"})
    watched = orphaned_runs(client, "nobody", "gone")
    assert {run.id for run in watched} == {dead, living, tried, stopping, starting}

    # Lost under the eyes of a worker that lives: one's process ended without being able to report, one's has crashed.
    # Of a third nobody holds the lock just now, but its process is there.
    unreported, crashed = left(Running(), "unreported"), left(Crashed(), "crashed")
    reporting = left(Running(), "reporting")
    began = datetime.now(UTC) - timedelta(minutes=1)
    part = client.create_task_run(unfinished_task, unreported, "0", state=Running())

    over = threading.Event()
    marked = {**os.environ, "PREFECT__FLOW_RUN_ID": str(reporting)}
    with outfolder.lock(str(tmp_path / "living")), subprocess.Popen(["sleep", "120"], env=marked) as process:
        often = {"pause": 0.2, "between_looks": 0.3, "starting": timedelta(seconds=2)}

        def look() -> list[FlowRun]:
            return lost_runs(client, "nobody", ["gone"], began)

        thread = threading.Thread(target=watch_runs, args=(client, watched, look, over), kwargs=often)
        thread.start()
        deadline = time.monotonic() + 60
        settled = {"Continued", "Crashed", "Cancelled"}
        while not {state_of(client, each) for each in (dead, tried, stopping, starting, unreported)} <= settled:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        while state_of(client, crashed) != "Continued":
            assert time.monotonic() < deadline
            time.sleep(0.2)
        over.set()
        thread.join()
        process.kill()
    assert [state_of(client, each) for each in (dead, starting, unreported)] == ["Continued"] * 3
    assert [state_of(client, each) for each in (tried, stopping)] == ["Crashed", "Cancelled"]
    assert [state_of(client, each) for each in (living, others, reporting)] == ["Running"] * 3
    ended_part = client.read_task_run(part.id).state
    assert ended_part is not None and ended_part.is_crashed() and ended_part.message == "its process ended"
    assert command("remove", "left")[0] == 0


def test_of_the_runs_missed_without_a_worker_only_the_last_is_made_up_for(
    command: Command, client: SyncPrefectClient, tmp_path: Path
) -> None:
    (tmp_path / "owls").mkdir()
    assert command("add", tmp_path / "owls", "--every", "52w", "--pool", "idle")[0] == 0
    deployment = client.read_deployment_by_name("audit/owls").id

    def due(hours: int, **more: Any) -> UUID:
        when: State[Any] = Scheduled(scheduled_time=datetime.now(UTC) + timedelta(hours=hours))
        return client.create_flow_run_from_deployment(deployment, state=when, **more).id

    by_schedule = {"tags": ["auto-scheduled"]}
    asked_for, coming = due(-4), due(2, **by_schedule)
    missed, last = [due(-3, **by_schedule), due(-2, **by_schedule)], due(-1, **by_schedule)
    assert skip_missed_runs(client, "idle") == 2 and skip_missed_runs(client, "idle") == 0
    assert [state_of(client, each) for each in missed] == ["Skipped", "Skipped"]
    assert {state_of(client, each) for each in (asked_for, coming, last)} <= {"Scheduled", "Late"}
    assert command("remove", "owls")[0] == 0


def test_prefects_page_is_served_and_the_one_with_a_tracker_is_not(client: SyncPrefectClient) -> None:
    place = str(client.api_url).rstrip("/").removesuffix("/api")
    page, newer = httpx.get(f"{place}/"), httpx.get(f"{place}/v2/")
    assert page.status_code == 200 and "<html" in page.text and newer.status_code == 404
    assert httpx.get(f"{place}/ui-settings").json()["api_url"] == "/api"


def test_workers_of_one_name_are_numbered_where_they_may_be(tmp_path: Path) -> None:
    with temporary_settings({PREFECT_HOME: tmp_path}):
        with _only_one_called("box", True) as first, _only_one_called("box", True) as second:
            assert (first, second) == ("box", "box 2")
            assert "box 2" not in _names(first, True) and "box" not in _names(second, True)
            with pytest.raises(GradattnError, match="or --numbered"), _only_one_called("box", False):
                pass
        # Whose worker is gone is looked after by the one that is there, under whichever number.
        assert {"box", "box 2"} <= set(_names("box", True)) and {"box", "box 2"} <= set(_names("box 2", True))
        assert _names("box", False) == ["box"]


def test_a_server_whose_database_is_away_is_told_of_and_holds_no_audit_up() -> None:
    with away() as address, temporary_settings({PREFECT_API_URL: address}):
        begun = time.monotonic()
        assert list(track("sweep", "shards", 3, [1, 1, 1])) == [1, 1, 1]
        assert time.monotonic() - begun < 30
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
            pytest.raises(GradattnError, match=r"cannot do this now \(status 503\), as while its database is away"),
            connect() as client,
        ):
            client.read_work_pool("gradattn")


@pytest.mark.slow
def test_a_worker_killed_with_its_run_and_server_continues_it_after_a_restart(tmp_path: Path) -> None:
    tiny = make_tiny(tmp_path / "data", per_class=60)
    home, out = tmp_path / "home", tmp_path / "out"
    home.mkdir()
    chosen = [*options(tiny, out, shard_size=2), "--every", "52w", "--name", "long", "--quiet"]
    for arguments in (["add", str(tiny.dataset), *chosen], ["run", "long", "--quiet"]):
        command = [sys.executable, "-m", "gradattn_core", "schedule", *arguments]
        subprocess.run(command, env=environment(home), check=True)
    with work(home) as process, temporary_settings({PREFECT_HOME: home}, restore_defaults={PREFECT_API_URL}):
        deadline = time.monotonic() + PATIENCE
        while not list(out.glob("work/*/sweep-00010.parquet")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        address = local_address()
        assert address is not None
        with temporary_settings({PREFECT_API_URL: address}), get_client(sync_client=True) as client:
            (run,) = (each for each in client.read_flow_runs() if each.infrastructure_pid)
        os.kill(int(run.infrastructure_pid or 0), signal.SIGKILL)
        process.kill()
        process.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("work/*/sweep-*.parquet")}
    assert 11 <= len(kept) < 90
    with work(home), temporary_settings({PREFECT_HOME: home}, restore_defaults={PREFECT_API_URL}):
        address = local_address()
        assert address is not None
        with temporary_settings({PREFECT_API_URL: address}), get_client(sync_client=True) as client:
            again = ended(client, str(run.id))
            assert again.state is not None and again.state.is_completed() and again.run_count == 2
    (features,) = out.glob("features/*")
    assert all((features / name).stat().st_mtime_ns == moment for name, moment in kept.items())
    audit_images(tiny.config(tmp_path / "plain", shard_size=2))
    assert (out / "candidates.csv").read_bytes() == (tmp_path / "plain/candidates.csv").read_bytes()
