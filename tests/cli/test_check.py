"""``gradattn check``: what an audit would see, on class folders, tables and splits; nothing is swept or written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gradattn_core.cli import main
from gradattn_core.config import AuditConfig
from tests.helpers.tiny import Tiny, make_tiny

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp("tiny"), per_class=4)


def picture(file: Path, seed: int) -> Path:
    """A small picture of its own, in the format of its ending; the same seed gives the same bytes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(file)
    return file


def checked(capsys: Capture, dataset: Path, *options: str, status: int = 0) -> dict[str, Any]:
    """What the command says as JSON."""
    assert main(["check", str(dataset), "--head", "probe", *options, "--json"]) == status
    return dict(json.loads(capsys.readouterr().out))


def two_classes(root: Path, first: int = 0) -> Path:
    for number in range(3):
        picture(root / "cat" / f"{number}.png", first + number)
        picture(root / "dog" / f"{number}.jpg", first + 100 + number)
    return root


def test_classes_formats_copies_and_what_would_be_passed_over_are_told(tmp_path: Path, capsys: Capture) -> None:
    root = two_classes(tmp_path / "set")
    picture(root / "cat" / "3.png", 0)
    picture(root / "dog" / "copy.png", 1)
    (root / "dog" / "empty.png").touch()
    (root / "dog" / "notes.txt").touch()
    (root / "dog" / "drawing.svg").touch()
    (root / "@eaDir").mkdir()
    before = sorted(tmp_path.rglob("*"))
    found = checked(capsys, root, "--out", str(tmp_path / "out"))
    assert sorted(tmp_path.rglob("*")) == before
    assert (found["images"], found["classes"], found["splits"]) == (9, {"dog": 5, "cat": 4}, [])
    assert found["formats"] == {".png": 6, ".jpg": 3}
    copies = found["copies"]
    assert (copies["groups"], copies["pictures"]) == (2, 4)
    assert (copies["under_several_labels"], copies["across_splits"]) == (1, 0)
    assert copies["examples"][0] == [str(root / "cat/1.png"), str(root / "dog/copy.png")]
    assert {(each["ending"], each["given_label"], each["stage"]) for each in found["not_judged"]} == {
        (".svg", "dog", "list"),
        (".txt", "dog", "skip"),
        ("", "", "skip"),
    }
    assert (found["tried"], [each["path"] for each in found["unreadable"]]) == (9, ["dog/empty.png"])
    assert (found["head"], found["refusal"]) == ("probe", None)
    assert any("@eaDir" in warning for warning in found["warnings"])


def test_splits_are_counted_and_copies_across_them_are_found_though_the_audit_would_ask(
    tmp_path: Path, capsys: Capture
) -> None:
    root = tmp_path / "set"
    two_classes(root / "train")
    two_classes(root / "val", 500)
    picture(root / "val" / "dog" / "leak.png", 2)
    picture(root / "test" / "1.png", 900)
    found = checked(capsys, root, status=2)
    assert "--split train" in found["refusal"] and found["head"] == ""
    assert [(each["name"], each["images"], each["classes"]) for each in found["splits"]] == [
        ("train", 6, 2),
        ("val", 7, 2),
    ]
    copies = found["copies"]
    assert (copies["groups"], copies["across_splits"], copies["under_several_labels"]) == (1, 1, 1)
    assert copies["examples"] == [[str(root / "train/cat/2.png"), str(root / "val/dog/leak.png")]]
    chosen = checked(capsys, root, "--split", "val")
    assert (chosen["images"], chosen["splits"], chosen["copies"]) == (7, found["splits"], copies)


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_a_table_has_splits_by_its_column(tmp_path: Path, capsys: Capture, ending: str) -> None:
    two_classes(tmp_path)
    picture(tmp_path / "cat" / "9.png", 0)
    rows = [
        (f"{label}/{n}.{kind}", label, "train" if n else "test")
        for label, kind in (("cat", "png"), ("dog", "jpg"))
        for n in range(3)
    ]
    rows.append(("cat/9.png", "cat", "train"))
    if ending == ".csv":
        lines = ["path,label,split", *(",".join(row) for row in rows)]
    else:
        lines = [json.dumps(dict(zip(("path", "label", "split"), row, strict=True))) for row in rows]
    (tmp_path / f"m{ending}").write_text("\n".join(lines))
    found = checked(capsys, tmp_path / f"m{ending}")
    assert [(each["name"], each["images"]) for each in found["splits"]] == [("test", 2), ("train", 5)]
    assert found["copies"]["across_splits"] == 1 and found["images"] == 7


def test_spellings_and_labels_that_are_no_class_are_told(tmp_path: Path, capsys: Capture) -> None:
    for number, label in enumerate(("cat", "Cat", "cat", "dog", "Not sure")):
        picture(tmp_path / label / f"{number}.png", number)
    found = checked(capsys, tmp_path)
    assert found["spellings"] == [{"labels": ["cat", "Cat"], "pictures": [2, 1]}]
    assert found["no_class"] == ["Not sure"]
    merged = checked(capsys, tmp_path, "--merge-spellings", "--exclude-label", "Not sure")
    assert (merged["classes"], merged["spellings"], merged["no_class"]) == ({"cat": 3, "dog": 1}, [], [])
    assert [each["reason"] for each in merged["not_judged"]] == ["its label was left out"]


def test_the_head_is_the_one_that_the_audit_takes(tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    named = ["--model", "vit_tiny_patch16_224"]
    for label in ("tench", "goldfish"):
        shutil.copytree(tiny.dataset / "red", tmp_path / "fish" / label)
    assert main(["check", str(tmp_path / "fish"), *named, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["head"] == "as-is"
    assert main(["check", str(tiny.dataset), *named, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["head"] == "probe"
    assert main(["check", str(tiny.dataset), *named, "--head", "as-is", "--json"]) == 2
    assert "match none" in json.loads(capsys.readouterr().out)["refusal"]
    assert main(["check", str(tiny.dataset), "--model", "vit_tinny", "--json"]) == 2
    assert "vit_tinny" in json.loads(capsys.readouterr().out)["refusal"]
    own = ["--checkpoint", str(tiny.checkpoint), "--model-arguments", json.dumps(tiny.parameters()["model_arguments"])]
    assert main(["check", str(tiny.dataset), *named, *own, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["head"] == "probe" and AuditConfig(str(tiny.dataset)).model != found["model"]


def test_the_text_names_what_json_counts_and_obeys_no_label(tmp_path: Path, capsys: Capture) -> None:
    root = two_classes(tmp_path / "set")
    picture(root / "\x1b[31mred" / "1.png", 0)
    assert main(["check", str(root), "--head", "probe"]) == 0
    said = capsys.readouterr().out
    assert "7 images of 3 classes" in said and "\x1b[31m" not in said
    assert "2 pictures are 1 contents; 1 of these under several labels" in said
    assert "0 of 7 pictures cannot be read" in said and "(probe)" in said
    for quiet in ([], ["--quiet"]):
        assert main(["check", str(tmp_path / "none"), *quiet]) == 2
        captured = capsys.readouterr()
        assert "does not exist" in captured.err and "does not exist" not in captured.out
