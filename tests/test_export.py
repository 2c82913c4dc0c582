"""Exported files: safe in a spreadsheet, exact when read back, whole at every moment."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import random
import re
import resource
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradattn_core.cli import main
from gradattn_core.csv_tables import read_candidates
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.errors import StoreError
from gradattn_core.export import COLUMNS, TABLES, encode, write_candidates
from gradattn_core.files import write_output
from gradattn_core.store.store import Store
from tests.helpers.command_line import json_here, run_here
from tests.helpers.hostile import HOSTILE
from tests.helpers.sample_audit import PATHS, audit_row, sample_store, tables

TEXT = [name for name, kind in COLUMNS.items() if kind == "str"]
NUMBERS = [name for name, kind in COLUMNS.items() if kind == "float64"]


def candidates_csv(frame: pd.DataFrame) -> str:
    return encode("candidates", frame, "csv").decode()


def frame_of(texts: list[str]) -> pd.DataFrame:
    """A frame with each text in every text column and awkward numbers beside it."""
    numbers = [-0.3, 1 / 3, 1e-12, 123456789.0, float("nan"), -0.0, float("inf"), 1.0]
    columns: dict[str, list[object]] = {}
    for shift, (name, kind) in enumerate(COLUMNS.items()):
        if kind == "int64":
            columns[name] = list(range(1, len(texts) + 1))
        elif kind == "str":
            columns[name] = list(texts)
        else:
            columns[name] = [numbers[(row + shift) % len(numbers)] for row in range(len(texts))]
    return pd.DataFrame(columns)


def random_texts(count: int) -> list[str]:
    """Short strings over the characters that matter, so that all their orders turn up."""
    chooser = random.Random(11)
    alphabet = "=+-@'\"\t\r\n ,;a\ufeff\u200b\u00a0\x00\x1f＝＠−1é🦅"
    return ["".join(chooser.choices(alphabet, k=chooser.randrange(6))) for _ in range(count)]


@pytest.mark.parametrize("texts", [HOSTILE, random_texts(4000), ["", "plain"], []])
def test_every_text_is_read_back_exactly_and_every_number_to_six_digits(tmp_path: Path, texts: list[str]) -> None:
    frame = frame_of(texts)
    back = read_candidates(write_candidates(frame, tmp_path / "candidates.csv"))
    assert list(back.columns) == list(COLUMNS)
    assert back.dtypes["rank"] == np.int64 and (back.dtypes[NUMBERS] == np.float64).all()
    for name in TEXT:
        assert back[name].tolist() == texts, name
    assert back["rank"].tolist() == list(range(1, len(texts) + 1))
    for name in NUMBERS:
        np.testing.assert_allclose(back[name].to_numpy(), frame[name].to_numpy(dtype=float), rtol=5e-6, atol=0)
    assert candidates_csv(back) == candidates_csv(frame)


def test_a_spreadsheet_finds_no_formula_in_any_text_cell() -> None:
    texts = [text for text in HOSTILE + random_texts(4000) if 0 < len(text) < csv.field_size_limit()]
    rows = list(csv.DictReader(io.StringIO(candidates_csv(frame_of(texts)), newline="")))
    ignored = "".join(map(chr, range(33))) + "\x7f\xa0\u00ad\u200b\u200e\u2060\ufeff"
    for row in rows:
        for name in TEXT:
            cell = row[name]
            assert cell[0] not in "\t\r\n"
            assert not cell.lstrip(ignored).startswith(tuple("=+-@＝＋－＠−")), repr(cell)


def test_harmless_text_and_numbers_stay_as_they_are() -> None:
    frame = frame_of(["kite", "bald eagle", "a=b", "1-2", "x@y", "C++"])
    frame["margin"] = [-0.3, -1.0, 0.1 + 0.2, 2e-7, -123456.789, float("nan")]
    rows = list(csv.DictReader(io.StringIO(candidates_csv(frame), newline="")))
    assert [row["given_label"] for row in rows] == frame["given_label"].tolist()
    assert [row["margin"] for row in rows] == ["-0.3", "-1", "0.3", "2e-07", "-123457", ""]


def test_the_file_is_rfc_4180_in_utf_8(tmp_path: Path) -> None:
    frame = frame_of(['say "é", she said', "two\nlines"])
    raw = write_candidates(frame, tmp_path / "candidates.csv").read_bytes()
    assert raw.startswith((",".join(COLUMNS) + "\r\n").encode())
    assert '"say ""é"", she said"'.encode() in raw
    assert b'"two\nlines"' in raw
    assert raw.endswith(b"\r\n")


def test_the_columns_are_the_documented_ones() -> None:
    assert ", ".join(COLUMNS) == (
        "rank, path, given_label, suggested_label, suspicion, given_probability, suggested_probability, margin, "
        "model_log_odds, log_odds_without_picture, red_log_odds, blue_log_odds, top_region_box, top_region_log_odds, "
        "top_region_measured, decision, reviewer, note, outside_label, kind"
    )


def test_the_store_s_candidates_go_out_and_come_back(tmp_path: Path) -> None:
    store = sample_store(tmp_path)
    store.decisions.append("first", PATHS[0], "unsure", reviewer="=ann", note="'maybe', she said")
    frame = store.candidates.page("first")
    back = read_candidates(write_candidates(frame, tmp_path / "candidates.csv"))
    pd.testing.assert_frame_equal(back, frame[list(COLUMNS)], rtol=1e-5)


def test_a_file_that_went_through_a_spreadsheet_is_still_read(tmp_path: Path) -> None:
    path = write_candidates(frame_of(["kite", "=1"]), tmp_path / "candidates.csv")
    rows = list(csv.reader(io.StringIO(path.read_bytes().decode(), newline="")))
    with open(path, "w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([["mine", *row[::-1]] for row in rows])
    assert read_candidates(path)["note"].tolist() == ["kite", "=1"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lacks the column rank, path"),
        (b"rank,path\r\n1,a\r\n", "lacks the column given_label"),
        (
            b"rank,path,positive_mass,negative_mass,balance\r\n1,a,1,2,3\r\n",
            "is of an earlier version of gradattn: red_log_odds has replaced positive_mass, blue_log_odds has replaced "
            "negative_mass, model_log_odds and log_odds_without_picture have replaced balance; `gradattn export",
        ),
        (b"\xff\xfe\x00", "not a CSV file in UTF-8"),
        ((",".join(COLUMNS) + "\r\none" + "," * 14 + "\r\n").encode(), "row 2, rank: 'one' is not a number"),
        ((",".join(COLUMNS) + "\r\n1,a\r\n").encode(), "row 2, given_label: the row ends"),
        ((",".join(COLUMNS) + '\r\n1,"a' + "\r\n").encode(), "not a CSV file"),
    ],
)
def test_an_unusable_file_is_refused_by_name_and_place(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "edited.csv"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=rf"edited\.csv.*{message}"):
        read_candidates(path)


def test_reading_leaves_the_csv_module_as_it_was(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    read_candidates(write_candidates(frame_of(HOSTILE), tmp_path / "candidates.csv"))
    assert csv.field_size_limit() == before


def test_a_missing_column_folder_or_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="lack the column margin"):
        candidates_csv(frame_of(["kite"]).drop(columns="margin"))
    with pytest.raises(StoreError, match=r"cannot write .*absent/c\.csv: No such file"):
        write_candidates(frame_of(["kite"]), tmp_path / "absent" / "c.csv")
    with pytest.raises(StoreError, match=r"cannot read .*c\.csv: No such file"):
        read_candidates(tmp_path / "c.csv")


def write_without_room(path: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    with pytest.raises(StoreError, match=r"cannot write .*candidates\.csv"):
        write_candidates(frame_of(["kite"] * 1000), path)


def write_forever(path: Path) -> None:
    for row in range(10**6):
        write_candidates(frame_of([f"kite {row}"] * 2000), path)


def test_a_write_that_runs_out_of_room_leaves_the_earlier_file_and_nothing_else(tmp_path: Path) -> None:
    path = write_candidates(frame_of(["kite"]), tmp_path / "candidates.csv")
    before = path.read_bytes()
    child = multiprocessing.get_context("spawn").Process(target=write_without_room, args=(path,))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_and_a_kill_never_meet_half_a_file(tmp_path: Path) -> None:
    path = write_candidates(frame_of(["kite"] * 2000), tmp_path / "candidates.csv")
    child = multiprocessing.get_context("spawn").Process(target=write_forever, args=(path,))
    child.start()
    labels: set[str] = set()
    while len(labels) < 6:
        frame = read_candidates(path)
        assert len(frame) == 2000 and frame["note"].nunique() == 1
        labels.add(frame["note"][0])
    child.kill()
    child.join()
    assert len(read_candidates(path)) == 2000


def test_a_relabel_to_another_class_than_the_suggested_one_names_it(tmp_path: Path) -> None:
    store = sample_store(tmp_path)
    first, second = store.candidates.page("first", top=2).to_dict("records")
    store.decisions.append("first", first["path"], "relabel", new_label="heron", reviewer="Ada")
    suggested = second["suggested_label"]
    store.decisions.append("first", second["path"], "relabel", new_label=suggested, reviewer="Ada")
    back = read_candidates(write_candidates(store.candidates.page("first"), tmp_path / "candidates.csv"))
    assert list(back["decision"][:2]) == ["relabel:heron", "relabel"]


def read_back(content: bytes, form: str) -> pd.DataFrame:
    """What a program finds in a Parquet, JSON or JSONL file."""
    if form == "parquet":
        return pd.read_parquet(io.BytesIO(content))
    lines = content.decode().split("\n")[:-1]
    return pd.DataFrame([json.loads(line) for line in lines] if form == "jsonl" else json.loads(content))


@pytest.mark.parametrize("form", ["parquet", "json", "jsonl"])
def test_programs_get_every_column_and_every_number_exactly(form: str) -> None:
    frame = frame_of(HOSTILE).assign(rank=range(len(HOSTILE)), conflict=True, more="text")
    frame.loc[0, "margin"] = float("nan")
    frame = frame.replace([np.inf], 1e300)
    back = read_back(encode("candidates", frame, form), form)
    pd.testing.assert_frame_equal(back, frame, check_exact=True, check_dtype=False)


def test_an_infinite_number_is_null_in_json() -> None:
    frame = frame_of(["kite"]).assign(margin=float("-inf"))
    assert json.loads(encode("candidates", frame, "json"))[0]["margin"] is None


def reviewed(tmp_path: Path) -> Store:
    """Images on disk, one label that a spreadsheet would run, and decisions of every kind."""
    root = tmp_path / "photos"
    labels = ["kite", "=1+1", " 007"]
    paths = [f"{'sub, folder' if row % 2 else '-x'}/{row:02d}.jpg" for row in range(9)]
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())
    store = Store(tmp_path)
    store.audits.merge(
        audit_row(root=str(root)), tables(paths, suspects=5, given=[labels[row % 3] for row in range(9)])
    )
    store.decisions.append("first", paths[0], "relabel", new_label="'heron\n", reviewer="=ann", note="+1")
    store.decisions.append("first", paths[1], "remove", reviewer="=ann", note="'twice'")
    store.decisions.append("first", paths[2], "keep", reviewer="bob")
    store.decisions.append("first", paths[3], "unsure", reviewer="bob")
    store.decisions.append("first", paths[8], "remove", reviewer="bob", note="not a suspect")
    store.decisions.append("first", paths[4], "relabel", new_label="kite", reviewer="bob")
    store.decisions.undo("first", paths[4], reviewer="bob")
    return store


def corrected_labels(store: Store) -> dict[str, str]:
    rows = store.candidates.page("first", everything=True).to_dict("records")
    labels = {row["path"]: row["new_label"] or row["given_label"] for row in rows if row["decision"] != "remove"}
    assert len(labels) == 7 and "'heron\n" in labels.values()
    return labels


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("place", ["photos", "elsewhere", ".", "photos/-x"])
def test_the_corrected_manifest_is_a_dataset_wherever_it_is_written(tmp_path: Path, form: str, place: str) -> None:
    store = reviewed(tmp_path)
    (tmp_path / place).mkdir(exist_ok=True)
    target = tmp_path / place / f"corrected.{form}"
    write_output(target, encode("corrected", store.review.corrected("first", folder=target.parent), form))
    listing = list_dataset(target)
    assert not listing.failures
    found = {Path(listing.root, image.path).resolve(): image.label for image in listing.images}
    expected = {tmp_path / "photos" / path: label for path, label in corrected_labels(store).items()}
    assert found == expected


def test_corrected_paths_are_absolute_but_below_the_folder_they_are_meant_for(tmp_path: Path) -> None:
    store = reviewed(tmp_path)
    listed = sorted(corrected_labels(store))
    assert list(store.review.corrected("first", folder=tmp_path / "photos")["path"]) == listed
    assert list(store.review.corrected("first", folder=tmp_path / "photos", top=3)["path"]) == listed[:3]
    assert list(store.review.corrected("first")["path"]) == [str(tmp_path / "photos" / path) for path in listed]
    moved = Store(tmp_path, data_root="/moved/here")
    assert list(moved.review.corrected("first")["path"]) == [f"/moved/here/{path}" for path in listed]


def test_removals_name_who_and_why_whether_the_image_is_a_suspect_or_not(tmp_path: Path) -> None:
    store = reviewed(tmp_path)
    frame = store.review.removals("first")
    assert frame.drop(columns="decided_at").to_dict("records") == [
        {"path": "-x/08.jpg", "given_label": " 007", "reviewer": "bob", "note": "not a suspect"},
        {"path": "sub, folder/01.jpg", "given_label": "=1+1", "reviewer": "=ann", "note": "'twice'"},
    ]
    rows = list(csv.reader(io.StringIO(encode("removals", frame, "csv").decode(), newline="")))
    assert rows[0] == list(frame.columns)
    assert [[cell.removeprefix("'") for cell in row] for row in rows[1:]] == frame.to_numpy().tolist()
    assert rows[2][1:4] == ["'=1+1", "'=ann", "''twice'"]


def test_decisions_go_out_with_their_flags_as_words(tmp_path: Path) -> None:
    frame = reviewed(tmp_path).decisions.page()
    rows = list(csv.DictReader(io.StringIO(encode("decisions", frame, "csv").decode(), newline="")))
    assert len(rows) == len(frame) == 7
    assert [row["stands"] == "true" for row in rows] == list(frame["stands"])
    assert {row["conflict"] for row in rows} == {"false"}
    assert [row["decided_at"] for row in rows] == list(frame["decided_at"])
    pd.testing.assert_frame_equal(read_back(encode("decisions", frame, "parquet"), "parquet"), frame)


@pytest.mark.parametrize("table", list(TABLES))
def test_a_table_without_rows_is_a_whole_file_in_every_format(tmp_path: Path, table: str) -> None:
    store = Store(tmp_path)
    frames = {name: frame.iloc[:0] for name, frame in tables(PATHS, suspects=6).items()}
    store.audits.merge(audit_row(), frames)
    frame = {
        "candidates": store.candidates.page("first"),
        "decisions": store.decisions.page(),
        "corrected": store.review.corrected("first"),
        "spot-check": store.draws.checklist("first"),
        "removals": store.review.removals("first"),
        "failures": store.audits.failures("first"),
        "images": store.candidates.page("first", everything=True),
        "pairs": store.audits.class_pairs("first"),
        "neighbours": store.images.all_neighbours("first"),
    }[table]
    assert frame.empty
    assert encode(table, frame, "csv").decode() == ",".join(TABLES[table]) + "\r\n"
    assert json.loads(encode(table, frame, "json")) == [] and encode(table, frame, "jsonl") == b""
    assert list(read_back(encode(table, frame, "parquet"), "parquet").columns) == list(frame.columns)


@pytest.mark.parametrize(
    ("table", "form", "message"),
    [("pictures", "csv", "'pictures'.*candidates"), ("candidates", "xlsx", "'xlsx'.*csv, parquet, json, jsonl")],
)
def test_an_unknown_table_or_format_is_refused_with_what_would_work(table: str, form: str, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        encode(table, frame_of(["kite"]), form)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Standard output of ``gradattn export``, which must succeed."""
    assert main(["export", *arguments]) == 0
    return capsys.readouterr().out


