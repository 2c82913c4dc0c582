"""Decisions from edited tables: whichever spreadsheet wrote them, all or none, once, and conflicts kept."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pandas as pd
import pytest

from gradattn_core import outfolder
from gradattn_core.cli import main
from gradattn_core.csv_tables import read_candidates
from gradattn_core.export import encode, update_candidates
from gradattn_core.store.outbox import Undone
from gradattn_core.store.store import Store
from tests.helpers.command_line import json_here, run_here
from tests.helpers.hostile import HOSTILE
from tests.helpers.sample_audit import PATHS, audit_row, sample_store, tables

Cells = dict[str, dict[str, str]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = sample_store(tmp_path)
    update_candidates(store, "first")
    return store


def edited(store: Store, said: Cells, *, encoding: str = "utf-8", delimiter: str = ",") -> Path:
    """candidates.csv as somebody saves it who has written into some of its cells, by path."""
    text = outfolder.candidates(store.directory).read_text("utf-8")
    table = list(csv.DictReader(io.StringIO(text, newline="")))
    for row in table:
        row.update(said.get(row["path"], {}))
    file = store.directory / "edited.csv"
    with open(file, "w", encoding=encoding, newline="") as opened:
        writer = csv.DictWriter(opened, list(table[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(table)
    return file


def take_over(store: Store, file: Path, *more: str) -> dict[str, object]:
    answer: dict[str, object] = json_here("import", "decisions", file, *more, out=store.directory)
    return answer


def refused(capsys: pytest.CaptureFixture[str], store: Store, file: Path, *more: str) -> str:
    capsys.readouterr()
    assert main(["import", "decisions", str(file), *more, "--out", str(store.directory)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    return said.err


def standing(store: Store) -> list[tuple[str, str, str, str]]:
    log = store.decisions.page(standing=True)
    return sorted(zip(log["path"], log["decision"], log["new_label"], log["reviewer"], strict=True))


@pytest.mark.parametrize(
    ("encoding", "delimiter"), [("utf-8", ","), ("utf-8-sig", ";"), ("utf-16", "\t")], ids=["plain", "excel", "unicode"]
)
def test_an_edited_list_is_taken_over_once(store: Store, encoding: str, delimiter: str) -> None:
    suggested = store.candidates.page("first").set_index("path")["suggested_label"]
    said: Cells = {
        PATHS[0]: {"decision": "Keep ", "note": "seen from below; ünder"},
        PATHS[1]: {"decision": "relabel"},
        PATHS[2]: {"decision": "relabel:albatross"},
        PATHS[3]: {"decision": "remove"},
    }
    file = edited(store, said, encoding=encoding, delimiter=delimiter)
    first = take_over(store, file, "--reviewer", "ann")
    assert (first["read"], first["stored"], first["known"], first["differing"]) == (4, 4, 0, [])
    assert standing(store) == sorted(
        [
            (PATHS[0], "keep", "", "ann"),
            (PATHS[1], "relabel", suggested[PATHS[1]], "ann"),
            (PATHS[2], "relabel", "albatross", "ann"),
            (PATHS[3], "remove", "", "ann"),
        ]
    )
    # The list follows at once, and says the same when it is read in its turn.
    listed = read_candidates(outfolder.candidates(store.directory)).set_index("path")
    assert listed["decision"][PATHS[2]] == "relabel:albatross" and listed["note"][PATHS[0]] == "seen from below; ünder"
    for again in (file, outfolder.candidates(store.directory)):
        assert take_over(store, again, "--reviewer", "ann")["stored"] == 0
    assert store.decisions.count() == 4
    # One undo on the page takes the whole file back.
    undone = store.decisions.undo_last("first", "ann", "an-undo")
    assert isinstance(undone, Undone) and len(undone.paths) == 4 and standing(store) == []


def test_rows_that_nobody_has_touched_are_no_words_of_who_imports_them(store: Store) -> None:
    for path, decision in ((PATHS[0], "keep"), (PATHS[1], "unsure")):
        store.decisions.append("first", path, decision, reviewer="ann")
    update_candidates(store, "first")
    file = edited(store, {PATHS[1]: {"decision": "remove"}, PATHS[2]: {"decision": "keep"}})
    store.decisions.append("first", PATHS[0], "remove", reviewer="ann")
    answer = take_over(store, file, "--reviewer", "bob")
    # Ann's newer word about the first picture stands, though the file is older than it.
    assert (answer["stored"], answer["known"], answer["differing"]) == (2, 1, [PATHS[1]])
    assert standing(store) == sorted(
        [(PATHS[0], "remove", "", "ann"), (PATHS[1], "remove", "", "bob"), (PATHS[2], "keep", "", "bob")]
    )
    conflicts = store.decisions.page(conflicts=True)
    assert sorted(zip(conflicts["reviewer"], conflicts["decision"], strict=True)) == [
        ("ann", "unsure"),
        ("bob", "remove"),
    ]
    assert take_over(store, file, "--reviewer", "bob")["stored"] == 0


@pytest.mark.parametrize("form", ["csv", "parquet", "json", "jsonl"])
def test_the_log_of_one_folder_goes_into_another_under_the_names_of_its_reviewers(tmp_path: Path, form: str) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    here, there = (sample_store(tmp_path / name) for name in ("here", "there"))
    here.decisions.append("first", PATHS[0], "keep", reviewer="ann", note="=1+1")
    here.decisions.append("first", PATHS[0], "relabel", new_label="bald eagle", reviewer="bob")
    here.decisions.append("first", PATHS[1], "keep", reviewer="ann")
    here.decisions.undo("first", PATHS[1], reviewer="ann")
    file = tmp_path / f"log.{form}"
    # Somebody has sorted it meanwhile; what stands is the same.
    log = here.decisions.page().sort_values(["path", "reviewer"], ignore_index=True)
    assert log["stands"][log["path"] == PATHS[0]].tolist() == [False, True]
    file.write_bytes(encode("decisions", log, form))
    assert take_over(there, file)["stored"] == 2 and take_over(there, file)["stored"] == 0
    assert standing(there) == standing(here) == [(PATHS[0], "relabel", "bald eagle", "bob")]
    columns = ["path", "reviewer", "decision", "new_label", "note", "conflict"]
    of_here, of_there = (each.decisions.page(conflicts=True)[columns] for each in (here, there))
    pd.testing.assert_frame_equal(of_here, of_there)


@pytest.mark.parametrize(
    ("cells", "more", "sentence"),
    [
        (
            {"decision": "yes"},
            ("--reviewer", "ann"),
            "row 3: 'yes' is no decision; write keep, relabel:CLASS, remove or unsure. Did you mean keep?",
        ),
        ({"decision": "kep"}, ("--reviewer", "ann"), "Did you mean 'keep'?"),
        ({"decision": "relabel:osprei"}, ("--reviewer", "ann"), "row 3: the dataset has no class 'osprei'"),
        ({"decision": "relabel:Bald_Eagle"}, ("--reviewer", "ann"), "is written 'bald eagle' in this dataset"),
        ({"decision": "relabel", "suggested_label": ""}, ("--reviewer", "ann"), "row 3: relabel needs the new label"),
        ({"decision": "keep"}, (), "row 3 names nobody as its reviewer; --reviewer NAME says"),
        ({"decision": "keep", "path": "kite/no.jpg"}, ("--reviewer", "ann"), "has no image 'kite/no.jpg'"),
        ({"decision": "keep", "given_label": "owl"}, ("--reviewer", "ann"), "here, not 'owl'"),
        ({"decision": "keep", "path": PATHS[0]}, ("--reviewer", "ann"), "row 3 contradicts "),
    ],
    ids=["verb", "typo", "class", "spelling", "relabel", "nobody", "path", "label", "twice"],
)
def test_what_cannot_be_taken_over_is_named_with_its_row_and_nothing_is(
    store: Store,
    capsys: pytest.CaptureFixture[str],
    cells: dict[str, str],
    more: tuple[str, ...],
    sentence: str,
) -> None:
    given = store.candidates.page("first").set_index("path")["given_label"][PATHS[1]]
    if cells.get("path") == PATHS[0]:
        cells = cells | {"given_label": store.candidates.page("first").set_index("path")["given_label"][PATHS[0]]}
    file = edited(
        store, {PATHS[0]: {"decision": "remove", "reviewer": "cleo"}, PATHS[1]: {"given_label": given} | cells}
    )
    assert sentence in refused(capsys, store, file, *more)
    assert store.decisions.count() == 0


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "has no columns path and decision"),
        (b"a,b\r\n1,2\r\n", "has no columns path and decision"),
        (b"path,label\r\na,b\r\n", "no column given_label"),
        ("path;decision;note\r\na;keep;\u00e9".encode("latin-1"), "a spreadsheet saves one as CSV UTF-8"),
        (b"[1, 2]", "holds no JSON object"),
        (b"[" * 100_000, "is not JSON"),
        (b"PAR1 no parquet", "cannot be read as Parquet"),
        (b"path,decision\r\n", "has no decision in it"),
    ],
    ids=["empty", "foreign", "labels", "latin", "numbers", "deep", "parquet", "nothing"],
)
def test_what_is_no_table_of_decisions_is_refused_in_one_sentence(
    store: Store, capsys: pytest.CaptureFixture[str], content: bytes, sentence: str
) -> None:
    file = store.directory / "what"
    file.write_bytes(content)
    assert sentence in refused(capsys, store, file, "--reviewer", "ann")
    assert store.decisions.count() == 0


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_hostile_paths_labels_and_notes_come_back_as_they_were(tmp_path: Path, form: str) -> None:
    labels = [label for label in HOSTILE if label.strip()]
    paths = [f"{number}/{name}" for number, name in enumerate(HOSTILE)]
    given = [labels[row % len(labels)] for row in range(len(paths))]
    store = Store(tmp_path)
    store.audits.merge(
        audit_row(classes=labels, images=len(paths), suspects=len(paths)),
        tables(paths, suspects=len(paths), interpreted=1, given=given),
    )
    wanted = {path: labels[(row + 1) % len(labels)] for row, path in enumerate(paths)}
    log = pd.DataFrame(
        {"path": paths, "given_label": given, "decision": "relabel", "new_label": list(wanted.values()), "note": paths}
    ).assign(reviewer="<ann>", decided_at="", stands=True, conflict=False, drawn=False)
    log = log.assign(audit_id="first", content_hash="", decision_id="x")
    file = tmp_path / "said"
    file.write_bytes(encode("decisions", log, form))
    assert take_over(store, file)["stored"] == len(paths)
    back = store.candidates.page("first").set_index("path")
    assert back["new_label"].to_dict() == wanted and back["note"].to_dict() == {path: path for path in paths}


def test_nothing_changes_when_it_is_only_tried(store: Store) -> None:
    file = edited(store, {PATHS[0]: {"decision": "keep"}})
    before = outfolder.candidates(store.directory).read_bytes()
    assert take_over(store, file, "--reviewer", "ann", "--dry-run")["stored"] == 1
    assert store.decisions.count() == 0 and outfolder.candidates(store.directory).read_bytes() == before


def test_one_picture_is_decided_by_its_name_or_its_file(store: Store, tmp_path: Path) -> None:
    status, text = run_here("decide", PATHS[0], "relabel", "bald eagle", "--reviewer", "ann", out=tmp_path)
    assert status == 0 and text == f"{PATHS[0]}: ann said relabel bald eagle\n"
    root = store.audits.one("first").root
    answer = json_here("decide", f"{root}/{PATHS[0]}", "keep", "--reviewer", "bob", "--note", "no", out=tmp_path)
    assert (answer["path"], answer["stands"], answer["conflict"], answer["stored"]) == (PATHS[0], "keep", True, True)
    assert json_here("decide", PATHS[0], "keep", "--reviewer", "bob", out=tmp_path)["stored"] is False
    listed = read_candidates(outfolder.candidates(tmp_path)).set_index("path")
    assert (listed["decision"][PATHS[0]], listed["reviewer"][PATHS[0]], listed["note"][PATHS[0]]) == (
        "keep",
        "bob",
        "no",
    )
    json_here("decide", PATHS[0], "undo", "--reviewer", "bob", out=tmp_path)
    assert standing(store) == [(PATHS[0], "relabel", "bald eagle", "ann")]
    one = store.candidates.one("first", PATHS[1])
    assert one is not None
    assert (
        json_here("decide", PATHS[1], "accept", "--reviewer", "bob", out=tmp_path)["new_label"] == one.suggested_label
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((PATHS[0], "relabel"), "relabel needs the right CLASS behind it"),
        ((PATHS[0], "keep", "owl"), "keep takes no CLASS"),
        ((PATHS[0], "relabel", "ovl"), "the dataset has no class 'ovl'"),
        (("nowhere/x.jpg", "keep"), "has no image 'nowhere/x.jpg'"),
    ],
    ids=["classless", "class", "unknown", "path"],
)
def test_what_cannot_be_decided_is_one_sentence(
    store: Store, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    assert main(["decide", *arguments, "--reviewer", "ann", "--out", str(store.directory)]) == 2
    assert sentence in capsys.readouterr().err and store.decisions.count() == 0


def test_a_new_class_is_taken_where_that_is_said(store: Store, tmp_path: Path) -> None:
    arguments = ("decide", PATHS[0], "relabel", "ovl", "--reviewer", "ann", "--new-classes")
    assert json_here(*arguments, out=tmp_path)["new_label"] == "ovl"
    # From then on it is one.
    assert json_here("decide", PATHS[1], "relabel", "ovl", "--reviewer", "ann", out=tmp_path)["stored"] is True
    assert json.loads(json.dumps(standing(store)))[0][2] == "ovl"
