"""What ``gradattn ui`` hands to the page's own process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from streamlit.web.server.server_util import is_url_from_allowed_origins

from gradattn_core.cli import main
from tests.helpers.browser import ROOT, free_port, wait_until_served
from ui.launch import _command

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="reads a process's environment in /proc"
)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_the_page_knows_the_folder_to_which_the_images_were_moved(tmp_path: Path) -> None:
    (tmp_path / "moved here").mkdir()
    port = free_port()
    command = [sys.executable, "-m", "gradattn_core", "ui", "--out", ".", "--port", str(port), "--read-only"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([*command, "--data-root", "moved here"], cwd=tmp_path, env=environment)
    try:
        wait_until_served(f"http://localhost:{port}")
        found = Path(f"/proc/{children(process.pid)[0]}/environ").read_bytes().split(b"\0")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    assert f"GRADATTN_DATA_ROOT={tmp_path / 'moved here'}".encode() in found
    assert f"GRADATTN_OUT={tmp_path}".encode() in found and b"GRADATTN_READ_ONLY=1" in found


def test_a_data_root_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ui", "--out", str(tmp_path), "--data-root", str(tmp_path / "absent")]) == 2
    assert "absent: there is no such folder" in capsys.readouterr().err


def open_page(port: int) -> socket.socket:
    """A page's connection that is kept open, and never answers: the handshake of a websocket, and no word after it."""
    page = socket.create_connection(("localhost", port), timeout=10)
    page.sendall(
        f"GET /_stcore/stream HTTP/1.1\r\nHost: localhost:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert page.recv(12) == b"HTTP/1.1 101"
    return page


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_the_page_ends_soon_although_somebody_holds_it_open(tmp_path: Path, ending: signal.Signals) -> None:
    port = free_port()
    command = [sys.executable, "-m", "gradattn_core", "ui", "--out", str(tmp_path), "--port", str(port)]
    # A group of its own, as a terminal has it: Ctrl-C reaches the server too.
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True)
    wait_until_served(f"http://localhost:{port}")
    [server] = children(process.pid)
    begun = time.monotonic()
    with open_page(port), open_page(port), socket.create_connection(("localhost", port)) as unfinished:
        unfinished.sendall(b"POST /gradattn/decisions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        if ending is signal.SIGINT:
            os.killpg(process.pid, ending)
        else:
            process.send_signal(ending)
        assert process.wait(20) == 0
    assert time.monotonic() - begun < 20
    assert not Path(f"/proc/{server}").exists(), "the server was left behind"


def test_nobody_is_asked_for_this_machines_address_on_the_internet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAMLIT_BROWSER_SERVER_ADDRESS", raising=False)
    flag = "--browser.serverAddress=localhost"
    assert flag in _command(8501, "0.0.0.0") and flag not in _command(8501, "localhost")
    monkeypatch.setenv("STREAMLIT_BROWSER_SERVER_ADDRESS", "review.example.org")
    assert flag not in _command(8501, "0.0.0.0")
    # Nor where a page comes from a name that Streamlit does not know.
    import ui.server  # noqa: F401 - what it does to Streamlit

    asked: list[object] = []

    def look_up(*place: object, **_: object) -> None:
        asked.append(place)
        raise socket.gaierror("nobody is to be asked")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert not is_url_from_allowed_origins("https://elsewhere.example.org") and not asked
