"""``gradattn explain`` in its ways of explaining: what each writes, says and refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

from gradattn_core.cli import main
from gradattn_core.interpret.absence import without_patches
from gradattn_core.interpret.detail import detail
from gradattn_core.interpret.guide import guide
from gradattn_core.interpret.maps import interpret
from gradattn_core.interpret.regions import map_statistics, region_masks
from gradattn_core.methods import Layout, Method
from gradattn_core.model.preprocessing import Preprocessing
from gradattn_core.reasons import percent_of_two
from gradattn_core.records import Box, Evidence
from gradattn_core.render.figures import Style, evidence_figure
from gradattn_core.render.overlays import PALETTES
from gradattn_core.sums import Sums
from tests.helpers.tiny import TINY_VIT, write_tiny_vit


@dataclass(frozen=True)
class Scene:
    """A folder with a model and three pictures; ``a`` and ``b`` look different to the model, ``a2`` like ``a``."""

    folder: Path
    options: list[str]
    model: torch.nn.Module
    seen: dict[str, int]

    def picture(self, name: str) -> Path:
        return self.folder / f"{name}.png"

    def pixels(self, name: str) -> torch.Tensor:
        return Preprocessing.of(self.model)(Image.open(self.picture(name)))[None]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("scene")
    checkpoint = write_tiny_vit(folder / "tiny.safetensors")
    model = timm.create_model("vit_tiny_patch16_224", **TINY_VIT).eval()
    model.load_state_dict(load_file(checkpoint))
    options = ["--model", "vit_tiny_patch16_224", "--checkpoint", str(checkpoint)]
    made = Scene(folder, [*options, "--model-arguments", json.dumps(TINY_VIT), "--device", "cpu"], model, {})
    for seed in range(60):
        blotches = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(blotches).resize((48, 48), Image.Resampling.NEAREST).save(made.picture("new"))
        with torch.no_grad():
            seen = int(model(made.pixels("new")).argmax())
        role = "a" if "a" not in made.seen else "a2" if seen == made.seen["a"] else "b"
        if role not in made.seen:
            made.picture("new").rename(made.picture(role))
            made.seen[role] = seen
    assert set(made.seen) == {"a", "b", "a2"}
    return made


def explain(scene: Scene, *arguments: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    status = main(["explain", *map(str, arguments), *scene.options])
    said = capsys.readouterr()
    return status, said.out, said.err


def loaded(file: Path) -> dict[str, Any]:
    with np.load(file) as stored:
        return dict(stored)


@pytest.mark.parametrize("words", [["detail", "{a}", "3"], ["guide", "{a}", "{b}", "--side", "top"]])
def test_each_way_of_explaining_draws_a_picture_as_a_process(scene: Scene, words: list[str], tmp_path: Path) -> None:
    places = {"{a}": str(scene.picture("a")), "{b}": str(scene.picture("b"))}
    arguments = [places.get(word, word) for word in words]
    command = [sys.executable, "-m", "gradattn_core", "explain", *arguments, *scene.options]
    done = subprocess.run([*command, "-o", "f.png"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("wrote f.png\n") and "%" in done.stdout
    assert len(Image.open(tmp_path / "f.png").getcolors(1 << 24) or []) > 100


def test_detail_numbers_are_those_of_the_library(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "d.npz"
    status, out, _ = explain(scene, "detail", scene.picture("a"), "3", "-o", file, "--json", capsys=capsys)
    expected = detail(scene.model, scene.pixels("a"), 3)
    stored = loaded(file)
    assert status == 0 and stored["classes"].tolist() == expected.classes[0].tolist()
    np.testing.assert_allclose(stored["scores"], expected.scores[0], rtol=1e-4, atol=1e-6)
    facts = json.loads(out)
    assert [row["index"] for row in facts["classes"]] == stored["classes"].tolist()
    np.testing.assert_allclose(facts["log_odds"], stored["log_odds"], rtol=1e-6)
    sums = stored["scores"].sum((2, 3))
    np.testing.assert_allclose(sums, stored["log_odds"] - stored["base"], rtol=1e-4, atol=1e-4)
    assert sum(row["probability"] for row in facts["classes"]) == pytest.approx(1, abs=1e-5)
    status, _, _ = explain(scene, "detail", scene.picture("a"), "-o", file, "2", "0", "--quiet", capsys=capsys)
    assert status == 0 and loaded(file)["classes"].tolist() == [2, 0]


def test_guide_numbers_are_those_of_the_library(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "g.npz"
    options = ["--side", "bottom", "--ratio", "0.6", "--fit", "pad", "--correction", "centred"]
    guides = [scene.picture("b"), scene.picture("b")]
    status, out, _ = explain(scene, "guide", scene.picture("a"), *guides, *options, "-o", file, "--json", capsys=capsys)
    own, other = (Image.open(scene.picture(name)) for name in ("a", "b"))
    layout, method = Layout("bottom", 0.6, "pad"), Method(correction="centred")
    expected = guide(scene.model, own, [other, other], layout=layout, method=method)
    stored = loaded(file)
    assert status == 0 and stored["classes"].tolist() == [scene.seen["a"], scene.seen["b"], scene.seen["b"]]
    np.testing.assert_allclose(stored["scores"], expected.scores, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(stored["each"], expected.each, rtol=1e-4, atol=1e-6)
    box = expected.box
    assert stored["crop"].tolist() == [box.left, box.top, box.right, box.bottom]
    assert json.loads(str(stored["provenance"]))["correction"] == "centred"
    facts = json.loads(out)
    assert facts["for"] == f"class {scene.seen['a']}" and len(facts["guides"]) == 2


def test_what_a_guide_shows_can_be_said(scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = next(label for label in range(3) if label != scene.seen["a"])
    arguments = ["guide", scene.picture("a"), scene.picture("a2"), "--against", str(other), "--json"]
    status, out, _ = explain(scene, *arguments, "-o", tmp_path / "g.png", capsys=capsys)
    assert status == 0 and json.loads(out)["guides"][0]["against"] == f"class {other}"


def test_all_corrections_are_written_side_by_side(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.npz"
    pair = ["--for", "1", "--against", "2"]
    explain(scene, scene.picture("a"), *pair, "--correction", "all", "-o", file, capsys=capsys)
    stored = loaded(file)
    assert set(stored["corrections"].tolist()) == {"complete", "positive", "absolute", "centred"}
    for correction, scores in zip(stored["corrections"].tolist(), stored["scores"], strict=True):
        expected = interpret(scene.model, scene.pixels("a"), 1, 2, correction=correction)
        np.testing.assert_allclose(scores, expected.scores[0], rtol=1e-4, atol=1e-6)


def test_drawing_options_reach_the_picture(scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = ["--for", "1", "--against", "2"]
    explain(scene, scene.picture("a"), *pair, "-o", tmp_path / "n.npz", capsys=capsys)
    stored = loaded(tmp_path / "n.npz")
    crop = Box(*stored["crop"].tolist())
    red, blue = (float(np.clip(stored["scores"], *ends).sum(dtype=float)) for ends in ((0, None), (None, 0)))
    evidence = Evidence(
        for_label="class 1",
        against_label="class 2",
        for_logit=0.0,
        against_logit=0.0,
        scores=stored["scores"],
        crop=crop,
        objective="difference",
        correction="secant",
        statistics=map_statistics(stored["scores"], crop, 48, 48),
        sums=Sums(float(stored["log_odds"]), float(stored["base"]), None, red, blue),
    )
    drawing = ["--palette", "orange-purple", "--patches", "--opacity", "1", "--paper", "dark"]
    explain(scene, scene.picture("a"), *pair, *drawing, "-o", tmp_path / "d.png", capsys=capsys)
    drawn = np.asarray(Image.open(tmp_path / "d.png"))
    picture = Image.open(scene.picture("a"))
    style = Style(side=288, smooth=False, opacity=1.0, palette="orange-purple", paper="dark")
    expected = evidence_figure(picture, evidence, style=style)
    np.testing.assert_array_equal(drawn, np.asarray(expected))
    unsigned = [*pair, "--correction", "absolute", "-o", tmp_path / "u.png"]
    explain(scene, scene.picture("a"), *unsigned, capsys=capsys)
    pixels = np.asarray(Image.open(tmp_path / "u.png")).astype(int)
    assert not (np.abs(pixels - PALETTES["red-blue"][0]) <= 1).all(-1).any()
    assert Style().palette == "red-blue"


def test_without_classes_the_models_answer_is_explained(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = scene.picture("a")
    status, out, _ = explain(scene, picture, "-o", tmp_path / "n.npz", "--json", capsys=capsys)
    facts = json.loads(out)
    assert status == 0 and facts["for"] == f"class {scene.seen['a']}"
    assert facts["for_probability"] >= facts["against_probability"]
    single = ["--objective", "logit", "--json", "-o", tmp_path / "l.png"]
    facts = json.loads(explain(scene, picture, *single, capsys=capsys)[1])
    assert facts["against"] is None and facts["for"] == f"class {scene.seen['a']}"


def test_the_numbers_that_are_said_add_up_to_the_models_answer(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, pair = scene.picture("a"), ["--for", "1", "--against", "2"]
    facts = json.loads(explain(scene, picture, *pair, "-o", tmp_path / "n.npz", "--json", capsys=capsys)[1])
    stored = loaded(tmp_path / "n.npz")
    with torch.no_grad():
        logits = scene.model(scene.pixels("a"))[0]
    assert facts["correction"] == "secant" and facts["answer"] == f"class {scene.seen['a']}"
    assert facts["log_odds"] == pytest.approx(float(logits[1] - logits[2]), abs=1e-4)
    assert facts["log_odds"] == pytest.approx(float(stored["log_odds"]), abs=1e-5)
    total = facts["log_odds_without_picture"] + facts["red_log_odds"] + facts["blue_log_odds"]
    assert total == pytest.approx(facts["log_odds"], abs=1e-4)
    assert stored["scores"].sum() == pytest.approx(float(stored["log_odds"] - stored["base"]), abs=1e-4)
    said = explain(scene, picture, *pair, "-o", tmp_path / "n.png", capsys=capsys)[1]
    assert f"the model's answer, of all its classes: class {scene.seen['a']}" in said
    share = percent_of_two(facts["log_odds"])
    assert f"class 1 against class 2: of these two, the model alone gives {share} to class 1 " in " ".join(said.split())


def test_numbers_that_are_measured_add_up_and_say_what_hiding_does(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, pair = scene.picture("a"), ["--for", "1", "--against", "2", "--measured"]
    facts = json.loads(explain(scene, picture, *pair, "-o", tmp_path / "n.npz", "--json", capsys=capsys)[1])
    assert facts["numbers"] == str(loaded(tmp_path / "n.npz")["numbers"]) == "measured"
    total = facts["log_odds_without_picture"] + facts["red_log_odds"] + facts["blue_log_odds"]
    assert total == pytest.approx(facts["log_odds"], abs=1e-4)
    strongest = [region for region in facts["regions"] if region["rank"] == 1]
    assert strongest and all(region["measured"] is not None for region in strongest)
    unmeasured = interpret(scene.model, scene.pixels("a"), 1, 2, correction="secant").scores[0].numpy()
    effects = []
    for mask in (*region_masks(unmeasured).values(), *region_masks(loaded(tmp_path / "n.npz")["scores"]).values()):
        left = without_patches(scene.model, scene.pixels("a"), torch.from_numpy(mask)[None])[0]
        effects.append(facts["log_odds"] - float(left[1] - left[2]))
    for region in strongest:
        assert min(abs(region["measured"] - effect) for effect in effects) < 1e-3
    said = " ".join(explain(scene, picture, *pair, "-o", tmp_path / "n.png", capsys=capsys)[1].split())
    for words in ("that the map found strongest", "Hide it, measured:"):
        assert said.count(words) == len(strongest)
    assert "Both were measured by leaving patches out." in said


@pytest.mark.parametrize("options", [["--objective", "ratio"], ["--correction", "centred"]])
def test_a_map_that_does_not_add_up_is_told_without_numbers(
    scene: Scene, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = ["--for", "1", "--against", "2", *options]
    facts = json.loads(explain(scene, scene.picture("a"), *pair, "-o", tmp_path / "n.npz", "--json", capsys=capsys)[1])
    assert facts["correction"] == ("complete" if "ratio" in options else "centred")
    assert facts["log_odds"] is None and facts["red_log_odds"] is None
    assert "log_odds" not in loaded(tmp_path / "n.npz")
    said = explain(scene, scene.picture("a"), *pair, "-o", tmp_path / "n.png", capsys=capsys)[1]
    assert "does not add up to the model's answer" in " ".join(said.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{a}", "--side", "left"], "--side goes with gradattn explain guide, not with gradattn explain"),
        (["detail", "{a}", "2", "--ratio", "0.5"], "--ratio goes with gradattn explain guide, not with"),
        (["{a}", "--steps", "3"], "--steps goes with gradattn explain transfer or gradattn explain rewrite"),
        (["rewrite", "{a}", "--rate", "1"], "--rate goes with gradattn explain transfer, not with"),
        (["transfer", "{a}", "--objective", "ratio"], "--objective goes with gradattn explain or"),
        (["{a}", "--budget", "1"], "--budget goes with gradattn explain rewrite"),
        (["{a}", "--grad-mode", "full"], "--grad-mode goes with gradattn explain transfer"),
        (["guide", "{a}", "{b}", "--renormalise"], "--renormalise goes with gradattn explain transfer"),
        (["detail", "{a}", "3", "--for", "1"], "--for goes with gradattn explain and 3 others"),
        (["{a}", "--detail", "3"], "--detail is a form of its own: gradattn explain detail"),
        (["--detail", "3", "{a}"], "--detail is a form of its own: gradattn explain detail"),
        (["{a}", "--for", "1", "--guide", "{b}"], "--guide is a form of its own: gradattn explain guide"),
        (["{a}", "--transfer", "--steps", "3"], "--transfer is a form of its own: gradattn explain transfer"),
        (["--rewrite", "{a}"], "--rewrite is a form of its own: gradattn explain rewrite"),
        (["guide", "{a}", "{b}", "--correction", "all"], "--correction all goes with gradattn explain;"),
        (["{a}", "--objective", "logit", "--against", "2"], "--objective logit looks at one class"),
        (["detail", "{a}", "2", "--objective", "logit"], "--objective logit goes with gradattn explain or"),
        (["detail", "{a}", "zebra"], "zebra: give how many"),
        (["detail", "{a}", "1"], "classes=1"),
        (["detail", "{a}", "4"], "classes=4"),
        (["detail", "{a}", "13"], "more than 12 classes"),
        (["detail", "{a}", "1", "1"], "different classes"),
        (["detail", "{a}", "1", "zebra"], "'zebra' is none of the model's 3 outputs"),
        (["guide", "{a}", "{a2}"], "a2.png: the model sees class"),
        (["guide", "{a}", "{b}", "--for", "1", "--against", "1"], "the picture's own class"),
        (["guide", "{a}", "nowhere.png"], "'nowhere.png' does not exist"),
        (["guide", "{a}", "{broken}"], "'broken.png' is not an image"),
        (["guide", "{a}", "{b}", "--ratio", "0.01"], "ratio=0.01 leaves no patch"),
        (["guide", "{a}", "{b}", "--ratio", "nan"], "ratio=nan"),
        (["{a}", "--measured", "--correction", "all"], "--measured goes with one map that adds up"),
        (["{a}", "--measured", "--correction", "centred"], "measured: the centred map of the difference has no"),
        (["{a}", "--measured", "--objective", "logit"], "measured: the secant map of the logit has no"),
        (["detail", "{a}", "2", "--measured"], "--measured goes with gradattn explain,"),
        (["{a}", "--opacity", "2"], "opacity 2.0 is outside"),
        (["{a}", "--for", "3"], "'3' is none of the model's 3 outputs"),
        (["{a}", "-o", "map.gif"], "map.gif"),
        (["{a}", "-o", "nowhere/map.png"], "its folder is not there"),
    ],
)
def test_what_does_not_go_together_or_cannot_be_used_is_one_sentence(
    scene: Scene,
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.png").write_text("no picture")
    places = {"{a}": scene.picture("a"), "{b}": scene.picture("b"), "{a2}": scene.picture("a2")}
    places["{broken}"] = tmp_path / "broken.png"
    status, out, err = explain(scene, *(places.get(word, word) for word in arguments), capsys=capsys)
    assert status == 2 and out == ""
    assert err.startswith("gradattn: ") and err.count("\n") == 1 and words in err
    assert [path.name for path in tmp_path.iterdir()] == ["broken.png"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["a.png", "--palette", "jet"],
        ["detail", "a.png"],
        ["guide", "a.png"],
        ["guide", "a.png", "b.png", "--side", "above"],
        ["guide", "a.png", "b.png", "--fit", "squash"],
        ["transfer", "a.png", "--optimiser", "lion"],
    ],
)
def test_values_outside_a_list_are_told_in_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["explain", *arguments])
    err = capsys.readouterr().err
    assert ended.value.code == 2 and err.startswith("gradattn explain") and err.count("\n") == 1


def test_a_file_that_is_called_like_a_form_is_explained(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("detail").write_bytes(scene.picture("a").read_bytes())
    for words in (["./detail"], ["--", "detail"], ["detail", "detail", "3"]):
        assert main(["explain", "--quiet", *scene.options, *words]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["detail", "detail-detail.png", "detail-explained.png"]
