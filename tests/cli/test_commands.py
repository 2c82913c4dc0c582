"""Every command as a process: what it writes, what it says, and its exit code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradattn_core.csv_tables import read_candidates
from gradattn_core.store.store import Store
from tests.helpers.command_line import gradattn, processor_seconds
from tests.helpers.tiny import TINY_VIT, Tiny, make_tiny, model_options


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def audited(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audited")
    result = gradattn("audit", tiny.dataset, *model_options(tiny), "--head", "probe", cwd=folder)
    assert result.returncode == 0, result.stderr
    assert "72 images" in result.stdout and "worst class pairs" in result.stdout
    assert "gradattn ui --out gradattn-out" in result.stdout
    assert "sweep: 72 of 72" in result.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["gradattn-out"]
    return folder


def test_help_answers_at_once_and_shows_examples(tmp_path: Path) -> None:
    gradattn("--help", cwd=tmp_path)
    begun = processor_seconds()
    result = gradattn("--help", cwd=tmp_path)
    # Far less than importing torch takes. Of the processor, as on a busy machine others have it meanwhile.
    assert processor_seconds() - begun < 1.0
    assert result.returncode == 0 and "gradattn audit photos/" in result.stdout
    for command in ("audit", "export", "explain", "ui", "demo"):
        shown = gradattn(command, "--help", cwd=tmp_path)
        assert shown.returncode == 0 and f"  gradattn {command}" in shown.stdout


def test_audit_as_json_is_one_object_and_quiet_says_nothing(tiny: Tiny, audited: Path) -> None:
    command = ("audit", tiny.dataset, *model_options(tiny), "--head", "probe")
    result = gradattn(*command, "--json", cwd=audited)
    facts = json.loads(result.stdout)
    assert facts["images"] == 72 and facts["class_pairs"] and Path(facts["candidates"]).is_file()
    assert result.stderr == ""
    silent = gradattn(*command, "--quiet", cwd=audited)
    assert (silent.returncode, silent.stdout, silent.stderr) == (0, "", "")


def test_export_chooses_rows(audited: Path, tiny: Tiny) -> None:
    everything = gradattn("export", "--min-suspicion", "0", "--csv", "all.csv", cwd=audited)
    assert everything.returncode == 0 and "72 rows in all.csv" in everything.stderr
    assert len(read_candidates(audited / "all.csv")) == 72
    top = gradattn("export", "--top", "3", "--csv", "top.csv", cwd=audited)
    assert top.returncode == 0 and list(read_candidates(audited / "top.csv")["rank"]) == [1, 2, 3]
    red = gradattn("export", "--given", "red", "--suggested", "green", "--json", cwd=audited)
    assert {row["given_label"] for row in json.loads(red.stdout)} <= {"red"}
    piped = gradattn("export", cwd=audited)
    assert piped.stdout.startswith("rank,path,given_label") and len(piped.stdout.splitlines()) >= 1 + len(tiny.wrong)
    undecided = gradattn("export", "--decided", "yes", cwd=audited)
    assert len(undecided.stdout.splitlines()) == 1


def test_export_ends_quietly_when_its_reader_has_seen_enough(audited: Path) -> None:
    command = f"{sys.executable} -m gradattn_core export --min-suspicion 0 | head -1"
    result = subprocess.run(command, shell=True, cwd=audited, capture_output=True, text=True, check=False)
    assert result.stdout.startswith("rank,path") and result.stderr == ""


def test_decisions_are_exported_whether_or_not_their_image_is_a_suspect(audited: Path, tmp_path: Path) -> None:
    out = shutil.copytree(audited / "gradattn-out", tmp_path / "gradattn-out")
    store = Store(out)
    trusted = store.candidates.page(store.audits.latest_id(), everything=True).iloc[-1]["path"]
    store.decisions.append(store.audits.latest_id(), trusted, "relabel", new_label="violet", reviewer="Ada")
    exported = gradattn("export", "--decided", "relabel", "--json", cwd=tmp_path)
    assert [(row["path"], row["new_label"]) for row in json.loads(exported.stdout)] == [(trusted, "violet")]
    gradattn("export", "--decided", "relabel", "--csv", "corrections.csv", cwd=tmp_path)
    assert list(read_candidates(tmp_path / "corrections.csv")["decision"]) == ["relabel:violet"]


def test_labels_cannot_command_the_terminal(tiny: Tiny, tmp_path: Path) -> None:
    for name, label in {"red": "\x1b[2Jred", "green": "[bold]green", "blue": "blue"}.items():
        shutil.copytree(tiny.dataset / name, tmp_path / "data" / label)
    result = gradattn("audit", "data", *model_options(tiny), "--head", "probe", cwd=tmp_path)
    assert result.returncode == 0 and "\x1b" not in result.stdout
    assert "[bold]green" in result.stdout and "[2Jred" in result.stdout


def test_an_input_size_of_ones_own_is_used_for_the_pictures_too(tiny: Tiny, tmp_path: Path) -> None:
    arguments = json.dumps({**TINY_VIT, "pretrained_cfg_overlay": {"input_size": [3, 224, 224]}})
    picture = sorted(tiny.dataset.rglob("*.png"))[0]
    options: list[str | Path] = ["--checkpoint", tiny.checkpoint, "--model-arguments", arguments]
    result = gradattn(
        "explain", picture, "--model", "vit_tiny_patch16_224", *options, "--for", "0", "-o", "map.npz", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert np.load(tmp_path / "map.npz")["scores"].shape == (8, 8)


def test_a_manifest_names_its_columns_and_its_split(tiny: Tiny, tmp_path: Path) -> None:
    rows = ["file,class,part"]
    for path in sorted(tiny.dataset.rglob("*.png")):
        part = "test" if path.name.endswith("23.png") else "train"
        rows.append(f"{path.relative_to(tiny.dataset).as_posix()},{path.parent.name},{part}")
    manifest = tiny.dataset / "labels.csv"
    manifest.write_text("\n".join(rows))
    columns = ["--path-column", "file", "--label-column", "class", "--split-column", "part", "--split", "train"]
    result = gradattn("audit", manifest, *model_options(tiny), *columns, "--json", cwd=tmp_path)
    manifest.unlink()
    assert json.loads(result.stdout)["images"] == 69, result.stderr
    candidates = read_candidates(tmp_path / "gradattn-out" / "candidates.csv")
    assert set(candidates.head(len(tiny.wrong))["path"]) == tiny.wrong


def test_explain_writes_a_picture_or_numbers(tiny: Tiny, tmp_path: Path) -> None:
    picture = sorted(tiny.dataset.rglob("*.png"))[0]
    command = ("explain", picture, *model_options(tiny), "--for", "0", "--against", "2")
    drawn = gradattn(*command, "-o", "map.png", cwd=tmp_path)
    assert drawn.returncode == 0 and "wrote map.png" in drawn.stdout
    assert min(Image.open(tmp_path / "map.png").size) > 100
    numbers = gradattn(*command, "-o", "map.npz", "--json", cwd=tmp_path)
    assert json.loads(numbers.stdout)["output"] == "map.npz"
    stored = np.load(tmp_path / "map.npz")
    assert stored["scores"].shape == (8, 8) and stored["logits"].shape == (3,)
    assert json.loads(str(stored["provenance"]))["correction"] == "secant"
    default = gradattn("explain", picture, *model_options(tiny), "--for", "1", "--quiet", cwd=tmp_path)
    assert default.returncode == 0 and (tmp_path / f"{picture.stem}-explained.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("audit", "nowhere"), "nowhere"),
        (("audit", "{empty}"), "{empty}"),
        (("audit", "{one}"), "one class"),
        (("audit", "{dataset}", "--model", "vit_tinny_patch16_224"), "did you mean"),
        (
            ("audit", "{dataset}", "--model", "swin_tiny_patch4_window7_224", "--from-scratch", "--head", "finetune"),
            "window",
        ),
        (("audit", "{dataset}", "--checkpoint", "{broken}"), "plain tensors"),
        (("audit", "{dataset}", "--checkpoint", "{tiny}"), "does not fit"),
        (("audit", "{manifest}"), "label"),
        (("audit", "{dataset}", "--folds", "1"), "folds 1"),
        (("audit", "{dataset}", "--out", "{broken}"), "output folder"),
        (("export",), "run gradattn audit first"),
        (("export", "--out", "{empty}"), "gradattn audit"),
        (("ui",), "run gradattn audit first"),
        (("explain", "nowhere.png", "--for", "1"), "nowhere.png"),
        (("explain", "{broken}", "--for", "1"), "broken"),
        (("explain", "{picture}", "--for", "1", "-o", "map.gif"), "map.gif"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    tiny: Tiny, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    places = {
        "{dataset}": tiny.dataset,
        "{tiny}": tiny.checkpoint,
        "{picture}": sorted(tiny.dataset.rglob("*.png"))[0],
        "{empty}": tmp_path / "empty",
        "{one}": tmp_path / "one",
        "{broken}": tmp_path / "broken.safetensors",
        "{manifest}": tmp_path / "manifest.csv",
    }
    places["{empty}"].mkdir()
    (places["{one}"] / "red").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(places["{one}"] / "red" / "a.png")
    places["{broken}"].write_text("neither tensors nor a picture")
    places["{manifest}"].write_text("path,klass\na.png,x\n")
    result = gradattn(*(places.get(argument, argument) for argument in arguments), cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("gradattn: ") and result.stderr.count("\n") == 1
    assert str(places.get(words, words)) in result.stderr
    assert "Traceback" not in result.stderr and result.stdout == ""


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal of its own is a matter of POSIX")
def test_on_a_terminal_what_is_refused_leaves_no_bar_above_the_sentence(tmp_path: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "gradattn_core", "audit", "nowhere"]
    with subprocess.Popen(command, cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # Linux's way of saying that the terminal has no more to show
            while part := os.read(ours, 4096):
                shown += part
    os.close(ours)
    # "\x1b[2K" clears a line; what stands after the last one is what the user is left with.
    left = shown.decode().rsplit("\x1b[2K", 1)[-1].removeprefix("\x1b[?25h")
    assert process.returncode == 2 and b"plan" in shown
    assert left == "gradattn: 'nowhere' does not exist.\r\n"


def test_a_mistyped_option_is_told_in_one_line(tmp_path: Path) -> None:
    result = gradattn("audit", "data", "--modle", "x", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr == "gradattn audit: unrecognized arguments: --modle x (see gradattn audit --help)\n"


def test_an_output_folder_of_another_schema_is_left_alone(audited: Path, tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "gradattn-out").mkdir()
    database = tmp_path / "gradattn-out" / "gradattn.duckdb"
    database.write_bytes(b"not a database at all" * 1000)
    result = gradattn("audit", tiny.dataset, *model_options(tiny), cwd=tmp_path)
    assert result.returncode == 2 and "gradattn.duckdb" in result.stderr and "Traceback" not in result.stderr
    assert database.read_bytes() == b"not a database at all" * 1000


def test_the_demo_finds_the_planted_errors_and_draws_them(tmp_path: Path) -> None:
    result = gradattn("demo", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    facts = json.loads(result.stdout)
    assert facts["planted"] == 90 and facts["average_precision"] >= 0.85
    picture = Image.open(tmp_path / facts["picture"])
    assert picture.width > 800 and len(picture.convert("RGB").getcolors(1 << 24) or []) > 1000
    again = gradattn("demo", cwd=tmp_path)
    assert again.returncode == 0 and "90 labels were made wrong on purpose" in again.stdout
    assert "gradattn ui --out demo" in again.stdout
