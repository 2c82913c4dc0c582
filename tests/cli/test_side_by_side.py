"""``gradattn explain --method`` and ``--list-methods``: what is drawn and written, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from gradattn_core.cli import main
from gradattn_core.peers.registry import PEERS, peer_maps
from tests.helpers.tiny import TINY_VIT, write_tiny_vit

NAMES = ("centred", "gae", "rollout")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A square picture of the model's own size, and the model's weights."""
    folder = tmp_path_factory.mktemp("methods")
    pixels = np.random.default_rng(7).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    write_tiny_vit(folder / "tiny.safetensors")
    return folder


def words(folder: Path, *arguments: str) -> list[str]:
    model = ["--model", "vit_tiny_patch16_224", "--checkpoint", str(folder / "tiny.safetensors"), "--device", "cpu"]
    return ["explain", *arguments, *model, "--model-arguments", json.dumps(TINY_VIT)]


def model_and_pixels(folder: Path) -> tuple[nn.Module, torch.Tensor]:
    model = timm.create_model("vit_tiny_patch16_224", **TINY_VIT).eval()
    model.load_state_dict(load_file(folder / "tiny.safetensors"))
    picture = torch.from_numpy(np.array(Image.open(folder / "a.png")))
    return model, picture.permute(2, 0, 1)[None].float() / 255 * 2 - 1


def test_methods_are_drawn_side_by_side_as_a_process(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gradattn_core", *words(folder, str(folder / "a.png"))]
    done = subprocess.run(
        [*command, "--method", ",".join(NAMES), "-o", "m.png"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("red   class ") and lines[1].startswith("blue  class ")
    assert [line.partition(":")[0] for line in lines[2:]] == [*NAMES, "wrote m.png"]
    assert "the same map for every class" in lines[4] and "difference of two maps" in lines[3]
    assert Image.open(tmp_path / "m.png").width > 4 * 200


def test_the_numbers_are_those_of_the_registry(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = ("--for", "2", "--against", "0", "--method", " gae ,centred,gae", "-o", str(tmp_path / "m.npz"), "--json")
    assert main(words(folder, str(folder / "a.png"), *pair)) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [method["name"] for method in facts["methods"]] == ["gae", "centred"]
    assert facts["for"] == "class 2" and facts["against"] == "class 0" and facts["refused"] == {}
    model, pixels = model_and_pixels(folder)
    with np.load(tmp_path / "m.npz") as stored:
        assert stored["methods"].tolist() == ["gae", "centred"]
        for name, scores in zip(stored["methods"].tolist(), stored["scores"], strict=True):
            np.testing.assert_allclose(scores, peer_maps(name, model, pixels, 2, 0)[0], rtol=1e-4, atol=1e-7)
        assert json.loads(str(stored["provenance"]))["classes"] == [2, 0]
    alone = ("--objective", "logit", "--for", "2", "--method", "gae", "-o", str(tmp_path / "l.npz"), "--json")
    assert main(words(folder, str(folder / "a.png"), *alone)) == 0
    assert json.loads(capsys.readouterr().out)["against_probability"] is None
    with np.load(tmp_path / "l.npz") as stored:
        np.testing.assert_allclose(stored["scores"], peer_maps("gae", model, pixels, 2), rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_every_cheap_method_has_a_map_or_a_reason(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (str(folder / "a.png"), "--method", "all-cheap", "--json", "-o", str(tmp_path / "all.png"))
    assert main(words(folder, *arguments)) == 0
    facts = json.loads(capsys.readouterr().out)
    drawn = [method["name"] for method in facts["methods"]]
    assert sorted([*drawn, *facts["refused"]]) == sorted(name for name, peer in PEERS.items() if peer.passes <= 3)
    assert {"complete", "rollout", "gae"} <= set(drawn)
    assert all(reason for reason in facts["refused"].values())


def test_the_methods_are_listed_without_a_picture(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["explain", "--list-methods", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["methods"]
    assert [method["name"] for method in listed] == list(PEERS)
    for method in listed:
        assert method["title"] and method["source"] and method["passes"] >= 0
        assert {type(method[name]) for name in ("signed", "class_specific", "adds_up")} == {bool}
    assert main(["explain", "--list-methods"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert {"method", "passes", "signed", "detail"} <= set(head.split())
    for line, peer in zip(lines, PEERS.values(), strict=False):
        assert line.startswith(f"{peer.name} ") and line.rstrip().endswith(f" {peer.title}")
    assert [line for line in lines[len(PEERS) :] if line] == [lines[-1]] and "--json" in lines[-1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--method", "rolout"], "--method rolout: unknown; nearest are rollout"),
        (["--method", "gae,§§"], "--method §§: unknown; gradattn explain --list-methods prints all"),
        (["--method", " , "], "--method: give the name of a method"),
        (["--method", "gae", "--objective", "ratio"], "--objective ratio goes with our own maps"),
        (["--method", "gae", "--correction", "centred"], "--correction centred: --method says how the maps are made"),
        (["--method", "gae", "--for", "1", "--against", "1"], "against"),
        (["--method", "gae", "-o", "m.gif"], "end the name in .png"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(
    folder: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output = [] if "-o" in arguments else ["-o", str(tmp_path / "m.png")]
    assert main(words(folder, str(folder / "a.png"), *arguments, *output)) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and sentence in said.err
    assert not list(tmp_path.iterdir())
