"""Audits: the one at work, how to start one, when the next ones are due, and what the past ones were told to do."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from gradattn_core.errors import GradattnError
from gradattn_core.wording import duration
from ui import components
from ui.audits import finished, process, timetable
from ui.audits import work as begun
from ui.components import plain

_LOG_LINES = 12
_FORM = {"dataset": "Dataset", "model": "Model", "checkpoint": "Checkpoint"}
_HEADS = ("auto", "as-is", "probe", "finetune")
_MANIFEST = {
    "label_column": "Column of the labels",
    "path_column": "Column of the paths",
    "split_column": "Column of the splits",
    "split": "Only this split",
}


def show() -> None:
    st.header("Audits")
    out = components.directory()
    refusal = process.refusal(st.get_option("server.address"), st.context.headers.get("Host"), os.environ)
    busy = _busy(out)
    # Read anew every two seconds; while no audit is at work, every ten whether there is one.
    st.fragment(_work, run_every=2 if busy else 10)(out, refusal, busy)
    finished.show()
    _start(out, refusal, busy)
    timetable.show()


def _busy(out: Path) -> bool:
    run = process.latest(out)
    return (run is not None and run.state == "running") or begun.at_work(out)


def _work(out: Path, refusal: str | None, was_busy: bool) -> None:
    run, works = process.latest(out), begun.unfinished(out)
    busy = _busy(out)
    if busy != was_busy:
        components.audits.clear()
        st.rerun()
    if busy:
        _progress(works[0] if works else None, run if run and run.state == "running" else None, refusal)
    elif run is not None and run.state in ("failed", "stopped") and run.log.name != st.session_state.get("dismissed"):
        _ended(out, run, works, refusal)
    elif works:
        _interrupted(works)


def _progress(work: begun.Work | None, run: process.Run | None, refusal: str | None) -> None:
    with st.container(border=True, key="at-work"):
        if work is None:
            st.text("An audit has begun: it is looking through the dataset.")
        else:
            plain(Path(work.dataset).name, "name-at-work")
            plain(f"{work.images:,} images · {work.model} · head {work.head}", "quiet-at-work")
            for stage in work.stages:
                st.progress(min(1.0, stage.share), _stage_text(stage, work))
        if run is not None:
            with st.container(horizontal=True):
                if not refusal:
                    st.button("Stop", icon=":material/stop:", on_click=process.stop, args=(run,), help=_STOPPING)
            _log(run)
        else:
            st.caption("Started elsewhere: in a terminal or by Prefect. There it can be stopped, too.")


_STOPPING = "As Ctrl-C does. What is finished is kept, and the audit can go on from there."


def _stage_text(stage: begun.Stage, work: begun.Work) -> str:
    if stage.done >= stage.total:
        return f"{stage.name}: done"
    if stage is not work.stage:
        return stage.name
    counts = f"{stage.done:,} of {stage.total:,} {stage.unit}" if stage.unit else "at work"
    left = f", about {duration(work.seconds_left)} left" if work.seconds_left is not None else ""
    return f"{stage.name}: {counts}{left}"


def _ended(out: Path, run: process.Run, works: list[begun.Work], refusal: str | None) -> None:
    with st.container(border=True, key="ended"):
        if run.state == "stopped":
            st.text(f"The audit was stopped{_place(works)}. It goes on from there.")
        else:
            st.error("The audit that was started here has failed.")
            plain(run.sentence, "name-failure")
        with st.container(horizontal=True):
            if not refusal and st.button("Continue", icon=":material/play_arrow:", type="primary", key="continue"):
                _attempt(lambda: process.resume(out, run))
            if st.button("Dismiss", key="dismiss"):
                st.session_state["dismissed"] = run.log.name
                st.rerun()
        _log(run)


def _interrupted(works: list[begun.Work]) -> None:
    for work in works[:3]:
        with st.container(border=True, key=f"interrupted-{work.audit_id}"):
            plain(Path(work.dataset).name, f"name-{work.audit_id}")
            plain(
                f"An audit of it was interrupted{_place([work])}. The same command goes on from there.", "quiet-begun"
            )


def _place(works: list[begun.Work]) -> str:
    if not works:
        return ""
    stage = works[0].stage
    return f" in stage {stage.name.lower()}, {stage.share:.0%} done"


def _log(run: process.Run) -> None:
    with st.expander("Log"):
        st.code("\n".join(run.tail.splitlines()[-_LOG_LINES:]) or "Nothing yet.", language=None, wrap_lines=True)
        plain(str(run.log), "quiet-log")


def _start(out: Path, refusal: str | None, busy: bool) -> None:
    st.subheader("Start an audit")
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
    problem = st.session_state.pop("start-problem", None)
    if problem:
        st.error("The audit was not started.")
        plain(problem, "name-problem")
    with st.form("start"):
        values: dict[str, Any] = {
            "dataset": st.text_input(
                "Dataset",
                key="start-dataset",
                placeholder="/data/photos",
                help="A folder with one folder of images per class, an archive, WebDataset tars, or a CSV, Parquet or "
                "JSONL manifest, on the machine where this page runs or at a URL.",
            )
        }
        left, right = st.columns([3, 1])
        with left:
            values["model"] = st.text_input(
                "Model", key="start-model", placeholder="vit_small_patch16_224, published weights"
            )
        with right:
            values["head"] = st.selectbox("Head", _HEADS, key="start-head", help=_HEAD_HELP)
        values["checkpoint"] = st.text_input("Checkpoint", key="start-checkpoint", placeholder="Published weights")
        with st.expander("Manifest columns, further options"):
            columns = st.columns(len(_MANIFEST))
            for (name, title), column in zip(_MANIFEST.items(), columns, strict=True):
                values[name] = column.text_input(title, key=f"start-{name}")
            more = st.text_area(
                "Further options of gradattn audit, as JSON",
                key="start-more",
                placeholder='{"folds": 10, "interpret": "all", "device": "cpu"}',
                help=f"Known: {', '.join(process.OPTIONS)}.",
            )
        pressed = st.form_submit_button("Start", type="primary", icon=":material/play_arrow:")
    if pressed:
        _attempt(lambda: process.start(out, _command(out, values, more)))


_HEAD_HELP = (
    "as-is: the model's own classifier. probe: a linear classifier on frozen features, which never saw the image it "
    "judges. finetune: the whole model, per fold. auto: as-is where the class names match, else probe."
)


def _command(out: Path, values: Mapping[str, Any], more: str) -> list[str]:
    try:
        further = json.loads(more) if more.strip() else {}
    except json.JSONDecodeError as error:
        raise GradattnError(f"further options: this is not JSON ({error})") from error
    if not isinstance(further, dict):
        raise GradattnError('further options: write a JSON object such as {"folds": 10}')
    options = {name: value for name, value in values.items() if name != "dataset" and value} | further
    return process.arguments(out, values["dataset"], options)


def _attempt(begin: Any) -> None:
    """Start or continue; what is wrong is shown on the next run, above the form."""
    try:
        begin()
        st.session_state.pop("dismissed", None)
    except GradattnError as error:
        st.session_state["start-problem"] = str(error)
    st.rerun()


show()
