"""Audits: the one at work, how to start one, when the next ones are due, and what the past ones were told to do."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import streamlit as st

from gradattn_core.config import DEFAULT_MODEL, MANIFEST, Parameter, parameters
from gradattn_core.errors import GradattnError
from gradattn_core.outfolder import is_locked
from gradattn_core.progress import UnfinishedAudit, unfinished_audits
from ui import components
from ui.audits import finished, process, timetable
from ui.audits.at_work import step_text
from ui.audits.process import AuditProcess
from ui.components import plain

_LOG_LINES = 12
_STOPPING = "As Ctrl-C does. What is finished is kept, and the audit can go on from there."
_PARAMETERS = {parameter.name: parameter for parameter in parameters()}
_MANIFEST = [name for name, parameter in _PARAMETERS.items() if parameter.group == MANIFEST]


def show() -> None:
    components.title("Audits")
    out = components.directory()
    refusal = process.refusal(st.get_option("server.address"), st.context.headers.get("Host"), os.environ)
    busy = _busy(out)
    # Read anew every two seconds; while no audit is at work, every ten whether there is one.
    st.fragment(_work, run_every=2 if busy else 10)(out, refusal, busy)
    finished.show()
    _start(out, refusal, busy)
    timetable.show(out, refusal)


def _busy(out: Path) -> bool:
    run = process.latest(out)
    return (run is not None and run.state == "running") or is_locked(out)


def _work(out: Path, refusal: str | None, was_busy: bool) -> None:
    run, audits = process.latest(out), unfinished_audits(out)
    busy = _busy(out)
    if busy != was_busy:
        components.audits.clear()
        st.rerun()
    if busy:
        _progress(audits[0] if audits else None, run if run and run.state == "running" else None, refusal)
    elif run is not None and run.state in ("failed", "stopped") and run.log.name != st.session_state.get("dismissed"):
        _outcome(out, run, audits, refusal)
    elif audits:
        _interruptions(audits)


def _progress(audit: UnfinishedAudit | None, run: AuditProcess | None, refusal: str | None) -> None:
    with st.container(border=True, key="at-work"):
        if audit is None:
            st.text("An audit has begun: it is looking through the dataset.")
        else:
            plain(Path(audit.dataset).name, "name-at-work")
            plain(f"{audit.images:,} images · {audit.model} · head {audit.head}", "quiet-at-work")
            for step in audit.steps:
                st.progress(step.share, step_text(step, audit))
        if run is not None:
            with st.container(horizontal=True):
                if not refusal:
                    st.button("Stop", icon=":material/stop:", on_click=process.stop, args=(run,), help=_STOPPING)
            _log(run)
        else:
            st.caption("Started elsewhere: in a terminal or by Prefect. There it can be stopped, too.")


def _outcome(out: Path, run: AuditProcess, audits: list[UnfinishedAudit], refusal: str | None) -> None:
    with st.container(border=True, key="ended"):
        if run.state == "stopped":
            st.text(f"The audit was stopped{_place(audits)}. It goes on from there.")
        else:
            st.error("The audit that was started here has failed. Change what is wrong in the form below.")
            plain(run.sentence, "mark-failure")
        with st.container(horizontal=True):
            if not refusal and st.button("Continue", icon=":material/play_arrow:", type="primary", key="continue"):
                _attempt(lambda: process.resume(out, run))
            if st.button("Dismiss", key="dismiss"):
                st.session_state["dismissed"] = run.log.name
                st.rerun()
        _log(run, opened=run.state == "failed")


def _interruptions(audits: list[UnfinishedAudit]) -> None:
    for audit in audits[:3]:
        with st.container(border=True, key=f"interrupted-{audit.audit_id}"):
            plain(Path(audit.dataset).name, f"name-{audit.audit_id}")
            plain(
                f"An audit of it was interrupted{_place([audit])}. The same command goes on from there.", "quiet-begun"
            )


def _place(audits: list[UnfinishedAudit]) -> str:
    """Where the first of them was interrupted."""
    if not audits:
        return ""
    current = audits[0].current
    return f" in step {current.step.name}, {current.share:.0%} done"


def _log(run: AuditProcess, *, opened: bool = False) -> None:
    with st.expander("Log", expanded=opened):
        st.code("\n".join(run.tail.splitlines()[-_LOG_LINES:]) or "Nothing yet.", language=None, wrap_lines=True)
        plain(str(run.log), "quiet-log")


def _start(out: Path, refusal: str | None, busy: bool) -> None:
    st.header("Start an audit", anchor=False)
    if busy:
        st.caption("An audit is at work in this output folder. The next one can start when it has ended.")
        return
    if refusal:
        plain(refusal, "quiet-refusal")
        st.code("gradattn audit DATASET", language=None)
        return
    st.caption(
        "It runs on the machine of this page, goes on when the page is closed, and reads whatever folder is named. "
        "Everybody who sees this form can do that, so let nobody open this page who may not see this machine's files."
    )
    # It stays beside what was typed, which is kept too, until something is started.
    if problem := st.session_state.get("start-problem"):
        st.error("The audit was not started.")
        plain(problem, "name-problem")
    with st.form("start"):
        values = {"dataset": _text("dataset", "/data/photos")}
        left, right = st.columns([3, 1])
        with left:
            values["model"] = _text("model", f"{DEFAULT_MODEL}, published weights")
        with right:
            head = _PARAMETERS["head"]
            # The form keeps what was typed while an audit is at work, as that audit may fail.
            values["head"] = st.selectbox(
                "Head", head.choices, key="start-head", help=_sentence(head), persist_state="session"
            )
        values["checkpoint"] = _text("checkpoint", "Published weights")
        with st.expander("Manifest columns, further options"):
            for name, column in zip(_MANIFEST, st.columns(len(_MANIFEST)), strict=True):
                with column:
                    values[name] = _text(name)
            more = st.text_area(
                "Further options of gradattn audit, as JSON",
                key="start-more",
                placeholder='{"folds": 10, "interpret": "all", "device": "cpu"}',
                help=f"Known: {', '.join(process.OPTIONS)}.",
                persist_state="session",
            )
        pressed = st.form_submit_button("Start", type="primary", icon=":material/play_arrow:")
    if pressed:
        _attempt(lambda: process.start(out, _command(out, values, more)))


def _text(name: str, placeholder: str = "") -> str:
    """A field for a parameter of the audit."""
    title = name.replace("_", " ").capitalize()
    text: str = st.text_input(
        title,
        key=f"start-{name}",
        placeholder=placeholder,
        help=_sentence(_PARAMETERS[name]),
        persist_state="session",
    )
    return text


def _sentence(parameter: Parameter) -> str:
    """What it does, as Streamlit's Markdown shows it."""
    return components.escaped(f"{parameter.help[0].upper()}{parameter.help[1:]}.", longest=1000)


def _command(out: Path, values: Mapping[str, str], more: str) -> list[str]:
    try:
        others = json.loads(more) if more.strip() else {}
    except json.JSONDecodeError as error:
        raise GradattnError(f"further options: this is not JSON ({error})") from error
    if not isinstance(others, dict):
        raise GradattnError('further options: write a JSON object such as {"folds": 10}')
    options = {name: value for name, value in values.items() if name != "dataset" and value} | others
    return process.arguments(out, values["dataset"], options)


def _attempt(begin: Callable[[], object]) -> None:
    """Start or continue; what is wrong is shown from the next run on, above the form."""
    try:
        begin()
        for kept in ("dismissed", "start-problem"):
            st.session_state.pop(kept, None)
    except GradattnError as error:
        st.session_state["start-problem"] = str(error)
    st.rerun()


show()
