"""One picture explained: the same map as that of its pixels, with names, numbers and a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn

from gradattn_core.errors import ClassAlignmentError, GradattnError, InterpretError, ModelError, UnreadableImageError
from gradattn_core.interpret import explain_image, interpret, interpret_images
from gradattn_core.interpret.regions import map_statistics
from gradattn_core.methods import PAPER_CORRECTIONS
from gradattn_core.model.preprocessing import Preprocessing
from gradattn_core.records import Box
from tests.helpers.tiny import TINY_VIT, write_tiny_vit

VIT = "vit_tiny_patch16_224"
WIDE = (48, 32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wide picture, the same one lying with a note of how it is held, and the weights of a model of three classes."""
    folder = tmp_path_factory.mktemp("explanation")
    pixels = np.random.default_rng(2).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    picture.save(folder / "picture.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right to see it upright
    picture.transpose(Image.Transpose.ROTATE_90).save(folder / "lying.png", exif=exif)
    write_tiny_vit(folder / "tiny.safetensors")
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> nn.Module:
    built: nn.Module = timm.create_model(VIT, checkpoint_path=str(folder / "tiny.safetensors"), **TINY_VIT)
    return built.eval()


@pytest.mark.parametrize("correction", PAPER_CORRECTIONS)
def test_an_explanation_is_the_map_of_the_pictures_pixels_in_words(
    folder: Path, model: nn.Module, correction: str
) -> None:
    method: dict[str, Any] = {"objective": "normalised", "correction": correction}
    arguments: dict[str, Any] = {"model": VIT, "checkpoint": str(folder / "tiny.safetensors"), "device": "cpu"}
    found = explain_image(folder / "picture.png", 2, "0", model_arguments=TINY_VIT, **arguments, **method)
    with Image.open(folder / "picture.png") as picture:
        pixels = Preprocessing.of(model)(picture)[None]
    expected = interpret(model, pixels, 2, 0, **method)
    np.testing.assert_allclose(found.evidence.scores, expected.scores[0], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found.logits, expected.logits[0], rtol=1e-5)
    np.testing.assert_allclose(found.probabilities, expected.logits[0].softmax(0), rtol=1e-5)
    assert found.provenance == expected.provenance
    evidence = found.evidence
    assert (found.target, found.against, evidence.for_label, evidence.against_label) == (2, 0, "class 2", "class 0")
    assert (evidence.for_logit, evidence.against_logit) == (found.logits[2], found.logits[0])
    assert (evidence.objective, evidence.correction) == ("normalised", correction)
    assert evidence.crop == Box(8, 0, 40, 32) and found.image.size == WIDE
    assert evidence.statistics == map_statistics(evidence.scores, evidence.crop, *WIDE)
    assert found.figure().width > found.figure().height, "the picture is beside its map"


def test_unless_asked_otherwise_a_map_adds_up_to_the_answer_and_fractions_are_explained_by_the_complete_one(
    folder: Path, model: nn.Module
) -> None:
    found = explain_image(folder / "picture.png", 2, 0, model=model)
    sums, scores = found.evidence.sums, found.evidence.scores
    assert found.provenance.correction == found.evidence.correction == "secant"
    assert sums is not None and sums.average is None
    assert sums.log_odds == pytest.approx(float(found.logits[2] - found.logits[0]), abs=1e-4)
    assert sums.base + sums.red + sums.blue == pytest.approx(sums.log_odds, abs=1e-4)
    assert (sums.red, sums.blue) == pytest.approx((scores[scores > 0].sum(), scores[scores < 0].sum()), rel=1e-5)
    numbers = [region.log_odds for region in found.evidence.statistics.regions]
    assert numbers and all(number is not None for number in numbers)
    single = explain_image(folder / "picture.png", 2, model=model, objective="logit").evidence
    assert single.sums is not None and single.sums.log_odds == pytest.approx(float(found.logits[2]), abs=1e-4)
    ratio = explain_image(folder / "picture.png", 2, 0, model=model, objective="ratio").evidence
    assert (ratio.correction, ratio.sums) == ("complete", None)


def test_without_classes_the_answer_is_explained_against_the_strongest_other(folder: Path, model: nn.Module) -> None:
    found = explain_image(folder / "picture.png", model=model)
    first, second, third = np.argsort(-found.logits).tolist()
    assert (found.target, found.against) == (first, second)
    assert explain_image(folder / "picture.png", third, model=model).against == first
    assert explain_image(folder / "picture.png", against=first, target=second, model=model).target == second
    single = explain_image(folder / "picture.png", third, model=model, objective="logit")
    assert (single.target, single.against, single.evidence.objective) == (third, first, "logit")


def test_a_file_a_lying_file_and_a_picture_are_seen_upright(folder: Path, model: nn.Module) -> None:
    with Image.open(folder / "lying.png") as lying:
        turned = [explain_image(image, 1, 2, model=model) for image in (str(folder / "lying.png"), lying)]
    upright = explain_image(folder / "picture.png", 1, 2, model=model)
    for found in turned:
        assert found.image.size == WIDE
        np.testing.assert_array_equal(found.evidence.scores, upright.evidence.scores)


def test_a_batch_of_pictures_is_the_batch_of_their_pixels(folder: Path, model: nn.Module) -> None:
    with Image.open(folder / "picture.png") as picture:
        pictures = [picture.copy(), picture.rotate(180).convert("L")]
    pixels = torch.stack([Preprocessing.of(model)(shown.convert("RGB")) for shown in pictures])
    expected = interpret(model, pixels, 1, 2)
    torch.testing.assert_close(interpret_images(model, pictures, 1, 2).scores, expected.scores)
    for nothing in ([], ["picture.png"], pictures[0]):
        with pytest.raises(InterpretError, match="images: expected a batch"):
            interpret_images(model, nothing, 1, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"target": "kite"}, ClassAlignmentError, "'kite' is none of the model's 3 outputs"),
        ({"target": -1}, ClassAlignmentError, "'-1' is none of the model's 3 outputs"),
        ({"target": 1, "against": 1}, InterpretError, "against: is the same class as target"),
        ({"objective": "logit", "against": 1}, InterpretError, "objective='logit' looks at one class"),
        ({"correction": "gae"}, InterpretError, "correction='gae' is unknown"),
        ({"image": "nowhere.png"}, UnreadableImageError, "nowhere.png"),
        ({"model": timm.create_model(VIT, **{**TINY_VIT, "num_classes": 0})}, ModelError, "has no classifier"),
        ({"model": "vit_tiny_patch17_224"}, ModelError, "did you mean"),
    ],
)
def test_what_cannot_be_explained_is_named(
    folder: Path, model: nn.Module, changes: dict[str, Any], kind: type[GradattnError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        explain_image(**{"image": folder / "picture.png", "model": model, **changes})
