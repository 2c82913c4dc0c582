"""``gradattn audits`` and ``gradattn clean``: what is listed, what goes, and what never does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gradattn_core import outfolder
from gradattn_core.cli import main
from gradattn_core.cli.clean import space
from gradattn_core.store.store import Store
from tests.helpers.command_line import json_here, run_here
from tests.helpers.reviewed_dataset import audited, decide, snapshot, write_files

KEPT = ("applied.jsonl", "removed", "manifests", "candidates.csv", "features/second", "features/other")
GONE = ("work/begun", "features/first", "features/torn", "cache/thumbnails", f".gradattn.duckdb.{'0' * 32}")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Two finished audits, one that was interrupted, and around them everything that an output folder can hold."""
    photos = write_files(tmp_path / "photos", {"kite/a.jpg": "a", "owl/b.jpg": "b", "owl/c.jpg": "c"})
    out = tmp_path / "out"
    store = audited(photos, out)
    audited(photos, out, "second")
    decide(store, {"kite/a.jpg": "owl"})
    plan = {"audit_id": "begun", "config": {"dataset": "\x1b[31mbirds"}, "started_at": "2026-11-25", "images": 7}
    files = {"work/begun/plan.json": json.dumps(plan), "work/begun/sweep-00000.parquet": "x" * 3000}
    for name, key in (("first", "k"), ("second", "k"), ("other", "l")):
        files[f"features/{name}/sweep.json"] = json.dumps({"key": key, "root": "r", "dataset": "d"})
    for name in ("features/torn/sweep-0.parquet", "cache/thumbnails/ab/a.webp", f".gradattn.duckdb.{'0' * 32}"):
        files[name] = "xx"
    for name in ("applied.jsonl", "removed/1/a.jpg", "manifests/m.csv", "candidates.csv"):
        files[name] = "kept"
    hashes = store.audits.contents()
    files |= {f"previews/{name[:2]}/{name}.webp": "p" for name in (*hashes, "0" * 32)}
    for name, text in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text)
    return out


def test_audits_are_listed_with_what_they_take(out: Path) -> None:
    listed = json_here("audits", out=out)
    rows = {row["audit_id"]: row for row in listed["audits"]}
    assert listed["at_work"] is False and set(rows) == {"begun", "first", "second"}
    assert (rows["begun"]["state"], rows["begun"]["images"], rows["begun"]["suspects"]) == ("unfinished", 7, None)
    assert rows["begun"]["work_bytes"] == sum(file.stat().st_size for file in (out / "work/begun").iterdir())
    assert (rows["first"]["state"], rows["first"]["decisions"], rows["first"]["images"]) == ("finished", 1, 3)
    status, text = run_here("audits", out=out)
    assert status == 0 and "\x1b" not in text and len(text.splitlines()) == 4


def test_clean_frees_what_nobody_needs_and_says_so(out: Path) -> None:
    before = snapshot(out)
    would = json_here("clean", "--dry-run", out=out)
    after = snapshot(out)
    assert all(after[path] == content for path, content in before.items() if path != ".audit.lock")
    did = json_here("clean", out=out)
    assert did["freed"] == would["freed"] and did["bytes"] == would["bytes"] > 3000
    assert {item["path"] for item in did["freed"]} == {*GONE, f"previews/00/{'0' * 32}.webp"}
    assert not any((out / name).exists() for name in GONE) and all((out / name).exists() for name in KEPT)
    assert len(list(out.glob("previews/*/*"))) == 3
    assert Store(out).decisions.count() == 1 and len(Store(out).audits.all()) == 2
    assert run_here("clean", out=out)[1].endswith("nothing to free\n")


def test_one_audit_goes_and_its_decisions_stay(out: Path) -> None:
    for audit_id in ("begun", "second"):
        assert main(["clean", "--audit", audit_id, "--quiet", "--out", str(out)]) == 0
    assert [row["audit_id"] for row in json_here("audits", out=out)["audits"]] == ["first"]
    assert not (out / "work/begun").exists() and not (out / "features/second").exists()
    assert json_here("audits", out=out)["audits"][0]["decisions"] == 1
    assert (out / "candidates.csv").read_text().count("\n") == 4
    assert (out / "features/first").exists()


def test_an_audit_at_work_and_a_mistyped_one_are_left_alone(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with outfolder.lock(out):
        assert main(["clean", "--out", str(out)]) == 2
        assert json_here("audits", out=out)["at_work"] is True
    assert main(["clean", "--audit", "frist", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "another audit is at work" in said and "there is no audit 'frist'" in said
    assert all((out / name).exists() for name in (*KEPT, *GONE))


def test_space_is_said_as_people_say_it() -> None:
    said = [space(size) for size in (0, 999, 1000, 12_345, 999_999, 3_400_000, 5 * 10**12)]
    assert said == ["0 B", "999 B", "1.0 kB", "12 kB", "1.0 MB", "3.4 MB", "5.0 TB"]
