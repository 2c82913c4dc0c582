"""candidates.csv: safe in a spreadsheet, exact when read back, whole at every moment."""

from __future__ import annotations

import csv
import io
import multiprocessing
import random
import resource
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradattn_core.errors import StoreError
from gradattn_core.export import COLUMNS, candidates_csv, read_candidates, write_candidates
from tests.sample_audit import HOSTILE, PATHS, sample_store

TEXT = [name for name, kind in COLUMNS.items() if kind == "str"]
NUMBERS = [name for name, kind in COLUMNS.items() if kind == "float64"]


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
        "positive_mass, negative_mass, balance, top_region_box, decision, reviewer, note"
    )


def test_the_store_s_candidates_go_out_and_come_back(tmp_path: Path) -> None:
    store = sample_store(tmp_path)
    store.decide("first", PATHS[0], "unsure", reviewer="=ann", note="'maybe', she said")
    frame = store.candidates("first")
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
    first, second = store.candidates("first", top=2).to_dict("records")
    store.decide("first", first["path"], "relabel", new_label="heron", reviewer="Ada")
    suggested = second["suggested_label"]
    store.decide("first", second["path"], "relabel", new_label=suggested, reviewer="Ada")
    back = read_candidates(write_candidates(store.candidates("first"), tmp_path / "candidates.csv"))
    assert list(back["decision"][:2]) == ["relabel:heron", "relabel"]
