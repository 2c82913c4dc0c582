"""A table of ids whose pictures lie elsewhere, from the command line to the result: audited as published, and said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from gradattn_core.cli import main
from gradattn_core.store.store import Store
from tests.helpers.tiny import Tiny, model_options


def publish(tiny: Tiny, folder: Path) -> Path:
    """The dataset in one flat folder, and a table of ids, labels and what nobody asked for in another."""
    (folder / "pictures").mkdir(parents=True)
    lines = ["image_id,annotator,class"]
    for number, file in enumerate(sorted(tiny.dataset.rglob("*.png"))):
        shutil.copy(file, folder / "pictures" / f"{number:04d}.png")
        lines.append(f"{number},ann,{file.parent.name}")
    lines += ["gs://bucket/9001.png,ann,red", "9002,ann,", '"un"quoted,ann,red']
    (folder / "lists").mkdir()
    (folder / "lists" / "labels.csv").write_text("\n".join(lines))
    return folder / "lists" / "labels.csv"


def test_a_published_table_is_audited_as_it_is_and_what_was_done_is_in_the_warnings(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, out = publish(tiny, tmp_path), tmp_path / "out"
    command = [
        "audit",
        table,
        "--path-column",
        "image_id",
        "--label-column",
        "class",
        "--out",
        out,
        "--json",
        "--quiet",
    ]
    command += ["--device", "cpu", "--workers", "1", *model_options(tiny)]
    assert main([str(each) for each in command]) == 2
    refused = capsys.readouterr().err
    assert f"They seem to lie in '{tmp_path}/pictures': say --image-root with it." in refused
    assert main([*(str(each) for each in command), "--image-root", str(tmp_path / "pictures")]) == 0
    result = json.loads(capsys.readouterr().out)
    images = len(list(tiny.dataset.rglob("*.png")))
    assert (result["images"], result["failures"]) == (images, 3)
    assert any("'0' is '0000.png'" in warning for warning in result["warnings"])
    store = Store(out)
    reasons: dict[str, str] = dict(
        store.audits.failures(result["audit_id"])[["path", "reason"]].itertuples(index=False)
    )
    assert "gcsfs" in reasons["gs://bucket/9001.png"] and "no label" in reasons["9002"]
    assert any("cannot be read" in reason for path, reason in reasons.items() if path.startswith("labels.csv line"))
