"""The audits page without a browser: how far an audit is, who may start one, and that what is started is an audit."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from gradattn_core import outfolder
from gradattn_core.audit.findings import write_findings
from gradattn_core.audit.interpret import interpret_shard
from gradattn_core.audit.merge import merge
from gradattn_core.audit.plan import make_plan, survey_dataset
from gradattn_core.audit.rank import rank_images
from gradattn_core.audit.sweep import sweep_shard
from gradattn_core.cli import build_parser
from gradattn_core.config import AuditConfig
from gradattn_core.errors import GradattnError
from gradattn_core.progress import INTERPRET, SWEEP, StepProgress, unfinished_audits
from tests.helpers import pictured_audit, prefect_runs
from tests.helpers.app_pages import opened, press, texts
from tests.helpers.pictured_audit import AUDIT_ID, copied_store
from tests.helpers.tiny import TINY_VIT, Tiny, make_tiny
from ui import components
from ui.audits import process
from ui.audits.process import ALLOW, AuditProcess, arguments, latest, refusal


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp("tiny"), per_class=14)


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An output folder that the page serves and may start audits in; whatever it starts ends with the test."""
    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.setenv("GRADATTN_OUT", str(folder))
    monkeypatch.setenv(ALLOW, "1")
    components.audits.clear()
    yield folder
    run = latest(folder)
    if run is not None and run.state == "running":
        os.kill(run.pid, signal.SIGKILL)


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def ended(out: Path) -> AuditProcess:
    wait_for(lambda: state(out) != "running")
    run = latest(out)
    assert run is not None
    return run


def state(out: Path) -> str:
    run = latest(out)
    return "none" if run is None else run.state


def further(tiny: Tiny, **changes: Any) -> dict[str, Any]:
    options = {name: value for name, value in tiny.parameters().items() if name != "dataset"}
    return options | changes


def fill(app: AppTest, tiny: Tiny, **changes: Any) -> AppTest:
    app.text_input(key="start-dataset").input(str(tiny.dataset))
    app.text_area(key="start-more").input(json.dumps(further(tiny, **changes)))
    return app


