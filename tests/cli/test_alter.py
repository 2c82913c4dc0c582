"""``gradattn explain transfer`` and ``rewrite``: what they write, what they say, and what they refuse."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageColor

from gradattn_core.cli import main, terminal
from gradattn_core.config import ModelSpec
from gradattn_core.dataset.decoding import read_image
from gradattn_core.interpret.transfer import transfer
from gradattn_core.methods import Descent
from gradattn_core.model.backbone import load_model
from gradattn_core.model.preprocessing import Preprocessing
from gradattn_core.render.layout import INKS
from tests.helpers.tiny import TINY_VIT, write_tiny_vit

Explain = Callable[..., int]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wide picture and the weights of a tiny model of three classes."""
    folder = tmp_path_factory.mktemp("alter")
    pixels = np.random.default_rng(2).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "picture.png")
    write_tiny_vit(folder / "tiny.safetensors")
    return folder


@pytest.fixture
def explain(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Explain:
    """Runs the command in an empty folder and returns its exit status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)

    def run(form: str, *options: str) -> int:
        arguments = ["--model", "vit_tiny_patch16_224", "--checkpoint", str(folder / "tiny.safetensors")]
        arguments += ["--model-arguments", json.dumps(TINY_VIT), "--device", "cpu"]
        return main(["explain", form, str(folder / "picture.png"), *arguments, *options])

    return run


def test_transfer_draws_a_film_and_tells_its_course(
    explain: Explain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain("transfer", "--for", "1", "--steps", "4", "--rate", "0.05", "--json") == 0
    out, err = capsys.readouterr()
    facts = json.loads(out)
    assert facts["for"] == "class 1" and facts["against"] is None
    assert (facts["steps"], facts["rate"], facts["grad_mode"], facts["optimiser"]) == (4, 0.05, "full", "sgd")
    assert [row["step"] for row in facts["snapshots"]] == [0, 1, 2, 3, 4]
    assert facts["snapshots"][-1]["logit"] < facts["snapshots"][0]["logit"]
    assert facts["output"] == "picture-transfer.png"
    with Image.open(tmp_path / "picture-transfer.png") as figure:
        assert figure.width > 700 and figure.height > 500
    assert err == "", "what takes less than two seconds shows no progress"


@pytest.mark.parametrize("form", ["transfer", "rewrite"])
def test_a_figure_is_drawn_on_dark_paper_and_without_sign_where_asked(
    form: str, explain: Explain, tmp_path: Path
) -> None:
    options = ("--for", "1", "--steps", "4", "--correction", "absolute", "--paper", "dark", "--quiet", "-o", "f.png")
    assert explain(form, *options, *(("--rate", "0.5") if form == "transfer" else ())) == 0
    with Image.open(tmp_path / "f.png") as figure:
        assert figure.getpixel((0, 0)) == ImageColor.getrgb(INKS["dark"].paper)


def test_transfer_writes_the_numbers_that_the_library_gives(explain: Explain, folder: Path, tmp_path: Path) -> None:
    options = ("transfer", "--for", "2", "--against", "0", "--steps", "3", "--rate", "0.02", "--optimiser", "adam")
    assert explain(*options, "--renormalise", "--grad-mode", "frozen", "--quiet", "-o", "course.npz") == 0
    model = load_model(ModelSpec("vit_tiny_patch16_224", str(folder / "tiny.safetensors"), TINY_VIT))
    preprocessing = Preprocessing.of(model)
    image = preprocessing(read_image(folder / "picture.png").image)
    descent = Descent(steps=3, rate=0.02, optimiser="adam", renormalise=True, grad_mode="frozen")
    expected = transfer(model, image, 2, 0, descent=descent)
    with np.load(tmp_path / "course.npz") as written:
        np.testing.assert_allclose(written["scores"], expected.maps, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(written["logits"], expected.logits, rtol=1e-5)
        assert tuple(written["classes"]) == expected.classes and tuple(written["leaders"]) == expected.leaders
        assert written["crop"].tolist() == [8, 0, 40, 32]
        assert json.loads(str(written["provenance"]))["model"] == "vit_tiny_patch16_224"
        assert "rows renormalised" in str(written["settings"])


def test_rewrite_draws_the_figure_writes_the_picture_and_calls_it_adversarial(
    explain: Explain, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain("rewrite", "--budget", "6", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["warning"].startswith("Adversarial example")
    assert facts["linf"] == 6 and facts["budget"] == 6.0 and facts["psnr"] > 30
    assert facts["after_probability"]["against"] > facts["before_probability"]["against"]
    with Image.open(folder / "picture.png") as original, Image.open(tmp_path / facts["pixels"]) as rewritten:
        before, after = np.asarray(original).astype(int)[:, 8:40], np.asarray(rewritten).astype(int)
    assert after.shape == (32, 32, 3)
    assert np.abs(after - before).max() == 6
    # A picture that is opened again gives the reported answer.
    model = load_model(ModelSpec("vit_tiny_patch16_224", str(folder / "tiny.safetensors"), TINY_VIT))
    image = Preprocessing.of(model)(read_image(tmp_path / facts["pixels"]).image)
    with torch.inference_mode():
        logits = model(image[None])[0]
    reported = sorted((facts["after_logit"]["for"], facts["after_logit"]["against"]))
    assert min(abs(float(value) - reported[1]) for value in logits) < 1e-4
    assert (tmp_path / facts["output"]).is_file()
    assert explain("rewrite") == 0
    assert capsys.readouterr().out.startswith("Adversarial example")


def test_rewrite_writes_numbers_with_the_warning(explain: Explain, tmp_path: Path) -> None:
    assert explain("rewrite", "--for", "0", "--against", "2", "--steps", "3", "--quiet", "-o", "pixels.npz") == 0
    with np.load(tmp_path / "pixels.npz") as written:
        assert written["before"].dtype == written["after"].dtype == np.uint8
        assert np.abs(written["after"].astype(int) - written["before"]).max() == 4
        assert written["classes"].tolist() == [0, 2] and written["course"].shape == (4, 2)
        assert "Adversarial example" in json.loads(str(written["provenance"]))["note"]


def test_quiet_says_nothing(explain: Explain, capsys: pytest.CaptureFixture[str]) -> None:
    for way in ("transfer", "rewrite"):
        assert explain(way, "--steps", "1", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_progress_is_shown_once_the_work_takes_long(
    explain: Explain, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "PATIENCE", 0.0)
    assert explain("transfer", "--steps", "3") == 0
    out, err = capsys.readouterr()
    assert "transfer: 2 of 3" in err and "transfer" not in out.split("wrote")[0]
    assert explain("rewrite", "--steps", "3", "--quiet") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("transfer", "-o", "film.gif"), "output film.gif: end the name in .png"),
        (("rewrite", "-o", "nowhere/film.png"), "output nowhere/film.png: its folder is not there"),
        (("transfer", "--for", "9"), "class '9' is none of the model's 3 outputs"),
        (("transfer", "--rate", "-1"), "rate=-1.0: give a positive number"),
        (("rewrite", "--budget", "0.03"), "budget=0.03: give 1 to 255 steps of 8 bits"),
        (("rewrite", "--for", "1", "--against", "1"), "against: is the same class as target"),
        (
            ("transfer", "--budget", "3"),
            "--budget goes with gradattn explain rewrite, not with gradattn explain transfer",
        ),
        (("transfer", "--objective", "logit"), "--objective goes with gradattn explain or "),
    ],
)
def test_bad_input_is_one_sentence(
    explain: Explain, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert explain(*options) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
