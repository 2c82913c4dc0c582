"""``gradattn apply`` as people run it: what it says, what it writes, its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gradattn_core import outfolder
from gradattn_core.cli import main
from gradattn_core.store.store import Store
from tests.helpers.command_line import gradattn, json_here, processor_seconds, run_here
from tests.helpers.reviewed_dataset import audited, corrected, decide, labelled, snapshot, write_files


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    files = {f"{label}/{number}.jpg": f"{label} {number}" for label in ("kite", "owl") for number in range(4)}
    return write_files(tmp_path / "photos", files)


@pytest.fixture
def store(photos: Path, tmp_path: Path) -> Store:
    store = audited(photos, tmp_path / "gradattn-out")
    decide(store, {"kite/0.jpg": "[bold]owl\x1b[2J", "kite/1.jpg": "owl", "owl/2.jpg": None})
    return store


def test_the_way_of_a_correction_from_dry_run_to_undo(store: Store, photos: Path, tmp_path: Path) -> None:
    before = snapshot(photos)
    shown = gradattn("apply", "--dry-run", cwd=tmp_path)
    assert shown.returncode == 0 and shown.stderr == ""
    assert "2 relabelled, 1 removed, 5 of 8 images as they are" in shown.stdout
    assert "kite/1.jpg: kite → owl\n" in shown.stdout and "owl/2.jpg: owl → (removed)\n" in shown.stdout
    assert "[bold]owl[2J" in shown.stdout and "\x1b" not in shown.stdout
    assert snapshot(photos) == before and {path.name for path in store.directory.iterdir()} == {"gradattn.duckdb"}

    made = gradattn("apply", "--to", "clean", cwd=tmp_path)
    assert made.returncode == 0 and made.stderr == ""
    assert (
        "clean: 2 relabelled, 1 removed, 5 as they were" in made.stdout and "next  gradattn audit clean" in made.stdout
    )
    assert labelled(tmp_path / "clean") == corrected(store) and snapshot(photos) == before

    done = gradattn("apply", "--in-place", cwd=tmp_path)
    assert done.returncode == 0 and f"{photos}: 2 relabelled, 1 removed" in done.stdout
    assert labelled(photos) == corrected(store)
    undone = gradattn("apply", "--undo", cwd=tmp_path)
    assert undone.returncode == 0 and "3 files are back where they were (applied from audit first)" in undone.stdout
    assert snapshot(photos) == before
    again = gradattn("apply", "--undo", cwd=tmp_path)
    assert again.returncode == 2 and again.stderr.startswith(
        "gradattn: output folder gradattn-out: nothing was applied"
    )


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_the_manifest_is_the_export_and_a_dataset(store: Store, tmp_path: Path, form: str) -> None:
    target = tmp_path / f"clean.{form}"
    counts = json_here("apply", "--manifest", target, out=store.directory)
    assert (counts["relabelled"], counts["removed"], counts["as_before"]) == (2, 1, 5)
    exported = tmp_path / f"exported.{form}"
    assert main(["export", "corrected", "-o", str(exported), "--out", str(store.directory)]) == 0
    assert target.read_bytes() == exported.read_bytes()
    assert labelled(target) == corrected(store)


def test_as_json_everything_is_listed(store: Store, photos: Path, tmp_path: Path) -> None:
    write_files(photos, {"kite/1.jpg": "edited"})
    plan = json_here("apply", "--dry-run", out=store.directory)
    assert plan == {
        "audit_id": "first", "relabelled": 2, "removed": 1, "as_before": 5,
        "changes": [
            {"path": "kite/0.jpg", "given_label": "kite", "label": "[bold]owl\x1b[2J", "objection": None},
            {"path": "kite/1.jpg", "given_label": "kite", "label": "owl",
             "objection": "its content is not what the audit saw"},
            {"path": "owl/2.jpg", "given_label": "owl", "label": None, "objection": None},
        ],
    }  # fmt: skip
    status, text = run_here("apply", "--in-place", "--json", out=store.directory)
    done = json.loads(text)
    assert status == 1 and (done["relabelled"], done["removed"]) == (1, 1)
    assert done["left_alone"] == [{"path": "kite/1.jpg", "reason": "its content is not what the audit saw"}]
    assert json_here("apply", "--undo", out=store.directory) == {"audit_id": "first", "files": 2, "left_alone": []}


def test_files_left_alone_are_said_and_are_an_exit_code_of_their_own(store: Store, photos: Path) -> None:
    write_files(photos, {"kite/1.jpg": "edited"})
    assert "kite → owl  would be left alone: its content is" in run_here("apply", "--dry-run", out=store.directory)[1]
    assert "1 of those would be left alone" in run_here("apply", "--dry-run", "--top", "1", out=store.directory)[1]
    status, text = run_here("apply", "--in-place", out=store.directory)
    assert status == 1 and "left alone kite/1.jpg: its content is not what the audit saw" in text
    assert run_here("apply", "--in-place", "--quiet", out=store.directory) == (1, "")


def test_a_dataset_without_decisions_is_copied_as_it_is(photos: Path, tmp_path: Path) -> None:
    store = audited(photos, tmp_path / "out")
    assert "no standing decision changes a label" in run_here("apply", "--dry-run", out=store.directory)[1]
    assert json_here("apply", "--to", tmp_path / "same", out=store.directory)["as_before"] == 8
    assert labelled(tmp_path / "same") == labelled(photos)
    assert json_here("apply", "--in-place", out=store.directory)["relabelled"] == 0
    assert not (store.directory / "applied.jsonl").exists()


def test_help_answers_at_once_and_says_the_exit_codes(tmp_path: Path) -> None:
    gradattn("apply", "--help", cwd=tmp_path)
    begun = processor_seconds()
    shown = gradattn("apply", "--help", cwd=tmp_path)
    assert processor_seconds() - begun < 1.0
    assert "  gradattn apply --dry-run\n" in shown.stdout and "exit code: 0" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--in-place", "--link", "copy"], "--link copy says how --to makes its tree"),
        (["--undo", "--audit", "first"], "--audit first does not go with --undo"),
        (["--undo", "--data-root", "moved"], "--data-root moved does not go with --undo"),
        (["--dry-run", "--audit", "frist"], "no audit 'frist'; finished are first. Did you mean first?"),
        (["--dry-run", "--top", "-1"], "--top -1 is negative"),
        (["--manifest", "clean.json"], "clean.json is for annotated boxes; of pictures give .csv, .parquet, .jsonl"),
        (["--manifest", "nowhere/clean.csv"], "cannot write nowhere/clean.csv"),
        (["--to", "{photos}/clean"], "lies in the dataset"),
        (["--undo"], "nothing was applied in place"),
    ],
)
def test_bad_input_is_one_sentence_and_changes_nothing(
    store: Store, photos: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    before = snapshot(photos)
    typed = [argument.format(photos=photos) for argument in arguments]
    assert main(["apply", *typed, "--out", str(store.directory)]) == 2
    out, err = capsys.readouterr()
    assert words in err and err.startswith("gradattn: ") and err.count("\n") == 1 and out == ""
    assert snapshot(photos) == before


def test_the_audited_manifest_is_not_overwritten_by_the_new_one(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = photos / "list.csv"
    manifest.write_text("path,label\nkite/0.jpg,kite\nowl/0.jpg,owl\n")
    store = audited(manifest, tmp_path / "out")
    (tmp_path / "alias.csv").symlink_to(manifest)
    for same in (manifest, tmp_path / "alias.csv"):
        assert main(["apply", "--manifest", str(same), "--out", str(store.directory)]) == 2
        assert "is the audited manifest itself; give another file, or --in-place" in capsys.readouterr().err
    assert manifest.read_text() == "path,label\nkite/0.jpg,kite\nowl/0.jpg,owl\n"


def test_while_an_audit_is_at_work_nothing_is_moved(
    store: Store, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(photos)
    with outfolder.lock(store.directory):
        for way in ("--in-place", "--undo"):
            result = gradattn("apply", way, "--out", store.directory, cwd=photos)
            assert result.returncode == 2
            assert "another audit is at work there, or its dataset is being corrected" in result.stderr
    assert snapshot(photos) == before
