"""Audits that the page starts: processes of their own, each with its log in ``OUT/logs``. Knows nothing of Streamlit.

An audit outlives the page. Its process holds a lock on its log for as long as it lives, because the log is its standard
output: so even a page that was started later knows whether it still runs, and never signals a process that took over
its number.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from gradattn_core import outfolder
from gradattn_core.config import Parameter, parameters
from gradattn_core.dataset.address import absolute, is_url
from gradattn_core.dataset.secrets import without_secrets
from gradattn_core.dataset.selection import is_pattern
from gradattn_core.errors import GradattnError
from gradattn_core.files import write_text
from gradattn_core.outfolder import is_locked
from ui.launch import OWN_MACHINE, child_environment

OPTIONS = {each.name: each for each in parameters() if each.name not in ("dataset", "out") and not each.is_local}
"""The parameters of an audit that may be given here; where it writes is not among them."""

ALLOW = "GRADATTN_ALLOW_START"
_KEPT_LOGS = 20
_TAIL = 16_384
# Whatever the page was started from may ignore Ctrl-C, and so would its children.
_RUN = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from gradattn_core.cli import main; sys.exit(main(sys.argv[1:]))"
)
_SAID = re.compile(r"^gradattn(?: audit)?: (?!note: )")
_CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[^\S\n ]|[\x00-\x09\x0b-\x1f\x7f]")
_start_lock = threading.Lock()


@dataclass(frozen=True)
class AuditProcess:
    """An audit that was started from the page.

    Attributes:
        state: ``running``, ``finished``, ``stopped`` (by Ctrl-C or from the page), or ``failed``.
        sentence: what went wrong, empty where nothing did.
        tail: the end of its log.
    """

    log: Path
    arguments: tuple[str, ...]
    pid: int
    state: str
    sentence: str
    tail: str


def run(*command: str, patience: float) -> str:
    """What ``gradattn`` prints with these arguments.

    Raises:
        GradattnError: with what it says, where it fails or takes longer than ``patience`` seconds.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _RUN, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=patience,
            env=child_environment(COLUMNS="100"),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise GradattnError(f"there was no answer for {patience:.0f} s") from None
    if done.returncode:
        said = done.stderr.strip() or "it ended without a word"
        raise GradattnError(re.sub(r"^gradattn(?: \w+)*: ", "", said))
    return done.stdout.strip()


def refusal(address: str | None, host: str | None, environment: Mapping[str, str]) -> str | None:
    """Why this page may not start audits, in one sentence; None where it may.

    Who starts an audit names folders of this machine, whose pictures the page then shows. So only who sits at this
    machine may, unless the owner of the server says otherwise in ``GRADATTN_ALLOW_START``.

    Args:
        address: the interface the page listens on; None is all of them.
        host: the Host header of the browser's request, where there is one.
    """
    if environment.get("GRADATTN_READ_ONLY") == "1":
        return "This page is read-only: it starts no audits."
    if os.name != "posix":
        return "Audits cannot be started from the page on this system; start them in a terminal."
    permission = environment.get(ALLOW)
    if permission == "1":
        return None
    if permission is not None:
        return f"Starting audits from this page is switched off ({ALLOW}={permission})."
    if address in OWN_MACHINE and _host_name(host or "localhost") in OWN_MACHINE:
        return None
    return (
        "This page can be reached from other machines, and whoever starts an audit makes this one read the folders "
        f"they name and show pictures from them. Set {ALLOW}=1 before you start the page if everybody who can open it "
        "may do that; or start audits in a terminal."
    )


def arguments(out: Path, dataset: str, options: Mapping[str, Any]) -> list[str]:
    """What to type after ``gradattn`` for an audit into ``out``.

    Every value is joined to the name of its option and the dataset is absolute, so that no text can pose as an option.

    Args:
        dataset: what ``gradattn audit`` takes; a path is absolute or from the folder the page was started in.
        options: values by name, from ``OPTIONS``; None and empty text are left out.

    Raises:
        GradattnError: naming the option or the dataset that cannot be used.
    """
    values = {name.replace("-", "_"): value for name, value in options.items()}
    for name in values:
        if name not in OPTIONS:
            raise GradattnError(f"option {name!r} is unknown; choose from {', '.join(OPTIONS)}")
    each = [
        (OPTIONS[name], one)
        for name, value in values.items()
        for one in (value if OPTIONS[name].type is list and isinstance(value, list) else [value])
    ]
    flags = [_option(parameter, value) for parameter, value in each if value is not None and value != ""]
    if not dataset.strip():
        raise GradattnError(
            "dataset: name a folder with one folder of images per class, an archive, a manifest, or a URL"
        )
    name = _text("dataset", dataset.strip())
    if without_secrets(name) != name:
        # The command line and its log can be read by others of this machine.
        raise GradattnError("dataset: leave the password or signature out of the URL; set it where the page is started")
    place = absolute(name)
    if not is_url(place) and not is_pattern(place) and not os.path.exists(place):
        raise GradattnError(f"dataset {name!r}: there is no such folder or file on the machine of this page")
    return ["audit", place, f"--out={out.absolute()}", *filter(None, flags)]


