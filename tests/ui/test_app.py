"""The pages without a browser: what they show, and that what is pressed reaches the database."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.app_pages import opened, texts
from ui.components import escaped


def test_a_folder_without_an_audit_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADATTN_OUT", str(tmp_path / "my results"))
    for page in ("overview", "review", "grid", "pair", "decisions", "export"):
        app = opened(page)
        assert app.title[0].value == "No audit here yet"
        assert app.code[0].value == f"gradattn audit DATASET --out '{tmp_path / 'my results'}'"
    # Where no audit can be started, no way leads there.
    ways = [len(opened("overview").get("page_link"))]
    monkeypatch.setenv("GRADATTN_READ_ONLY", "1")
    ways.append(len(opened("overview").get("page_link")))
    assert ways == [1, 0]


def test_a_database_that_is_none_is_reported_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gradattn.duckdb").write_bytes(b"this is no database" * 100)
    monkeypatch.setenv("GRADATTN_OUT", str(tmp_path))
    app = opened("review")
    assert app.error[0].value == "The results cannot be read."
    assert "gradattn.duckdb" in texts(app)[0]


def test_escaped_text_has_no_markdown_left_and_keeps_its_letters() -> None:
    text = escaped("**a** [x](http://y) :smile: $z$ `c` <b>\n# h")
    assert "\n" not in text
    assert text.replace("\\", "").replace("\u2060", "") == "**a** [x](http://y) :smile: $z$ `c` <b> # h"
    assert all(text[index - 1] == "\\" for index, sign in enumerate(text) if sign in "*[]()`$<>#_")
    assert ":smile:" not in text.replace("\\", "")
    assert len(escaped("x" * 500)) == 60


def test_the_page_never_imports_torch() -> None:
    code = (
        "import sys; from gradattn_core.wording import full_name; import ui.server; "
        "assert full_name('n01440764') == 'tench · n01440764'; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