def test_progress_follows_the_files_of_a_real_audit_from_plan_to_merge(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny.config(tmp_path)
    plan = make_plan(config, survey_dataset(config))

    def stages() -> list[StepProgress]:
        [work] = unfinished_audits(tmp_path)
        assert (work.dataset, work.images, work.head) == (str(tiny.dataset), 42, "probe")
        return list(work.steps)

    assert stages()[0] == StepProgress(SWEEP, 0, 42)
    for index, swept in enumerate((20, 40, 42)):
        sweep_shard(plan, index)
        assert stages()[0] == StepProgress(SWEEP, swept, 42)
    assert unfinished_audits(tmp_path)[0].current.step.name == "rank"
    rank_images(plan)
    before = stages()
    assert before[1].done == before[1].total == 1
    assert before[2].step == INTERPRET and before[2].done == 0 < before[2].total < 42
    interpret_shard(plan, 0)
    assert stages()[2].done == min(5, before[2].total)
    index = 1
    while unfinished_audits(tmp_path)[0].current.step.name == "interpret":
        interpret_shard(plan, index)
        index += 1
    assert unfinished_audits(tmp_path)[0].current.step.name == "findings"
    write_findings(plan)
    assert unfinished_audits(tmp_path)[0].current.step.name == "merge"
    merge(plan)
    assert unfinished_audits(tmp_path) == []


def test_the_pace_of_the_last_shards_tells_how_long_a_stage_takes(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny.config(tmp_path, shard_size=1)
    plan = make_plan(config, survey_dataset(config))
    # A day passes between the first and the others, while the audit is interrupted.
    for index, moment in enumerate((0, 86_400, 86_410, 86_420)):
        os.utime(sweep_shard(plan, index), (moment, moment))
    assert unfinished_audits(tmp_path)[0].seconds_left == pytest.approx(38 * 10)


def test_an_unreadable_plan_is_no_audit_at_work(tmp_path: Path) -> None:
    folder = tmp_path / "work" / "x"
    folder.mkdir(parents=True)
    for text in ("", "{", "[]", '{"config": {}}', "null"):
        (folder / "plan.json").write_text(text)
        assert unfinished_audits(tmp_path) == []


def test_the_lock_of_an_audit_is_seen_and_left_alone(tmp_path: Path) -> None:
    assert not outfolder.is_locked(tmp_path)
    with outfolder.lock(str(tmp_path)):
        assert outfolder.is_locked(tmp_path)
    assert not outfolder.is_locked(tmp_path)
    with outfolder.lock(str(tmp_path)):
        pass


def test_an_audit_that_runs_elsewhere_is_shown_with_its_stages(tiny: Tiny, out: Path) -> None:
    config = tiny.config(out)
    plan = make_plan(config, survey_dataset(config))
    sweep_shard(plan, 0)
    with outfolder.lock(str(out)):
        app = opened("audits")
        bars = [bar.proto.text for bar in app.get("progress")]
        assert bars == ["Sweep: 20 of 42 images", "Rank", "Interpret", "Findings", "Merge"]
        assert "Started elsewhere" in " ".join(caption.value for caption in app.caption)
        assert not [button for button in app.button if button.label == "Stop"]
        for page in ("overview", "review"):
            app = opened(page)
            assert app.title[0].value == "The first audit is at work"
            said = f"An audit of {Path(config.dataset).name} is at work. Sweep: 20 of 42 images (48%)."
            assert said in texts(app)
    assert "was interrupted in step sweep, 48% done. The same command goes on" in " ".join(texts(opened()))
    assert "An audit of it was interrupted in step sweep, 48% done." in " ".join(texts(opened("audits")))


@pytest.mark.parametrize("address", [None, "0.0.0.0", "192.168.1.5", "example.org", ""])
def test_a_page_that_others_can_reach_starts_nothing(address: str | None) -> None:
    assert "reached from other machines" in str(refusal(address, "localhost:8501", {}))
    assert refusal(address, None, {ALLOW: "1"}) is None


@pytest.mark.parametrize(
    "host", ["example.org", "example.org:8501", "10.0.0.1:80", "localhost.example.org", "[::2]:1", "["]
)
def test_a_page_of_this_machine_that_a_proxy_passes_on_starts_nothing(host: str) -> None:
    assert "reached from other machines" in str(refusal("localhost", host, {}))


@pytest.mark.parametrize("host", [None, "localhost", "localhost:8501", "127.0.0.1:8501", "[::1]:8501", "LOCALHOST:1"])
def test_a_page_of_this_machine_starts_audits_unless_it_must_not(host: str | None) -> None:
    for address in ("localhost", "127.0.0.1", "::1"):
        assert refusal(address, host, {}) is None
        assert "read-only" in str(refusal(address, host, {"GRADATTN_READ_ONLY": "1", ALLOW: "1"}))
        assert "switched off" in str(refusal(address, host, {ALLOW: "0"}))


def test_the_page_says_why_it_starts_nothing(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ALLOW)
    app = opened("audits")
    assert any("can be reached from other machines" in text for text in texts(app))
    assert not [box for box in app.text_input if box.label == "Dataset"]
    monkeypatch.setenv(ALLOW, "1")
    monkeypatch.setenv("GRADATTN_READ_ONLY", "1")
    assert any("read-only" in text for text in texts(opened("audits")))


def test_the_arguments_are_read_by_the_command_line_as_they_were_meant(tiny: Tiny, tmp_path: Path) -> None:
    hostile = "--restart=1 --out=/tmp; $(rm -rf) 'a' \"b\"\n-x"
    folder = tmp_path / "-- --out\n=x"
    folder.mkdir()
    options = {
        "model": hostile, "label_column": "--json", "split": "-1", "threshold": 0.5, "folds": 7, "from_scratch": True,
        "restart": False, "model_arguments": TINY_VIT, "checkpoint": None, "class-map": "-m", "path_column": "",
    }  # fmt: skip
    typed = arguments(tmp_path / "-out", str(folder), options)
    read = build_parser().parse_args(typed)
    assert read.dataset == str(folder)
    assert read.out == str(tmp_path / "-out")
    assert (read.model, read.label_column, read.split, read.class_map) == (hostile, "--json", "-1", "-m")
    assert (read.threshold, read.folds, read.from_scratch, read.restart) == (0.5, 7, True, False)
    assert (read.model_arguments, read.checkpoint, read.path_column) == (TINY_VIT, None, "path")


def test_every_option_that_may_be_given_is_one_of_the_command_line() -> None:
    known = vars(build_parser().parse_args(["audit", "x"]))
    elsewhere = {"flow", "runner", "ray_address", "ray_storage", "fail_above", "log_format"}
    assert set(process.OPTIONS) == set(known) - {"dataset", "out", "run", "json", "quiet"} - elsewhere


@pytest.mark.parametrize(
    ("dataset", "options", "sentence"),
    [
        ("", {}, "dataset: name a folder"),
        ("/nowhere/--out", {}, "there is no such folder"),
        (".", {"out": "/tmp"}, "option 'out' is unknown"),
        (".", {"--model": "x"}, "is unknown"),
        (".", {"restart": "yes"}, "switched on by true"),
        (".", {"model": "a\0b"}, "null character"),
        (".", {"model": "\ud800"}, "holds a character that is none"),
    ],
)
def test_what_cannot_be_started_is_said_in_one_sentence(
    tmp_path: Path, dataset: str, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(GradattnError, match=sentence):
        arguments(tmp_path, dataset, options)


def test_an_audit_started_on_the_page_can_be_stopped_goes_on_and_appears(out: Path, tmp_path: Path) -> None:
    # Large enough that it is not over before it is stopped.
    tiny = make_tiny(tmp_path / "tiny", per_class=50)
    app = press(fill(opened("audits"), tiny, shard_size=2, restart=True), "Start")
    assert not [box for box in app.text_input if box.label == "Dataset"]
    with pytest.raises(GradattnError, match="another audit is at work"):
        process.start(out, ["audit", str(tiny.dataset)])
    wait_for(lambda: len(list(out.glob("work/*/sweep-*.parquet"))) > 2)
    press(app, "Stop")
    run = ended(out)
    assert (run.state, run.sentence.split(";")[0]) == ("stopped", "interrupted"), run.tail
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("work/*/sweep-*.parquet")}
    assert 3 <= len(kept) < 75
    app = opened("audits")
    assert any(text.startswith("The audit was stopped in step sweep") for text in texts(app))
    press(app, "Continue")
    run = ended(out)
    assert (run.state, run.sentence) == ("finished", ""), run.tail
    features = {path.name: path.stat().st_mtime_ns for path in out.glob("features/*/sweep-*.parquet")}
    assert len(features) == 75 and all(features[name] == moment for name, moment in kept.items())
    components.audits.clear()
    finished, parameters, *_ = [frame.value for frame in opened("audits").dataframe]
    assert finished[["dataset", "images", "head"]].to_numpy().tolist() == [["dataset", 150, "probe"]]
    written = dict(parameters.to_numpy().tolist())
    assert written["model_arguments.depth"] == "3" and written["shard_size"] == "2"


def test_a_failed_start_says_its_sentence_and_can_be_dismissed(tiny: Tiny, out: Path) -> None:
    press(fill(opened("audits"), tiny, folds="<b>many"), "Start")
    run = ended(out)
    assert (run.state, run.sentence) == ("failed", "argument --folds: invalid int value: '<b>many'")
    app = opened("audits")
    assert run.sentence in texts(app)
    assert app.expander[0].label == "Log" and app.expander[0].proto.expanded
    press(app, "Dismiss")
    assert run.sentence not in texts(app)


def test_the_form_keeps_what_was_typed_while_the_audit_runs_and_fails(tiny: Tiny, out: Path) -> None:
    app = fill(opened("audits"), tiny, folds="<b>many")
    press(app, "Start")
    ended(out)
    app.run()
    assert app.text_input(key="start-dataset").value == str(tiny.dataset)
    assert json.loads(app.text_area(key="start-more").value or "")["folds"] == "<b>many"


@pytest.mark.slow
def test_schedules_are_added_run_paused_and_resumed_from_the_page(
    tiny: Tiny, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "prefect"
    home.mkdir()
    monkeypatch.setenv("PREFECT_HOME", str(home))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with prefect_runs.work(home):
        app = opened("audits")
        wait_for(lambda: "Nothing is scheduled yet." in [each.value for each in app.run().markdown])
        app.text_input(key="schedule-dataset").input(str(tiny.dataset))
        app.text_input(key="schedule-when").input("sometimes")
        app.text_input(key="schedule-name").input("flowers")
        press(app, "Add the schedule")
        assert any("sometimes" in text for text in texts(app))
        app.text_input(key="schedule-when").input("6h")
        press(app, "Add the schedule")
        assert any(text.startswith("added schedule flowers: ") for text in texts(app))
        wait_for(lambda: any(text.startswith("flowers: ") for text in texts(app.run())))
        press(app, "Pause")
        assert "schedule flowers is paused" in texts(app)
        wait_for(lambda: "Resume" in [button.label for button in app.run().button])
        press(app, "Resume")
        assert "schedule flowers is active" in texts(app)
        wait_for(lambda: "Run now" in [button.label for button in app.run().button])
        press(app, "Run now")
        assert any(text.startswith("run of flowers asked for") for text in texts(app))


def test_what_a_command_says_when_it_fails_is_said_whole() -> None:
    with pytest.raises(GradattnError, match=r"^argument ACTION: invalid choice: 'dance'"):
        process.run("schedule", "dance", patience=60)


@pytest.mark.parametrize(
    ("printed", "state", "sentence"),
    [
        ("sweep: 1 of 2\ngradattn: photos: there is no such folder\n", "failed", "photos: there is no such folder"),
        ("gradattn: note: small\ngradattn: interrupted; the same …\n", "stopped", "interrupted; the same …"),
        ("gradattn: note: small\n12 images\ncandidates  /x/candidates.csv\ndatabase    /x\n", "finished", ""),
        ("Traceback (most recent call last):\n  File\nMemoryError\n", "failed", "MemoryError"),
        ("gradattn: two models fit:\n  one\n  two\n", "failed", "two models fit:\n  one\n  two"),
        ("\x1b[31mgradattn: red\x1b[0m\x07\n", "failed", "red"),
        ("sweep: 1 of 2\n", "failed", "the audit was ended from outside; it goes on from where it was"),
        ("", "failed", "the audit was ended from outside; it goes on from where it was"),
    ],
)
def test_how_an_audit_ended_is_read_from_the_last_lines_it_printed(
    tmp_path: Path, printed: str, state: str, sentence: str
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "audit-1.log").write_text(printed, "utf-8")
    (tmp_path / "logs" / "audit-1.json").write_text('{"pid": 1, "arguments": []}')
    # A log whose process never was: the one before it counts.
    (tmp_path / "logs" / "audit-2.log").touch()
    run = latest(tmp_path)
    assert run is not None and (run.state, run.sentence) == (state, sentence)


def test_what_is_wrong_with_the_form_is_said_above_it(tiny: Tiny, out: Path) -> None:
    app = fill(opened("audits"), tiny)
    app.text_area(key="start-more").input("{'folds': 10}")
    press(app, "Start")
    for _ in range(2):
        assert any(text.startswith("further options: this is not JSON") for text in texts(app))
        app.run()
    assert app.text_input(key="start-dataset").value == str(tiny.dataset)
    assert latest(out) is None


def test_a_killed_audit_is_known_to_have_ended_and_is_never_signalled_again(out: Path, tiny: Tiny) -> None:
    run = process.start(out, arguments(out, str(tiny.dataset), further(tiny)))
    os.kill(run.pid, signal.SIGKILL)
    run = ended(out)
    assert run.state == "failed" and "ended from outside" in run.sentence
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        process.stop(replace(run, pid=bystander.pid))
        time.sleep(0.2)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_only_the_newest_logs_are_kept(out: Path) -> None:
    (out / "logs").mkdir()
    for index in range(30):
        (out / "logs" / f"audit-20200101T0000{index:02d}.log").touch()
    process.start(out, ["--version"])
    logs = sorted(path.name for path in (out / "logs").glob("*.log"))
    assert len(logs) == 20 and logs[0] == "audit-20200101T000011.log"
    ended(out)


def test_parameters_versions_and_warnings_of_a_past_audit_are_shown_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = copied_store(tmp_path)
    monkeypatch.setenv("GRADATTN_OUT", str(store.directory))
    components.audits.clear()
    app = opened("audits")
    tables = [
        dict(frame.value.to_numpy().tolist()) for frame in app.dataframe if list(frame.value) == ["name", "value"]
    ]
    parameters, facts, versions = tables
    assert parameters == {"folds": "5"} and versions == {"gradattn": "0"}
    assert facts["audit id"] == AUDIT_ID and facts["fingerprint"] == "0" * 32
    assert facts["dataset"] == "small <b>birds</b>"
    assert "One class has fewer than 5 images: <b>x</b>" in texts(app)
    written = [element.value for group in (app.markdown, app.caption) for element in group]
    assert not [text for text in written if "<b>" in text]


def test_a_past_audit_tells_what_changed_since_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictured_audit.pictured_store(tmp_path, audit_id="20261121-000000-older", images=30, suspects=9)
    store = pictured_audit.pictured_store(tmp_path)
    monkeypatch.setenv("GRADATTN_OUT", str(store.directory))
    components.audits.clear()
    # Both audits finished at the same moment; the greater id counts as the newer one.
    news = "Since the audit 20261121-000000-older before it: 3 new suspects, 10 images added."
    app = opened("audits")
    assert news in texts(app)
    assert not any(text.startswith("Since") for text in texts(opened("audits", audit="20261121-000000-older")))


def test_without_a_prefect_server_the_page_says_how_to_have_one(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(out / "no-prefect-here"))
    command = f"gradattn schedule add /data/photos --out {out} --cron '0 3 * * 1'"
    (shown,) = [code.value for code in opened("audits").code if "gradattn worker" in code.value]
    assert shown.splitlines()[0] == command
    assert build_parser().parse_args(shlex.split(command)[1:]).cron == "0 3 * * 1"


def test_a_prefect_server_that_does_not_answer_is_one_sentence(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    app = opened("audits")
    wait_for(lambda: any("http://127.0.0.1:9/api does not answer" in text for text in texts(app.run())))


def test_an_output_folder_that_is_not_there_yet_shows_an_empty_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADATTN_OUT", str(tmp_path / "nothing"))
    components.audits.clear()
    assert "No audit has finished in this output folder yet." in texts(opened("audits"))


def test_the_defaults_of_the_form_are_those_of_the_command_line(tmp_path: Path) -> None:
    read = build_parser().parse_args(arguments(tmp_path, str(tmp_path), {"head": "auto", "model": ""}))
    assert (read.head, AuditConfig("x", model=read.model)) == ("auto", AuditConfig("x"))
