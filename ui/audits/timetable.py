"""When the next audits are due, as Prefect knows it: asked in a process of its own, for it takes seconds to import."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import streamlit as st

from gradattn_core.errors import GradattnError
from ui import components
from ui.launch import child_environment

_PATIENCE = 60
_questions = ThreadPoolExecutor(1, thread_name_prefix="prefect")


def show() -> None:
    """The schedules, or how to make one."""
    st.header("Schedule", anchor=False)
    address = server()
    if address is None:
        st.write("No worker serves schedules here, and no Prefect server is set for this page. To audit every Monday:")
        out = shlex.quote(str(components.directory().absolute()))
        st.code(
            f"gradattn schedule add /data/photos --out {out} --cron '0 3 * * 1'\ngradattn worker",
            language=None,
            wrap_lines=True,
        )
        return
    answer = _answer(address)
    st.fragment(_show_answer, run_every=None if answer.done() else 1)(address, answer.done())


def server() -> str | None:
    """The address of the Prefect server that is set for this page, else of the one that gradattn worker runs here."""
    return os.environ.get("PREFECT_API_URL") or _server_of_worker()


def ask() -> Future[pd.DataFrame]:
    """Ask in the background for ``flows.status.schedules`` as a frame, which raises GradattnError."""
    return _questions.submit(_ask)


@st.cache_resource(ttl=60, max_entries=4, show_spinner=False)
def _answer(address: str) -> Future[pd.DataFrame]:
    return ask()


def _show_answer(address: str, was_done: bool) -> None:
    answer = _answer(address)
    if not answer.done():
        st.caption("Asking Prefect …")
        return
    if not was_done:
        st.rerun()
    try:
        schedules = answer.result()
    except GradattnError as error:
        components.plain(str(error), "quiet-prefect")
        return
    if schedules.empty:
        st.write("Nothing is scheduled yet: `gradattn schedule add` does that.")
        return
    st.dataframe(
        schedules,
        hide_index=True,
        column_config={
            "deployment": st.column_config.TextColumn("Deployment"),
            "dataset": st.column_config.TextColumn("Dataset"),
            "out": st.column_config.TextColumn("Output folder"),
            "schedule": st.column_config.TextColumn("Schedule"),
            "active": st.column_config.CheckboxColumn("Active"),
            "state": st.column_config.TextColumn("State"),
            "next_run": st.column_config.DatetimeColumn("Next run"),
            "last_run": st.column_config.TextColumn("Last run"),
        },
    )
    st.caption(f"As of {datetime.now(UTC):%H:%M} UTC. `gradattn schedule` and Prefect's own page change schedules.")


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
