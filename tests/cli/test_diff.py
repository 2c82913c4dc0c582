"""``gradattn diff`` as a process and in this one: what it says about two audits of a dataset."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd
import pytest

from gradattn_core.cli import main
from gradattn_core.store.store import Store
from tests.helpers.command_line import gradattn, json_here, run_here
from tests.helpers.hostile import HOSTILE
from tests.helpers.sample_audit import audit_row, tables


def merge(store: Store, audit_id: str, day: int, rows: dict[str, tuple[str, str, bool]]) -> None:
    """An audit of path: (content, given label, is suspect), ranked in that order."""
    frames = tables(list(rows), suspects=0, given=[label for _, label, _ in rows.values()])
    frames["images"]["content_hash"] = [content for content, _, _ in rows.values()]
    frames["scores"]["is_suspect"] = [suspect for _, _, suspect in rows.values()]
    suspects = sum(suspect for _, _, suspect in rows.values())
    row = audit_row(audit_id, images=len(rows), suspects=suspects, finished_at=pd.Timestamp(2026, 11, day, tz="UTC"))
    store.audits.merge(row | {"estimated_errors": 40.0 / day}, {name: frames[name] for name in ("images", "scores")})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    kept = {f"kite/{number}.jpg": (f"{number}", "kite", False) for number in range(5)}
    before = {
        "kite/a.jpg": ("a", "kite", True), "kite/b.jpg": ("b", "kite", True), "kite/c.jpg": ("c", "kite", True),
        "kite/d.jpg": ("d", "kite", False), **kept,
    }  # fmt: skip
    after = {
        "owl/a.jpg": ("a", "owl", False), "kite/=b.jpg": ("b", "kite", False), "kite/d.jpg": ("d2", "kite", True),
        "kite/=new()": ("new", HOSTILE[0], True), "kite/[red]x": ("x", "kite", True), **kept,
    }  # fmt: skip
    merge(store, "one", 1, before)
    store.decisions.append("one", "kite/a.jpg", "relabel", new_label="owl", reviewer="ann")
    merge(store, "two", 8, after)
    return store


def test_the_newest_audit_is_compared_with_the_one_of_its_dataset_before(store: Store) -> None:
    shown = gradattn("diff", out=store.directory)
    assert shown.returncode == 0 and shown.stderr == ""
    lines = [" ".join(line.split()) for line in shown.stdout.splitlines()]
    assert "birds one → two" in lines
    assert "images 9 → 10, suspects 3 → 3, labels wrong as the model believes 40 (2 to 7) → 5 (2 to 7)" in lines
    assert [line for line in lines if line[-1:].isdigit() and ": " in line] == [
        "new suspects: 3", "no longer suspects: 3", "new images: 2", "images that are gone: 1",
        "images changed at the same path: 1", "images relabelled: 1", "images moved under the same label: 1",
    ]  # fmt: skip
    assert "1 kite/a.jpg kite 1.00 relabelled: owl, as decided" in lines
    assert "3 kite/c.jpg kite 0.75 removed" in lines and "5 kite/[red]x kite bald eagle 0.56 new image" in lines
    assert "owl/a.jpg owl kite/a.jpg kite" in lines and "kite/=b.jpg kite kite/b.jpg" in lines


def test_as_json_it_has_counts_lists_and_both_sides(store: Store) -> None:
    found = json_here("diff", "one", "two", "--top", "1", out=store.directory)
    assert found["counts"] == {
        "new_suspects": 3, "gone_suspects": 3, "new_images": 2, "gone_images": 1,
        "changed_images": 1, "relabelled_images": 1, "moved_images": 1,
    }  # fmt: skip
    assert (found["before"]["audit_id"], found["after"]["estimated_errors"]) == ("one", 5.0)
    assert [row["path"] for row in found["new_suspects"]] == ["kite/d.jpg"]
    assert found["changed_images"] == [{"path": "kite/d.jpg", "given_label": "kite", "old_label": "kite"}]
    assert found["gone_suspects"][0]["decision"] == "relabel"
    assert json_here("diff", "two", out=store.directory)["counts"] == found["counts"]
    turned = json_here("diff", "two", "one", out=store.directory)["counts"]
    assert (turned["new_images"], turned["gone_images"]) == (1, 2)


def test_the_new_suspects_go_into_a_csv_that_no_spreadsheet_runs(store: Store, tmp_path: Path) -> None:
    found = json_here("diff", "--csv", str(tmp_path / "new.csv"), "--top", "1", out=store.directory)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "new.csv").read_bytes().decode(), newline="")))
    assert [(row["path"], row["given_label"], row["why"]) for row in rows] == [
        ("kite/d.jpg", "kite", "changed"), ("kite/=new()", f"'{HOSTILE[0]}", "new image"),
        ("kite/[red]x", "kite", "new image"),
    ]  # fmt: skip
    assert len(found["new_suspects"]) == 1 and list(rows[0])[:2] == ["rank", "path"]


def test_equal_audits_have_nothing_to_tell(store: Store) -> None:
    status, text = run_here("diff", "two", "two", out=store.directory)
    assert status == 0 and text.splitlines()[-1] == "nothing else differs"
    assert run_here("diff", "--quiet", out=store.directory) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["oen", "two"], "there is no audit 'oen'; finished are one, two. Did you mean one?"),
        (["one"], "no audit of birds, or of any of its pictures, before one; audit it again after a change"),
        (["one", "two", "one"], "3 audits were named (one, two, one); a difference is between two"),
        (["--top", "-1"], "--top -1 is negative"),
        (["--csv", "nowhere/new.csv"], "cannot write nowhere/new.csv"),
    ],
)
def test_bad_input_is_one_sentence(
    store: Store, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["diff", *arguments, "--out", str(store.directory)]) == 2
    out, err = capsys.readouterr()
    assert words in err and err.count("\n") == 1 and out == ""
