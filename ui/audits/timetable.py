"""When the next audits are due, as Prefect knows it, and other schedules: in processes of their own, as it is slow."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import pandas as pd
import streamlit as st

from gradattn_core.errors import GradattnError
from gradattn_core.wording import minute
from ui import components
from ui.audits import process
from ui.components import Row, plain
from ui.launch import child_environment

_PATIENCE = 60
_WHEN = "Five fields of cron (minute, hour, day, month, weekday; in UTC), or an interval such as 30m, 6h, 1d, 2w."
_WORDS = {"run": "Run now", "pause": "Pause", "resume": "Resume"}
_questions = ThreadPoolExecutor(1, thread_name_prefix="prefect")


def show(out: Path, refusal: str | None) -> None:
    """The schedules with what can be done about each, and a form for another one.

    Args:
        refusal: why this page may start nothing; None where it may.
    """
    st.header("Schedule", anchor=False)
    if "schedule-when" not in st.session_state:
        # Who comes anew has heard it; whoever is here keeps it, however often the page is drawn meanwhile.
        _tell()
    if told := st.session_state["schedule-told"]:
        plain(told, "mark-schedule")
    address = server()
    if address is None:
        st.write("No worker serves schedules here, and no Prefect server is set for this page. To audit every Monday:")
        st.code(
            f"gradattn schedule add /data/photos --out {shlex.quote(str(out.absolute()))} --cron '0 3 * * 1'\n"
            "gradattn worker",
            language=None,
            wrap_lines=True,
        )
        return
    answer = _answer(address)
    st.fragment(_show_answer, run_every=None if answer.done() else 1)(address, answer.done(), refusal)
    if refusal is None:
        _add(out)


def server() -> str | None:
    """The address of the Prefect server that is set for this page, else of the one that gradattn worker runs here."""
    return os.environ.get("PREFECT_API_URL") or _server_of_worker()


def ask() -> Future[pd.DataFrame]:
    """Ask in the background for ``flows.status.schedules`` as a frame, which raises GradattnError."""
    return _questions.submit(_ask)


@st.cache_resource(ttl=60, max_entries=4, show_spinner=False)
def _answer(address: str) -> Future[pd.DataFrame]:
    return ask()


def _show_answer(address: str, was_done: bool, refusal: str | None) -> None:
    answer = _answer(address)
    if answer.done() != was_done:
        # This part was drawn by itself: what stands above it, and whether it is drawn every second, follow.
        st.rerun()
    if not was_done:
        st.caption("Asking Prefect …")
        return
    try:
        schedules = answer.result()
    except GradattnError as error:
        plain(str(error), "quiet-prefect")
        return
    if schedules.empty:
        st.write("Nothing is scheduled yet.")
        return
    for place, row in enumerate(components.rows_of(schedules)):
        _schedule(place, row, may_change=refusal is None)
    st.caption(
        f"As of {datetime.now(UTC):%H:%M} UTC. `gradattn schedule` and Prefect's own page change schedules, too."
    )


def _schedule(place: int, row: Row, *, may_change: bool) -> None:
    """One of them: what it audits and when, how it went, and what can be done."""
    name = str(row["deployment"]).partition("/")[2]
    due = f"next {minute(str(row['next_run']))} UTC" if row["next_run"] else "no run is due"
    last = f"last run {str(row['last_run']).lower()}" if row["last_run"] else "never run"
    state = str(row["state"]).replace("_", " ") if row["active"] else "paused"
    with st.container(border=True, key=f"schedule-{place}"):
        plain(f"{name}: {row['schedule'] or 'no schedule'}", f"name-schedule-{place}")
        plain(f"{row['dataset']} → {row['out']}", f"quiet-schedule-{place}")
        st.caption(f"{state} · {due} · {last}")
        if may_change:
            with st.container(horizontal=True, key=f"change-{place}"):
                # After a change these are other buttons: the second half of a double click comes too late.
                changes = st.session_state["schedule-changes"]
                for action in ("run", "pause" if row["active"] else "resume"):
                    if st.button(_WORDS[action], key=f"{action}-{place}-{changes}"):
                        _change(action, name)


def _add(out: Path) -> None:
    """A form for another schedule; it keeps what was typed where Prefect or the command refuses it."""
    with st.form("schedule"):
        left, middle, right = st.columns([3, 2, 2])
        left.text_input("Dataset", key="schedule-dataset", placeholder="/data/photos")
        middle.text_input("When", key="schedule-when", placeholder="0 3 * * 1 or 6h", help=_WHEN)
        right.text_input("Name", key="schedule-name", placeholder="The dataset's")
        if st.form_submit_button("Add the schedule", icon=":material/add:"):
            dataset, when, name = (st.session_state[f"schedule-{each}"].strip() for each in ("dataset", "when", "name"))
            timing = "cron" if " " in when else "every"
            named = (f"--name={name}",) if name else ()
            try:
                # The dataset as a form of the audit: absolute, there, and nothing that poses as an option.
                _, place, *_ = process.arguments(out, dataset, {})
                command = ("schedule", "add", place, f"--out={out.absolute()}", f"--{timing}={when}", *named)
                with st.spinner("Asking Prefect …"):
                    _tell(process.run(*command, patience=_PATIENCE))
            except GradattnError as error:
                _tell(problem=str(error))
            st.rerun()
        if problem := st.session_state["schedule-problem"]:
            st.error("Nothing was scheduled.")
            plain(problem, "mark-problem")


def _change(action: str, name: str) -> NoReturn:
    """Run, pause or resume a schedule by its name, which no option can be taken for."""
    try:
        with st.spinner("Asking Prefect …"):
            _tell(process.run("schedule", action, "--", name, patience=_PATIENCE))
    except GradattnError as error:
        _tell(f"Nothing was changed: {error}")
    st.rerun()


def _tell(told: str = "", *, problem: str = "") -> None:
    """From now on this stands above the schedules, which are asked for anew, or this problem in the form."""
    st.session_state["schedule-told"], st.session_state["schedule-problem"] = told, problem
    st.session_state["schedule-changes"] = st.session_state.get("schedule-changes", 0) + 1
    if told:
        _answer.clear()


def _server_of_worker() -> str | None:
    """Where flows.server writes it down. Asking there would import Prefect."""
    home = Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()
    try:
        return (home / "gradattn-server").read_text("utf-8").strip() or None
    except OSError:
        return None


def _ask() -> pd.DataFrame:
    try:
        answer = subprocess.run(
            [sys.executable, "-P", "-m", "flows.status"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            env=child_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise GradattnError(f"Prefect's server at {server()} has not answered for {_PATIENCE} s") from None
    if answer.returncode:
        complaint = answer.stderr.strip().splitlines() or ["it ended without a word"]
        raise GradattnError(complaint[-1])
    return pd.DataFrame(json.loads(answer.stdout))