def start(out: Path, command: Sequence[str]) -> AuditProcess:
    """Start ``gradattn`` with these arguments and return at once.

    Raises:
        GradattnError: another audit is at work in ``out``, or its folder cannot be written to.
    """
    with _start_lock:
        run = latest(out)
        if is_locked(out) or (run is not None and run.state == "running"):
            raise GradattnError("another audit is at work in this output folder; wait until it has ended")
        try:
            log = _new_log(out)
            with log.open("xb") as file:
                _hold(file)
                process = subprocess.Popen(
                    # -P: nothing is imported from the folder the page happens to run in.
                    [sys.executable, "-P", "-c", _RUN, *command],
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    env=child_environment(PYTHONUNBUFFERED="1", COLUMNS="100"),
                    start_new_session=True,
                )
            facts = {"pid": process.pid, "arguments": list(command)}
            write_text(log.with_suffix(".json"), json.dumps(facts))
        except OSError as error:
            raise GradattnError(f"the audit could not be started: {error.strerror} ({out})") from error
    run = latest(out)
    assert run is not None
    return run


def stop(run: AuditProcess) -> None:
    """Ask a running audit to stop, as Ctrl-C does; the same command goes on from there."""
    if _is_held(run.log):
        with suppress(ProcessLookupError):
            os.kill(run.pid, signal.SIGINT)


def resume(out: Path, run: AuditProcess) -> AuditProcess:
    """Start the same audit again, from where it stopped. Raises what :func:`start` raises."""
    return start(out, [part for part in run.arguments if part != "--restart"])


def latest(out: Path) -> AuditProcess | None:
    """The audit that this page, or an earlier one over the same folder, started last."""
    for log in reversed(_logs(out)):
        try:
            facts = json.loads(log.with_suffix(".json").read_text("utf-8"))
            is_running = _is_held(log)
            tail = _tail(log)
            state, sentence = ("running", "") if is_running else _outcome(tail)
            return AuditProcess(log, tuple(facts["arguments"]), int(facts["pid"]), state, sentence, tail)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def _host_name(host: str) -> str | None:
    """The Host header without its port."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _option(parameter: Parameter, value: Any) -> str | None:
    if parameter.type is bool:
        if not isinstance(value, bool):
            raise GradattnError(f"option {parameter.name!r} is switched on by true and off by false, not by {value!r}")
        return parameter.option if value else None
    text = value if isinstance(value, str) else json.dumps(value)
    return f"{parameter.option}={_text(parameter.name, text)}"


def _text(name: str, text: str) -> str:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise GradattnError(f"{name} holds a character that is none; type it again") from None
    if "\0" in text:
        raise GradattnError(f"{name} holds a null character, which no path or option can")
    return text


def _logs(out: Path) -> list[Path]:
    return sorted(outfolder.logs(out).glob("audit-*.log"))


def _new_log(out: Path) -> Path:
    folder = outfolder.logs(out)
    folder.mkdir(parents=True, exist_ok=True)
    for old in _logs(out)[: 1 - _KEPT_LOGS]:
        old.with_suffix(".json").unlink(missing_ok=True)
        old.unlink(missing_ok=True)
    return folder / f"audit-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.log"


def _hold(file: BinaryIO) -> None:
    import fcntl  # absent on Windows, where the page starts nothing

    fcntl.flock(file, fcntl.LOCK_EX)


def _is_held(log: Path) -> bool:
    import fcntl

    with log.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL))
        text = file.read().decode("utf-8", "replace")
    return _CONTROL.sub("", text)


def _outcome(tail: str) -> tuple[str, str]:
    """State and sentence of an audit that has ended, from what the command line prints in its last lines."""
    lines = [line for line in tail.splitlines() if line.strip()]
    if any(line.startswith("candidates  ") for line in lines[-5:]):
        return "finished", ""
    said = [place for place, line in enumerate(lines) if _SAID.match(line)]
    if said:
        # All of it, however many lines it has; on a page nobody needs to be sent to the command's help.
        sentence = _SAID.sub("", "\n".join(lines[said[-1] :])).removesuffix(" (see gradattn audit --help)")
        return ("stopped" if sentence.startswith("interrupted;") else "failed"), sentence
    if lines and lines[-1] and "Traceback (most recent call last):" in tail:
        return "failed", lines[-1]
    return "failed", "the audit was ended from outside; it goes on from where it was"
