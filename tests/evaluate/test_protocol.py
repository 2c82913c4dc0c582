"""The protocol of bench/faithfulness.py as a command, and that what is published names every method."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench import creatures
from gradattn_core.peers.registry import PEERS
from tests.helpers.tiny import TINY_VIT, make_tiny

ROOT = Path(__file__).resolve().parents[2]


def test_the_published_table_names_every_method() -> None:
    text = (ROOT / "docs/faithfulness.md").read_text("utf-8")
    _, _, section = text.partition("## The methods")
    rows = dict(re.findall(r"^\| `([\w-]+)` \| ([\d,]+) \|", section, flags=re.MULTILINE))
    assert rows == {name: f"{peer.passes:,}" for name, peer in PEERS.items()}


def test_creatures_differ_from_their_siblings_in_the_key_part_alone() -> None:
    drawn = creatures.draw(60, seed=4)
    assert sorted(set(drawn.labels.tolist())) == list(range(creatures.CLASSES))
    assert drawn.images.shape == (60, 3, 56, 56) and drawn.images.abs().max() <= 1
    assert not (drawn.key & drawn.distractors).any()
    assert 0.03 < drawn.key.mean() < 0.2 and drawn.key.any((1, 2)).all()
    noisy = creatures.filed(drawn.labels, noisy=True, seed=0)
    assert set(drawn.labels[noisy != drawn.labels].tolist()) == {0}
    assert (creatures.draw(60, seed=4).images == drawn.images).all()


@pytest.mark.slow
def test_a_run_asks_every_part_and_a_second_one_computes_nothing_anew(tmp_path: Path) -> None:
    tiny = make_tiny(tmp_path, per_class=16)
    command = [
        *(sys.executable, "-m", "bench.faithfulness", str(tiny.dataset), "--work", str(tmp_path / "work")),
        *("--model", "vit_tiny_patch16_224", "--checkpoint", str(tiny.checkpoint)),
        *("--model-arguments", json.dumps(TINY_VIT), "--threads", "1", "--sections", "abce"),
        *("--methods", "secant,complete,attention,random", "--pictures", "3", "--pairs", "80"),
        *("--curves", "3", "--composites", "4", "--few", "2"),
    ]
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    place = tmp_path / "work" / "vit_tiny_patch16_224-report"
    made = {file: file.stat().st_mtime_ns for file in place.rglob("*.npz")}
    with (place / "faithfulness.csv").open() as file:
        rows = list(csv.DictReader(file))
    parts = {row["part"] for row in rows}
    assert {"Photographs", "Pictures of two classes", "Sanity"} < parts and len(parts) == 5
    [gap] = [float(row["value"]) for row in rows if (row["method"], row["number"]) == ("secant", "greatest gap")]
    assert gap < 1e-3, "a secant map adds up"
    [agrees] = [float(row["value"]) for row in rows if (row["method"], row["number"]) == ("secant", "majority agrees")]
    assert agrees == 1
    assert "| `random` |" in first and (place / "faithfulness.png").stat().st_size > 10_000
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    assert {file: file.stat().st_mtime_ns for file in place.rglob("*.npz")} == made