def test_the_command_writes_what_the_functions_give(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = reviewed(tmp_path)
    out = ["--out", str(tmp_path)]
    assert run(capsys, *out) == run(capsys, "candidates", *out) == candidates_csv(store.candidates.page("first"))
    assert run(capsys, "removals", *out) == encode("removals", store.review.removals("first"), "csv").decode()
    assert run(capsys, "corrected", "--format", "jsonl", *out).count("\n") == 7
    standing = run(capsys, "decisions", "--standing", "--reviewer", "bob", "--json", *out)
    assert {row["path"] for row in json.loads(standing)} == set(
        store.decisions.page(standing=True, reviewer="bob")["path"]
    )
    target = tmp_path / "photos" / "corrected.parquet"
    run(capsys, "corrected", "-o", str(target), *out)
    assert pd.read_parquet(target).equals(store.review.corrected("first", folder=tmp_path / "photos"))
    run(capsys, "--order", "path", "--kind", "confusable", "-o", str(tmp_path / "few.json"), *out)
    assert [row["path"] for row in json.loads((tmp_path / "few.json").read_text())] == list(
        store.candidates.page("first", kind="confusable")["path"]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["corrected", "--given", "kite"],
            r"--given goes with gradattn export and \d others, not with \S+ export corrected",
        ),
        (["removals", "--top", "3"], r"--top goes with gradattn export and \d others, not with"),
        (["--standing"], "--standing goes with gradattn export decisions, not with gradattn export$"),
        (["decisions", "--min-suspicion", "0.5"], r"--min-suspicion goes with gradattn export and \d others, not with"),
        (
            ["--data-root", "photos"],
            r"--data-root goes with gradattn export corrected and \d others, not with",
        ),
        (
            ["decisions", "--decided", "yes"],
            r"--decided yes goes with gradattn export and \d others; \S+ export decisions takes",
        ),
        (
            ["decision"],
            "there is no gradattn export decision; choose one of candidates, decisions, corrected, removals",
        ),
        (["--decided", "undo"], "--decided undo goes with gradattn export decisions; gradattn export takes any, yes,"),
        (["--csv", "a.csv", "--format", "parquet"], "give -o FILE"),
        (["--json", "--format", "csv"], "contradict"),
        (["-o", "a.xlsx"], r"a\.xlsx does not end in \.csv, \.parquet, \.json, \.jsonl"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    sample_store(tmp_path)
    assert main(["export", *arguments, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error, re.MULTILINE) and error.startswith("gradattn: ") and error.count("\n") == 1


def test_a_file_for_excel_begins_with_its_mark_and_reads_back(tmp_path: Path) -> None:
    frame = sample_store(tmp_path).candidates.page("first")
    plain, marked = (encode("candidates", frame, "csv", excel=excel) for excel in (False, True))
    assert marked == b"\xef\xbb\xbf" + plain
    (tmp_path / "excel.csv").write_bytes(marked)
    (tmp_path / "plain.csv").write_bytes(plain)
    pd.testing.assert_frame_equal(read_candidates(tmp_path / "excel.csv"), read_candidates(tmp_path / "plain.csv"))


def test_tables_of_images_pairs_and_neighbours_have_every_row(tmp_path: Path) -> None:
    store = sample_store(tmp_path)
    store.decisions.append("first", PATHS[8], "remove", reviewer="ann")
    images, pairs, neighbours = (json_here("export", name, out=tmp_path) for name in ("images", "pairs", "neighbours"))
    assert sorted(row["path"] for row in images) == sorted(PATHS)
    assert {row["path"]: row["decision"] for row in images if row["decision"]} == {PATHS[8]: "remove"}
    assert len(pairs) == len(store.audits.class_pairs("first"))
    told = [(row["path"], row["position"], row["neighbour_path"], row["similarity"]) for row in neighbours]
    one = store.images.neighbours("first", PATHS[0])
    assert [row[1:] for row in told if row[0] == PATHS[0]] == list(
        zip(one["position"], one["path"], one["similarity"], strict=True)
    )
    assert told[0][0] == PATHS[0]
    for name in ("images", "pairs", "neighbours"):
        status, text = run_here("export", name, out=tmp_path)
        assert status == 0 and text.splitlines()[0] == ",".join(TABLES[name])


def test_columns_are_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = sample_store(tmp_path)
    store.decisions.append("first", PATHS[0], "relabel", new_label="albatross", reviewer="ann")
    status, text = run_here("export", "--columns", "kind,path, decision,likely_labels,is_suspect", out=tmp_path)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert status == 0 and list(rows[0]) == ["kind", "path", "decision", "likely_labels", "is_suspect"]
    frame = store.candidates.page("first")
    assert rows[0]["decision"] == "relabel:albatross" and [row["kind"] for row in rows] == frame["kind"].tolist()
    assert json.loads(rows[0]["likely_labels"]) == frame["likely_labels"][0] and rows[0]["is_suspect"] == "true"
    [first, *_] = json_here("export", "--columns", "suspicion,path", out=tmp_path)
    assert list(first) == ["suspicion", "path"] and first["suspicion"] == frame["suspicion"][0]
    for columns, sentence in (("pat", "Did you mean 'path'?"), ("path,path", "once"), ("", "there is no column")):
        assert main(["export", "--columns", columns, "--out", str(tmp_path)]) == 2
        assert sentence in capsys.readouterr().err


def test_a_list_of_a_version_without_kinds_is_read(tmp_path: Path) -> None:
    path = write_candidates(frame_of(["kite"]), tmp_path / "candidates.csv")
    header, row = path.read_text("utf-8").splitlines()
    path.write_text(f"{header.rpartition(',')[0]}\r\n{row.rpartition(',')[0]}\r\n", "utf-8")
    assert read_candidates(path)["kind"].tolist() == [""]
