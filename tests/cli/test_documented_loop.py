"""What docs/correcting.md shows in its first block, run as it stands there: the loop of a correction, and its diff."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from gradattn_core.audit.run import audit_images
from gradattn_core.store.store import Store
from tests.helpers.command_line import run_here
from tests.helpers.tiny import make_tiny, model_options

ROOT = Path(__file__).resolve().parents[2]


def documented(page: str) -> list[list[str]]:
    """The commands of a page's first block, each as its words; what stands behind ``#`` is a comment."""
    [block, *_] = re.findall(r"```\n(gradattn .*?)```", (ROOT / page).read_text("utf-8"), flags=re.DOTALL)
    return [shlex.split(line, comments=True)[1:] for line in block.splitlines()]


def test_the_loop_of_the_documentation_ends_in_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = make_tiny(tmp_path, per_class=8)
    monkeypatch.chdir(tmp_path)
    config = tiny.config(tmp_path / "gradattn-out")
    first = audit_images(config).audit_id
    store = Store("gradattn-out")
    wrong = sorted(tiny.wrong)
    for path in wrong:
        store.decisions.append(first, path, "relabel", new_label=Path(path).name.split("-")[0], reviewer="ann")
    commands = documented("docs/correcting.md")
    assert [words[0] for words in commands] == [*["apply"] * 5, "audit", "diff"]
    for words in commands:
        options = [*model_options(tiny), "--head", "probe", "--quiet"] if words[0] == "audit" else []
        assert run_here(*words, *options)[0] == 0, words
    _, text = run_here("diff")
    assert f"images relabelled: {len(wrong)}" in text
    assert "note corrected/ has no audit before this one, so it is compared with the newest one" in text
    found = json.loads(run_here("diff", "--json")[1])
    assert found["before"]["audit_id"] == first and found["counts"]["new_images"] == 0
    assert [str(tiny.dataset) in note for note in found["warnings"]] == [True]
    named = json.loads(run_here("diff", first, found["after"]["audit_id"], "--json")[1])
    assert named["counts"] == found["counts"] and named["warnings"] == []
