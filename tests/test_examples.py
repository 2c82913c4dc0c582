"""The notebooks of ``examples/``: their outputs are those of a run, and they run from beginning to end anywhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "examples"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def read(file: Path) -> Any:
    notebook = nbformat.read(file, 4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    return notebook


def texts(cell: Any) -> list[str]:
    """What a person sees of a cell, but for pictures."""
    # Bars leave an empty place behind.
    outputs = [each for each in cell.get("outputs", []) if each.output_type != "display_data"]
    return [str(each.get("text") or each.get("data", {}).get("text/plain", "")) for each in outputs]


def numbers_left_out(cell: Any) -> list[str]:
    """Its outputs without what another day, machine or order of sums may change."""
    firsts = [text.splitlines()[0] for text in texts(cell) if text]
    return [re.sub(r"\d+", "#", re.sub(r"\d{8}T\d{6}-[0-9a-f]+", "ID", first)) for first in firsts]


def test_there_are_three() -> None:
    assert [file.stem for file in NOTEBOOKS] == ["1-first-audit", "2-cleanlab-probabilities", "3-every-week"]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_the_outputs_are_of_one_run_and_of_no_machine(file: Path) -> None:
    code = [cell for cell in read(file).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(each.output_type != "error" and each.get("name") != "stderr" for cell in code for each in cell.outputs)
    said = "\n".join(text for cell in code for text in texts(cell))
    assert "wrong labels believed" in said and not re.search(r"(?<![\w.])/(?:tmp|home|root|work|Users)\b", said)


@pytest.mark.slow
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_runs_and_says_what_it_says(file: Path, tmp_path: Path) -> None:
    before, after = read(file), read(file)
    NotebookClient(after, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for was, now in zip(before.cells, after.cells, strict=True):
        assert numbers_left_out(was) == numbers_left_out(now), was.source
        assert sum("image/" in str(each) for each in was.get("outputs", [])) == sum(
            "image/" in str(each) for each in now.get("outputs", [])
        )
