"""What is typed after ``gradattn schedule``: what cannot be used is one sentence."""

from __future__ import annotations

import subprocess
import sys

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from gradattn_core.cli import main
from tests.helpers.prefect_runs import one_sentence


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--cron", "61 3 * * 1"], "--cron '61 3 * * 1' is no cron expression"),
        (["--cron", "often"], "--cron 'often' is no cron expression"),
        (["--cron", "0 3 * * 1", "--timezone", "Mars/Base"], "--timezone 'Mars/Base' is not known"),
        (["--cron", "0 3 * * 1", "--timezone", "../etc/passwd"], "--timezone '../etc/passwd' is not known"),
        (["--every", "6 parsecs"], "--every '6 parsecs' is no interval"),
        (["--every", "0h"], "--every '0h' is no interval"),
        (["--every", "6h", "--webhook", "file:///etc/passwd"], "--webhook 'file:///etc/passwd' is no web address"),
        (["--every", "6h", "--page-url", "here"], "--page-url 'here' is no web address"),
        (["--every", "6h", "--notify-above", "-1"], "--notify-above -1 is too small"),
        (["--every", "6h", "--name", "a/b"], "--name 'a/b' is no name for a schedule"),
        (["--every", "6h", "--folds", "1"], "folds 1 is too small"),
        (["--every", "6h", "--checkpoint", "gone.safetensors"], "checkpoint 'gone.safetensors': there is no such file"),
        (["--every", "6h", "--elsewhere"], "dataset '.' is relative"),
    ],
)
def test_what_cannot_be_scheduled_is_one_sentence(
    arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "CRITICAL")
    # Nothing answers there: all of this is said before a server is asked.
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert main(["schedule", "add", ".", *arguments]) == 2
    assert sentence in one_sentence(capsys.readouterr().err)


def test_help_needs_no_prefect() -> None:
    check = (
        "import sys; from gradattn_core.cli import build_parser; parser = build_parser(); "
        "parser.parse_args(['schedule', 'list']); parser.parse_args(['worker']); assert 'prefect' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
