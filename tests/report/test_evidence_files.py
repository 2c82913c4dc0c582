"""``gradattn export evidence``: each suspect's picture and figure, and a table that decisions can be written into."""

from __future__ import annotations

import csv
from pathlib import Path

from PIL import Image

from gradattn_core.verdict import in_words
from tests.helpers.command_line import json_here
from tests.helpers.pictured_audit import AUDIT_ID, MISSING, copied_store, path_of
from ui.api.suspect import suspects


def test_every_suspect_has_its_picture_its_figure_and_its_sentences(tmp_path: Path) -> None:
    store = copied_store(tmp_path)
    target = tmp_path / "evidence"
    answer = json_here("export", "evidence", "-o", target, "--top", "6", out=store.directory)
    assert answer["written"] == 6 and [each["path"] for each in answer["left_out"]] == [MISSING]
    with open(target / "index.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    frame = store.candidates.page(AUDIT_ID, top=6)
    page = suspects(store, AUDIT_ID, frame.to_dict("records"), "ann")  # type: ignore[arg-type]
    for row, one in zip(table, page, strict=True):
        assert (row["path"], row["headline"].removeprefix("'")) == (one.path, in_words(one.headline))
        assert row["reason"].removeprefix("'") == in_words(one.reason)
        if one.path == MISSING:
            assert row["picture"] == row["figure"] == ""
            continue
        original = store.images.file(AUDIT_ID, one.path)
        assert (target / row["picture"]).read_bytes() == original.read_bytes()
        assert (row["figure"] == "") == (one.map is None)
        if row["figure"]:
            assert Image.open(target / row["figure"]).width > 500
            assert row["numbers"] != ""
    assert {file.name for file in (target / "figures").iterdir()} == {
        Path(row["figure"]).name for row in table if row["figure"]
    }
    # What somebody writes into the table comes back.
    table[0]["decision"] = "keep"
    with open(target / "index.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    back = json_here("import", "decisions", target / "index.csv", "--reviewer", "ann", out=store.directory)
    assert back["stored"] == 1 and store.decisions.page(standing=True)["path"].tolist() == [path_of(0)]
