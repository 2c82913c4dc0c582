"""``gradattn spot-check`` and ``gradattn progress``: drawing, the blind list and back, and what is said of it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from gradattn_core.cli import main
from gradattn_core.cli.spot_check import share
from gradattn_core.ranking.certainty import hypergeometric_interval
from gradattn_core.store.store import Store
from tests.helpers.command_line import json_here, run_here
from tests.helpers.sample_audit import audit_row, tables

PATHS = [f"{'kite' if row % 2 == 0 else 'albatross'}/{row:03d}.jpg" for row in range(120)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    store.audits.merge(audit_row(images=120, suspects=30), tables(PATHS, suspects=30, interpreted=1))
    return store


def sheet(file: Path) -> list[dict[str, str]]:
    with open(file, encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def filled(store: Store, count: int, wrong: int) -> Path:
    """A blind list of so many drawn pictures, of which the first ``wrong`` are said to be wrong."""
    file = store.directory / "check.csv"
    run_here("spot-check", str(count), "--csv", file, out=store.directory)
    rows = sheet(file)
    for row, cells in enumerate(rows):
        said = {"decision": "relabel", "new_label": "osprey"} if row < wrong else {"decision": "Keep "}
        cells.update(said)
    write(file, rows)
    return file


def write(file: Path, rows: list[dict[str, str]], delimiter: str = ",") -> None:
    with open(file, "w", encoding="utf-8-sig", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def refused(capsys: pytest.CaptureFixture[str], store: Store, *arguments: str) -> str:
    """The one sentence with which a command refuses its input."""
    capsys.readouterr()
    assert main([*arguments, "--out", str(store.directory)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("gradattn: ") and said.err.count("\n") == 1
    return said.err


def test_the_list_is_blind_and_mixed(store: Store) -> None:
    file = store.directory / "check.csv"
    answer = json_here("spot-check", "40", "--csv", file, out=store.directory)
    rows = sheet(file)
    assert list(rows[0]) == ["path", "given_label", "decision", "new_label", "note"]
    paths = [row["path"] for row in rows]
    assert paths == answer["drawn"]["paths"] == answer["waiting"] == store.draws.waiting("first", "spot check")
    assert paths != sorted(paths) and paths != [path for path in PATHS if path in paths]
    assert all((row["decision"], row["new_label"], row["note"]) == ("", "", "") for row in rows)
    assert {row["path"]: row["given_label"] for row in rows} == {
        path: "kite" if int(path[-7:-4]) % 2 == 0 else "albatross" for path in paths
    }


def test_a_filled_list_is_measured(store: Store) -> None:
    file = filled(store, 40, wrong=6)
    answer = json_here("spot-check", "--read", file, "--reviewer", "ann", out=store.directory)
    low, high = hypergeometric_interval(120, 40, 6)
    total = answer["checked"]["total"]
    assert answer["read"] == 40 and answer["waiting"] == []
    assert total == {"label": "", "pictures": 120, "checked": 40, "wrong": 6, "low": low, "high": high}
    status, text = run_here("spot-check", out=store.directory)
    assert status == 0 and f"95% confidence {low} to {high} of all 120 labels are wrong" in text
    assert "  kite: " in text and "  albatross: " in text
    # Read again, it says nothing new.
    again = json_here("spot-check", "--read", file, "--reviewer", "ann", out=store.directory)
    assert again["read"] == 0 and store.decisions.count() == 40
    log = store.decisions.page()
    assert log["drawn"].all() and set(log["decision"]) == {"keep", "relabel"}


def test_a_spreadsheet_may_write_semicolons_and_leave_rows_empty(store: Store) -> None:
    file = filled(store, 10, wrong=2)
    rows = sheet_of(file)
    rows[9]["decision"] = ""
    write(file, rows, ";")
    answer = json_here("spot-check", "--read", file, "--reviewer", "ann", out=store.directory)
    assert answer["read"] == 9 and answer["waiting"] == [rows[9]["path"]]
    assert answer["checked"]["total"]["checked"] == 9 and answer["checked"]["waiting"] == 1


def sheet_of(file: Path) -> list[dict[str, str]]:
    with open(file, encoding="utf-8-sig", newline="") as opened:
        return list(csv.DictReader(opened))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"decision": "yes", "new_label": ""}, "'yes' is no decision"),
        ({"decision": "relabel", "new_label": ""}, "needs the new label"),
        ({"decision": "keep", "new_label": "kite"}, "row 2: a new label needs the decision 'relabel'"),
        ({"new_label": "kite", "given_label": "kite"}, "has the label 'kite' already"),
        ({"new_label": "Albatross "}, "relabelled 'Albatross ', but that class is written 'albatross'"),
        ({"path": "kite/unknown.jpg"}, "'kite/unknown.jpg' was not drawn"),
        ({"given_label": "osprey"}, "in audit first, not 'osprey'"),
    ],
    ids=["decision", "relabel", "keep", "same", "spelling", "path", "label"],
)
def test_a_list_that_cannot_be_meant_changes_nothing(
    store: Store, capsys: pytest.CaptureFixture[str], changes: dict[str, str], sentence: str
) -> None:
    # So many that one of the two classes is never missing by chance.
    file = filled(store, 40, wrong=1)
    rows = sheet_of(file)
    row = next(row for row in rows if row["given_label"] == "kite")
    rows.insert(0, rows.pop(rows.index(row)))
    row.update({"decision": "relabel", "new_label": "osprey"} | changes)
    write(file, rows)
    assert sentence in refused(capsys, store, "spot-check", "--read", str(file), "--reviewer", "ann")
    assert store.decisions.count() == 0


def test_what_cannot_be_drawn_or_read_is_one_sentence(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert "only 120 are left" in refused(capsys, store, "spot-check", "121")
    assert "ask for 1 or more" in refused(capsys, store, "spot-check", "0")
    assert "--reviewer NAME" in refused(capsys, store, "spot-check", "--read", "check.csv")
    assert "cannot read nowhere.csv" in refused(capsys, store, "spot-check", "--read", "nowhere.csv", "--reviewer", "x")
    empty = store.directory / "empty.csv"
    empty.write_text("path,given_label\r\n", "utf-8")
    assert "lacks the column" in refused(capsys, store, "spot-check", "--read", str(empty), "--reviewer", "x")
    assert "there is no audit" in refused(capsys, store, "spot-check", "5", "--audit", "third")
    assert "end its name in .png" in refused(capsys, store, "progress", "-o", "plot.txt")
    (store.directory / "folder.png").mkdir()
    assert "is a folder; name a file" in refused(capsys, store, "progress", "-o", str(store.directory / "folder.png"))
    assert store.draws.drawn("first") == []


def test_a_drawn_picture_that_is_gone_is_said_once(tmp_path: Path) -> None:
    store, photos = Store(tmp_path), tmp_path / "photos"
    for path in PATHS[:12]:
        (photos / path).parent.mkdir(parents=True, exist_ok=True)
        (photos / path).touch()
    store.audits.merge(audit_row(root=str(photos)), tables(PATHS[:12], suspects=3))
    assert json_here("spot-check", "12", out=tmp_path)["warnings"] == []
    (photos / PATHS[7]).unlink()
    answer = json_here("spot-check", out=tmp_path)
    assert len(answer["warnings"]) == 1 and answer["warnings"][0].startswith("1 of the drawn pictures cannot be found")
    assert PATHS[7] in answer["warnings"][0] and answer["warnings"][0] in run_here("spot-check", out=tmp_path)[1]


def test_hostile_names_come_back_as_they_were(tmp_path: Path) -> None:
    store = Store(tmp_path)
    paths = ["=cmd()|'x'.jpg", "a;b,c.jpg", 'with "quotes".jpg', "new\nline.jpg", "\x1b[31mred.jpg", "'apostrophe.jpg"]
    labels = ["=1+1", "'x", "a,b", "-3", "@x", "\x1b]0;title\x07"]
    store.audits.merge(audit_row(), tables(paths, suspects=2, given=labels))
    file = filled(store, 6, wrong=2)
    answer = json_here("spot-check", "--read", file, "--reviewer", "ann", out=tmp_path)
    assert answer["read"] == 6
    assert {(row.path, row.given_label) for row in store.decisions.page().itertuples()} == set(
        zip(paths, labels, strict=True)
    )
    status, text = run_here("spot-check", out=tmp_path)
    assert status == 0 and "\x1b" not in text and "\x07" not in text


def test_progress_says_what_the_store_says(store: Store) -> None:
    kind, paths = store.draws.next_page("first", 0.1)
    assert kind == "suspects" and list(paths) == PATHS[:25]
    store.decisions.append_many("first", paths, "keep", reviewer="ann")
    while kind != "done":
        kind, paths = store.draws.next_page("first", 0.1)
        if paths:
            store.decisions.append_many("first", paths, "keep", reviewer="ann")
    plot = store.directory / "plot.png"
    answer = json_here("progress", "--until", "10%", "-o", plot, out=store.directory)
    until = store.draws.until("first", 0.1)
    assert (answer["kind"], answer["high"], answer["reviewed"]) == ("done", until.high, until.reviewed)
    assert answer["high"] <= answer["target"] == 12 and answer["expected"] == 0
    assert answer["pictures"] == answer["reviewed"] + answer["unseen"] == 120
    with Image.open(plot) as picture:
        assert picture.width > 300 and len(picture.convert("RGB").getcolors(100_000) or []) > 20
    status, text = run_here("progress", "--until", "10%", out=store.directory)
    be = "is" if until.high == 1 else "are"
    sentence = f"With 95% confidence at most {until.high} of the {until.unseen} unseen labels {be} wrong"
    assert status == 0 and sentence in text and "the review may stop" in text


def test_progress_before_anything_was_reviewed(store: Store) -> None:
    answer = json_here("progress", out=store.directory)
    assert (answer["kind"], answer["high"], answer["reviewed"], answer["checked"]) == ("suspects", 120, 0, None)
    assert 25 <= answer["expected"] <= 120
    # The sample audit's suspicions fall evenly from 1 to 0.
    assert answer["believed"] == pytest.approx(60)
    status, text = run_here("progress", "--quiet", out=store.directory)
    assert (status, text) == (0, "")


@pytest.mark.parametrize(("text", "number"), [("1%", 0.01), ("0.5%", 0.005), ("0.03", 0.03), ("50 %", 0.5)])
def test_a_share_as_it_is_written(text: str, number: float) -> None:
    assert share(text) == pytest.approx(number)


@pytest.mark.parametrize("text", ["0", "1", "100%", "-1%", "nan", "some", ""])
def test_what_is_no_share_is_refused(store: Store, capsys: pytest.CaptureFixture[str], text: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["progress", f"--until={text}", "--out", str(store.directory)])
    assert stopped.value.code == 2 and "is no share of all labels" in capsys.readouterr().err


def test_the_answers_are_one_object(store: Store) -> None:
    for command in ("spot-check", "progress"):
        status, text = run_here(command, "--json", out=store.directory)
        assert status == 0 and isinstance(json.loads(text), dict) and text.count("\n") == 1
