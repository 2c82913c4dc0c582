"""From probabilities and paths to a reviewed CSV, as people type it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.command_line import gradattn, run_here
from tests.helpers.tiny import COLOURS, make_tiny

NAMES = sorted(COLOURS)


def write_predictions(folder: Path) -> set[str]:
    """photos/, pred_probs.npy and paths.txt; which paths are filed wrongly."""
    tiny = make_tiny(folder, per_class=10, wrong_per_class=1)
    tiny.dataset.rename(folder / "photos")
    paths = [file.relative_to(folder).as_posix() for file in (folder / "photos").rglob("*.png")]
    table = np.full((len(paths), 3), 0.05)
    for row, path in enumerate(paths):
        table[row, NAMES.index(path.split("/")[2].split("-")[0])] = 0.9
    np.save(folder / "pred_probs.npy", table)
    (folder / "paths.txt").write_text("\n".join(paths))
    return {path.removeprefix("photos/") for path in tiny.wrong}


def test_whoever_has_probabilities_and_paths_gets_a_reviewed_csv_in_three_commands(tmp_path: Path) -> None:
    wrong = write_predictions(tmp_path)
    own = ["--probabilities", "pred_probs.npy", "--paths", "paths.txt"]
    audited = gradattn("audit", "photos", *own, cwd=tmp_path)
    assert audited.returncode == 0, audited.stderr
    assert "3 suspects" in audited.stdout and "No maps" in audited.stdout
    table = tmp_path / "gradattn-out" / "candidates.csv"
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["path"] for row in rows} == wrong
    for row in rows:  # as somebody does in a spreadsheet
        row["decision"] = "accept"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    taken = gradattn("import", "decisions", "gradattn-out/candidates.csv", "--reviewer", "ann", cwd=tmp_path)
    assert taken.returncode == 0, taken.stderr
    exported = gradattn("export", "corrected", "--csv", "corrected.csv", cwd=tmp_path)
    assert exported.returncode == 0, exported.stderr
    with (tmp_path / "corrected.csv").open(newline="") as file:
        corrected = {row["path"]: row["label"] for row in csv.DictReader(file)}
    assert len(corrected) == 30
    assert all(path.split("/")[-1].split("-")[0] == label for path, label in corrected.items())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--probabilities", "nowhere.npy"], "'nowhere.npy' is not there"),
        (["--probabilities", "."], "'.' is a folder, not a file"),
        (["--paths", "paths.txt"], "says nothing without features"),
        (["--probabilities", "p.npy", "--logits", "p.npy"], "give one of them"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    tmp_path: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_tiny(tmp_path, per_class=3, wrong_per_class=0)
    status, _ = run_here("audit", tmp_path / "dataset", *options, out=tmp_path / "out")
    said = capsys.readouterr().err.strip()
    assert status == 2 and words in said and "\n" not in said
